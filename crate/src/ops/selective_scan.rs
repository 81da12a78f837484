//! The scan of Mamba (Gu and Dao 2023, arXiv:2312.00752): each channel has a state of its own, whose numbers decay at rates of their
//! own, so that there are no products of matrices in it. One pass over the tokens forward, and one back.

use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::element::{Element, Wide, by_element, made, slice};

/// Blocks of channels that are computed side by side: as many whatever the machine, so that sums have one order.
const BLOCKS: usize = 32;

/// For each channel, from s = `states` (or 0) and token after token: s ← e^(Δ a) s + Δ x B; y = C · s.
///
/// x and steps Δ `[b, s, channels]`, rates a `[channels, n]`, B and C `[b, s, n]`, all of float32 or float64 → y
/// `[b, s, channels]`, and the states after the last token `[b, channels, n]`. No gradient reaches `states`.
///
/// On a GPU the host computes it.
///
/// # Errors
/// candle's error, if shapes, element types or devices do not match.
pub fn selective_scan(
    x: &Tensor,
    steps: &Tensor,
    rates: &Tensor,
    (write, read): (&Tensor, &Tensor),
    states: Option<&Tensor>,
) -> Result<(Tensor, Tensor)> {
    let ((_, seq, _), (_, _, n)) = (x.dims3()?, write.dims3()?);
    let (device, host) = (x.device(), &candle_core::Device::Cpu);
    let on_host = |x: &Tensor| x.to_device(host)?.contiguous();
    let states = states.map(|states| on_host(&states.detach().to_dtype(DType::F64)?)?.flatten_all()?.to_vec1::<f64>());
    let scan = Scan { states: states.transpose()? };
    let channels = on_host(&Tensor::stack(&[x, steps], 0)?)?;
    let shared = on_host(&Tensor::stack(&[write, read], 0)?)?;
    // The states are the last rows.
    let both = channels.apply_op3(&shared, &on_host(rates)?, scan)?;
    let y = both.narrow(1, 0, seq)?.to_device(device)?;
    Ok((y, both.narrow(1, seq, n)?.transpose(1, 2)?.contiguous()?.to_device(device)?))
}

struct Scan {
    /// `[b, channels, n]`.
    states: Option<Vec<f64>>,
}

/// `[b, s, channels]` and n.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    seq: usize,
    channels: usize,
    n: usize,
}

impl Sizes {
    fn of(channels: &Layout, shared: &Layout, rates: &Layout) -> Result<Self> {
        match (channels.dims(), shared.dims(), rates.dims()) {
            (&[2, batch, seq, channels], &[2, b, s, n], &[c, m]) if (b, s, c, m) == (batch, seq, channels, n) => {
                Ok(Self { batch, seq, channels, n })
            }
            (a, b, c) => candle_core::bail!("selective-scan: {a:?}, {b:?} and {c:?} do not fit"),
        }
    }

    /// Elements of x, and of B.
    fn elements(self) -> (usize, usize) {
        (self.batch * self.seq * self.channels, self.batch * self.seq * self.n)
    }

    /// The channels of each block.
    fn blocks(self) -> Vec<std::ops::Range<usize>> {
        let each = self.channels.div_ceil(BLOCKS).max(1);
        (0..self.channels).step_by(each).map(|first| first..(first + each).min(self.channels)).collect()
    }
}

/// Inputs in the wide type.
struct Inputs<'a, T> {
    sizes: Sizes,
    x: &'a [T],
    steps: &'a [T],
    write: &'a [T],
    read: &'a [T],
    rates: &'a [T],
    states: Option<&'a [f64]>,
}

impl<'a, T: Element> Inputs<'a, T> {
    fn new(sizes: Sizes, [channels, shared, rates]: [&'a [T]; 3], states: Option<&'a [f64]>) -> Self {
        let ((x, steps), (write, read)) = (channels.split_at(sizes.elements().0), shared.split_at(sizes.elements().1));
        Self { sizes, x, steps, write, read, rates, states }
    }

    /// The state before the first token.
    fn first(&self, row: usize, channel: usize) -> Vec<T::Wide> {
        let Sizes { channels, n, .. } = self.sizes;
        let own = |states: &[f64]| {
            states[(row * channels + channel) * n..][..n].iter().map(|value| T::Wide::of(*value)).collect()
        };
        self.states.map_or_else(|| vec![T::Wide::ZERO; n], own)
    }

    /// x and Δ of a token.
    fn at(&self, row: usize, token: usize, channel: usize) -> (T::Wide, T::Wide) {
        let place = (row * self.sizes.seq + token) * self.sizes.channels + channel;
        (self.x[place].wide(), self.steps[place].wide())
    }

    /// Its B and C.
    fn shared(&self, row: usize, token: usize) -> (&[T], &[T]) {
        let place = (row * self.sizes.seq + token) * self.sizes.n;
        (&self.write[place..][..self.sizes.n], &self.read[place..][..self.sizes.n])
    }

    fn rates(&self, channel: usize) -> &[T] {
        &self.rates[channel * self.sizes.n..][..self.sizes.n]
    }

    /// Moves a state over a token.
    fn advance(&self, state: &mut [T::Wide], (row, token, channel): (usize, usize, usize)) {
        let ((x, step), (write, _)) = (self.at(row, token, channel), self.shared(row, token));
        for ((value, rate), write) in state.iter_mut().zip(self.rates(channel)).zip(write) {
            *value = (step * rate.wide()).exp() * *value + step * x * write.wide();
        }
    }

    /// y and the last states, `[b, s + n, channels]`.
    fn forward(&self) -> Vec<T> {
        let Sizes { batch, seq, channels, n } = self.sizes;
        let of_block = |block: &std::ops::Range<usize>| {
            let mut found = Vec::with_capacity(batch * (seq + n) * block.len());
            for row in 0..batch {
                for channel in block.clone() {
                    let mut state = self.first(row, channel);
                    for token in 0..seq {
                        self.advance(&mut state, (row, token, channel));
                        let (_, read) = self.shared(row, token);
                        found.push(state.iter().zip(read).map(|(value, read)| *value * read.wide()).sum::<T::Wide>());
                    }
                    found.extend(state);
                }
            }
            found
        };
        let blocks = self.sizes.blocks();
        let found: Vec<_> = blocks.par_iter().map(of_block).collect();
        let mut y = vec![T::default(); batch * (seq + n) * channels];
        for (block, found) in blocks.iter().zip(found) {
            let mut found = found.into_iter();
            for row in 0..batch {
                for channel in block.clone() {
                    for token in 0..seq + n {
                        let value = found.next().unwrap_or(T::Wide::ZERO);
                        y[(row * (seq + n) + token) * channels + channel] = T::narrow(value);
                    }
                }
            }
        }
        y
    }

    /// The gradients of the three inputs, from that of y and the last states.
    fn backward(&self, g: &[T]) -> [Vec<T>; 3] {
        let Sizes { batch, seq, channels, n } = self.sizes;
        let blocks = self.sizes.blocks();
        let found: Vec<_> = blocks.par_iter().map(|block| self.backward_of(block.clone(), g)).collect();
        let (elements, shared_elements) = self.sizes.elements();
        let mut of_channels = vec![T::default(); 2 * elements];
        let mut of_shared = vec![T::Wide::ZERO; 2 * shared_elements];
        let mut of_rates = vec![T::default(); channels * n];
        for (block, found) in blocks.iter().zip(found) {
            of_shared.iter_mut().zip(&found.shared).for_each(|(sum, value)| *sum += *value);
            for (place, channel) in block.clone().enumerate() {
                for index in 0..n {
                    of_rates[channel * n + index] = T::narrow(found.rates[place * n + index]);
                }
                for row in 0..batch {
                    for token in 0..seq {
                        let to = (row * seq + token) * channels + channel;
                        let (x, step) = found.channels[(row * block.len() + place) * seq + token];
                        of_channels[to] = T::narrow(x);
                        of_channels[elements + to] = T::narrow(step);
                    }
                }
            }
        }
        [of_channels, T::narrowed(of_shared), of_rates]
    }

    fn backward_of(&self, block: std::ops::Range<usize>, g: &[T]) -> BlockGradients<T::Wide> {
        let Sizes { batch, seq, channels, n } = self.sizes;
        let shared = self.sizes.elements().1;
        let mut found = BlockGradients {
            channels: vec![(T::Wide::ZERO, T::Wide::ZERO); batch * block.len() * seq],
            shared: vec![T::Wide::ZERO; 2 * shared],
            rates: vec![T::Wide::ZERO; block.len() * n],
        };
        let mut states = vec![T::Wide::ZERO; (seq + 1) * n];
        for row in 0..batch {
            for (place, channel) in block.clone().enumerate() {
                let gradient = |token: usize| g[(row * (seq + n) + token) * channels + channel].wide();
                states[..n].copy_from_slice(&self.first(row, channel));
                for token in 0..seq {
                    states.copy_within(token * n..(token + 1) * n, (token + 1) * n);
                    self.advance(&mut states[(token + 1) * n..][..n], (row, token, channel));
                }
                let mut of_state: Vec<T::Wide> = (0..n).map(|index| gradient(seq + index)).collect();
                for token in (0..seq).rev() {
                    let ((x, step), (write, read)) = (self.at(row, token, channel), self.shared(row, token));
                    let (before, after) = states[token * n..][..2 * n].split_at(n);
                    let (of_y, mut of_x, mut of_step) = (gradient(token), T::Wide::ZERO, T::Wide::ZERO);
                    let to = (row * seq + token) * n;
                    for index in 0..n {
                        let (rate, write) = (self.rates(channel)[index].wide(), write[index].wide());
                        let kept = (step * rate).exp();
                        found.shared[shared + to + index] += of_y * after[index];
                        let of = of_state[index] + of_y * read[index].wide();
                        let of_kept = of * before[index] * kept;
                        found.rates[place * n + index] += of_kept * step;
                        of_step += of_kept * rate + of * x * write;
                        of_x += of * step * write;
                        found.shared[to + index] += of * step * x;
                        of_state[index] = of * kept;
                    }
                    found.channels[(row * block.len() + place) * seq + token] = (of_x, of_step);
                }
            }
        }
        found
    }
}

/// What a block of channels gives: the gradients of x and Δ of each row, channel and token, those of B and C, and of rates.
struct BlockGradients<W> {
    channels: Vec<(W, W)>,
    shared: Vec<W>,
    rates: Vec<W>,
}

impl CustomOp3 for Scan {
    fn name(&self) -> &'static str {
        "selective-scan"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::of(l1, l2, l3)?;
        by_element!(s1, self.name(), T => {
            let inputs = [slice::<T>(s1, l1, self.name())?, slice(s2, l2, self.name())?, slice(s3, l3, self.name())?];
            let y = Inputs::new(sizes, inputs, self.states.as_deref()).forward();
            Ok(made(y, (sizes.batch, sizes.seq + sizes.n, sizes.channels)))
        })
    }

    fn bwd(
        &self,
        channels: &Tensor,
        shared: &Tensor,
        rates: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let sizes = Sizes::of(channels.layout(), shared.layout(), rates.layout())?;
        let (dtype, shapes) = (channels.dtype(), [channels.shape(), shared.shape(), rates.shape()]);
        let gradients = match dtype {
            DType::F64 => self.gradients::<f64>(sizes, [channels, shared, rates], g)?,
            _ => self.gradients::<f32>(sizes, [channels, shared, rates], g)?,
        };
        let mut gradients = gradients.into_iter().zip(shapes).map(|(gradient, shape)| gradient.reshape(shape));
        let mut next = || gradients.next().transpose();
        Ok((next()?, next()?, next()?))
    }
}

impl Scan {
    fn gradients<T: Element + candle_core::WithDType>(
        &self,
        sizes: Sizes,
        inputs: [&Tensor; 3],
        g: &Tensor,
    ) -> Result<[Tensor; 3]> {
        let flat = |x: &Tensor| x.flatten_all()?.to_vec1::<T>();
        let (channels, shared, rates) = (flat(inputs[0])?, flat(inputs[1])?, flat(inputs[2])?);
        let of = Inputs::new(sizes, [&channels, &shared, &rates], self.states.as_deref()).backward(&flat(g)?);
        let [channels, shared, rates] = of.map(|values| {
            let count = values.len();
            Tensor::from_vec(values, count, &candle_core::Device::Cpu)
        });
        Ok([channels?, shared?, rates?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{Inputs as Drawn, close, gradients, values};

    /// Token after token, by the definition.
    fn one_by_one(v: &[Tensor]) -> Result<Tensor> {
        let (x, steps, rates, write, read) = (&v[0], &v[1], &v[2], &v[3], &v[4]);
        let ((batch, seq, channels), (_, _, n)) = (x.dims3()?, write.dims3()?);
        let mut state = Tensor::zeros((batch, channels, n), x.dtype(), x.device())?;
        let mut found = Vec::new();
        for token in 0..seq {
            let column = |x: &Tensor| x.narrow(1, token, 1)?.transpose(1, 2);
            let row = |x: &Tensor| x.narrow(1, token, 1);
            let step = column(steps)?;
            let kept = step.broadcast_mul(&rates.unsqueeze(0)?)?.exp()?;
            state = ((state * kept)? + (column(x)? * &step)?.broadcast_mul(&row(write)?)?)?;
            found.push(state.broadcast_mul(&row(read)?)?.sum(2)?.unsqueeze(1)?);
        }
        Tensor::cat(&found, 1)
    }

    fn inputs(seq: usize, dtype: DType) -> Vec<Tensor> {
        let shapes: [(&str, &[usize]); 5] = [
            ("x", &[2, seq, 5]),
            ("steps", &[2, seq, 5]),
            ("rates", &[5, 3]),
            ("write", &[2, seq, 3]),
            ("read", &[2, seq, 3]),
        ];
        Drawn::new(&shapes).variables(dtype)
    }

    fn signed(v: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![v[0].clone(), (v[1].sqr()? * 0.3)?, v[2].sqr()?.neg()?, v[3].clone(), v[4].clone()])
    }

    fn scan(v: &[Tensor]) -> Result<Tensor> {
        let v = signed(v)?;
        let (y, states) = selective_scan(&v[0], &v[1], &v[2], (&v[3], &v[4]), None)?;
        // The last states have gradients, too.
        y.broadcast_add(&states.sum(2)?.unsqueeze(1)?)
    }

    fn expected(v: &[Tensor]) -> Result<Tensor> {
        let v = signed(v)?;
        let y = one_by_one(&v)?;
        // C = 1 after the last token reads the sum of the states.
        let ones = v[4].ones_like()?;
        let sums = one_by_one(&[v[0].clone(), v[1].clone(), v[2].clone(), v[3].clone(), ones])?;
        y.broadcast_add(&sums.narrow(1, sums.dim(1)? - 1, 1)?)
    }

    #[test]
    fn the_scan_agrees_with_composed_autograd() {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 2e-5)] {
            for seq in [1, 9] {
                let v = inputs(seq, dtype);
                let what = format!("{seq} tokens of {dtype:?}");
                let (found, of) = gradients(&v, &scan, &what);
                let (wanted, of_wanted) = gradients(&v, &expected, &what);
                close(&found, &wanted, tolerance, &what);
                for (of, wanted) in of.iter().zip(&of_wanted) {
                    close(of, wanted, tolerance, &what);
                }
            }
        }
    }

    #[test]
    fn a_text_continues_from_its_states() {
        let v = signed(&inputs(12, DType::F64)).unwrap();
        let run = |from, count, states: Option<&Tensor>| {
            let part = |x: &Tensor| x.narrow(1, from, count).unwrap();
            selective_scan(&part(&v[0]), &part(&v[1]), &v[2], (&part(&v[3]), &part(&v[4])), states).unwrap()
        };
        let (whole, last) = run(0, 12, None);
        let (first, states) = run(0, 8, None);
        let (second, after) = run(8, 4, Some(&states));
        close(&values(&Tensor::cat(&[first, second], 1).unwrap()), &values(&whole), 1e-12, "outputs");
        close(&values(&after), &values(&last), 1e-12, "states");
    }
}
