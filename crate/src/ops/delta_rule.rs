//! The gated delta rule (Yang et al. 2024, arXiv:2412.06464) by chunks, and the convolution that goes before it.

use candle_core::{CpuStorage, CudaStorage, CustomOp1, CustomOp2, D, DType, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::chunk_scan::{Chunks, chunk_scan};
use super::collect::accumulate_grad;
use super::cuda;
use super::element::{Element, Wide, by_element, made, slice};

/// Tokens of one chunk.
const CHUNK: usize = 64;

/// The longest convolution that has a kernel on GPUs.
const KERNEL: usize = 8;

/// Added to the sum of squares before its root is taken, as in the published kernels.
const EPS: f64 = 1e-6;

/// A convolution over time of each channel by itself: y_t = Σ_j w_j x_{t − k + 1 + j}. x `[b, k − 1 + s, c]` begins with the
/// k − 1 inputs before the text; weight `[c, k]` → `[b, s, c]`.
///
/// # Errors
/// candle's error, if shapes, element types or devices do not match.
pub fn causal_convolution(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (_, kernel) = weight.dims2()?;
    if cuda::serves(x) && kernel <= KERNEL {
        return x.contiguous()?.apply_op2(&weight.contiguous()?, Convolution);
    }
    let seq = (x.dim(1)? + 1).saturating_sub(kernel);
    let taps = (0..kernel).map(|tap| x.narrow(1, tap, seq)?.broadcast_mul(&weight.narrow(1, tap, 1)?.flatten_all()?));
    let mut sum: Option<Tensor> = None;
    for tap in taps {
        let tap = tap?;
        sum = Some(match sum {
            Some(sum) => (sum + tap)?,
            None => tap,
        });
    }
    sum.map_or_else(|| x.narrow(1, 0, seq), Ok)
}

/// For each head, from S = `states` (or 0) and token after token: S ← e^g S; S ← S + k β (v − Sᵀ k)ᵀ; y = Sᵀ q / √d, with q
/// and k divided by their lengths.
///
/// q and k `[b, s, key_heads, d]`, v `[b, s, heads, e]`, g and β `[b, s, heads]` in float32 or float64, of which the
/// computation takes the type → y `[b, s, heads, e]` and the states after the last token `[b, heads, d, e]`. Head h reads
/// key head h / (heads / key_heads).
///
/// # Errors
/// candle's error, if shapes or devices do not match.
pub fn gated_delta_rule(
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    decay: &Tensor,
    beta: &Tensor,
    states: Option<&Tensor>,
) -> Result<(Tensor, Tensor)> {
    let ((batch, seq, key_heads, width), (_, _, heads, value_width)) = (q.dims4()?, v.dims4()?);
    let (wide, group) = (decay.dtype(), heads / key_heads.max(1));
    let size = CHUNK.min(seq.max(1));
    let chunks = seq.div_ceil(size);
    let (missing, all) = (chunks * size - seq, batch * heads);
    // `[chunks, all, size, …]`, padded with tokens that change nothing: k, v, β and g are 0.
    let chunked = |x: &Tensor| {
        let x = x.to_dtype(wide)?;
        let (_, _, _, last) = x.dims4()?;
        let x = if missing == 0 { x } else { x.pad_with_zeros(1, 0, missing)? };
        let x = x.reshape((batch, chunks, size, heads, last))?.permute((1, 0, 3, 2, 4))?;
        x.contiguous()?.reshape((chunks, all, size, last))
    };
    let of_values = |x: &Tensor| {
        let (b, s, h, d) = x.dims4()?;
        x.unsqueeze(3)?.expand((b, s, h, group, d))?.reshape((b, s, h * group, d))
    };
    let unit = |x: &Tensor| {
        let x = x.to_dtype(wide)?;
        let length = (x.sqr()?.sum_keepdim(D::Minus1)? + EPS)?.sqrt()?;
        of_values(&x.broadcast_div(&length)?)
    };
    let q = chunked(&(unit(q)? * (width as f64).powf(-0.5))?)?;
    let (k, v) = (chunked(&unit(k)?)?, chunked(v)?);
    let (decay, beta) = (chunked(&decay.unsqueeze(3)?)?, chunked(&beta.unsqueeze(3)?)?);

    // Within a chunk: the decay from its beginning to each token, and between any two.
    let total = decay.squeeze(3)?.cumsum(2)?.unsqueeze(3)?;
    let later = lower(size, f64::NEG_INFINITY, wide, q.device())?;
    let between = total.broadcast_sub(&total.transpose(2, 3)?)?.broadcast_add(&later)?.exp()?;
    let (v_beta, k_beta) = (v.broadcast_mul(&beta)?, k.broadcast_mul(&beta)?);
    let keys = k.transpose(2, 3)?.contiguous()?;
    let corrections = (k_beta.contiguous()?.matmul(&keys)? * &between)?;
    let seen = (q.contiguous()?.matmul(&keys)? * &between)?;
    let solved = unit_triangular_inverse(&corrections)?;
    let grown = total.exp()?;
    let new_values = solved.matmul(&v_beta.contiguous()?)?;
    let read_keys = solved.matmul(&k_beta.broadcast_mul(&grown)?.contiguous()?)?;
    let q = q.broadcast_mul(&grown)?;
    let last = total.narrow(2, size - 1, 1)?;
    let k = k.broadcast_mul(&last.broadcast_sub(&total)?.exp()?)?;
    let last = last.exp()?;

    let state = match states {
        Some(states) => states.to_dtype(wide)?.reshape((all, width, value_width))?,
        None => Tensor::zeros((all, width, value_width), wide, q.device())?,
    };
    let brought = Chunks { new_values, read_keys, queries: q, keys: k, seen, kept: last };
    let (read, state) = chunk_scan(&brought, &state)?;
    let read = read.reshape((chunks, batch, heads, size, value_width))?.permute((1, 0, 3, 2, 4))?.contiguous()?;
    let read = read.reshape((batch, chunks * size, heads, value_width))?.narrow(1, 0, seq)?;
    Ok((read.contiguous()?, state.reshape((batch, heads, width, value_width))?))
}

/// ln(1 + eˣ), without overflow: max(x, 0) + ln(1 + e^−|x|).
///
/// # Errors
/// candle's error, if the device fails.
pub fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}

/// 0 on and below the diagonal, `above` elsewhere.
pub(super) fn lower(size: usize, above: f64, dtype: DType, device: &candle_core::Device) -> Result<Tensor> {
    let cells = (0..size * size).map(|cell| if cell % size > cell / size { above } else { 0.0 }).collect::<Vec<f64>>();
    Tensor::from_vec(cells, (size, size), device)?.to_dtype(dtype)
}

/// (I + L)⁻¹ for the part L of each matrix below its diagonal. a `[…, n, n]` → the same shape.
///
/// # Errors
/// candle's error, for other shapes.
pub fn unit_triangular_inverse(a: &Tensor) -> Result<Tensor> {
    let size = a.dim(D::Minus1)?;
    if a.device().is_cpu() || (cuda::serves(a) && size <= CHUNK) {
        return a.contiguous()?.apply_op1(Inverse);
    }
    // Row by row: row i of the inverse is e_i − Σ_j L_ij row_j.
    let matrices = a.elem_count() / (size * size).max(1);
    let a3 = a.reshape((matrices, size, size))?;
    let eye = Tensor::eye(size, a.dtype(), a.device())?;
    let mut rows: Vec<Tensor> = Vec::with_capacity(size);
    for row in 0..size {
        let unit = eye.narrow(0, row, 1)?.unsqueeze(0)?.broadcast_as((matrices, 1, size))?.contiguous()?;
        rows.push(if row == 0 {
            unit
        } else {
            let factors = a3.narrow(1, row, 1)?.narrow(2, 0, row)?.contiguous()?;
            (unit - factors.matmul(&Tensor::cat(&rows, 1)?)?)?
        });
    }
    Tensor::cat(&rows, 1)?.reshape(a.shape())
}

struct Inverse;

impl CustomOp1 for Inverse {
    fn name(&self) -> &'static str {
        "unit-triangular-inverse"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let size = square(layout, self.name())?;
        by_element!(storage, self.name(), T => {
            Ok(made(inverse(slice::<T>(storage, layout, self.name())?, size), layout.shape()))
        })
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda::unit_triangular_inverse((storage, layout), square(layout, self.name())?)
    }

    /// dA = −Yᵀ dY Yᵀ below the diagonal, for Y = (I + L)⁻¹.
    fn bwd(&self, a: &Tensor, y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let turned = y.detach().transpose(D::Minus1, D::Minus2)?.contiguous()?;
        let whole = turned.matmul(&g.contiguous()?)?.matmul(&turned)?;
        whole.apply_op2_no_bwd(a, &NegatedBelow).map(Some)
    }
}

/// −x below the diagonal, 0 elsewhere.
struct NegatedBelow;

impl CustomOp2 for NegatedBelow {
    fn name(&self) -> &'static str {
        "negated-below"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let size = square(l1, self.name())?;
        by_element!(s1, self.name(), T => {
            let mut values = slice::<T>(s1, l1, self.name())?.to_vec();
            for (cell, value) in values.iter_mut().enumerate() {
                let (row, column) = (cell / size % size, cell % size);
                *value = if column < row { T::narrow(-value.wide()) } else { T::default() };
            }
            Ok(made(values, l1.shape()))
        })
    }

    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda::negated_below((s1, l1), square(l1, self.name())?)
    }
}

/// The convolution on a GPU.
struct Convolution;

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        "causal-convolution"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        candle_core::bail!("{}: the operands are on the CPU", self.name())
    }

    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda::convolution((s1, l1), (s2, l2))
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (of_x, of_weight) = cuda::convolution_backward(&x.detach(), &weight.detach(), &g.contiguous()?)?;
        Ok((accumulate_grad(x, of_x)?, accumulate_grad(weight, of_weight)?))
    }
}

/// Returns the size of the square matrices that a tensor holds.
fn square(layout: &Layout, op: &'static str) -> Result<usize> {
    match *layout.dims() {
        [.., rows, columns] if rows == columns && rows > 0 => Ok(rows),
        _ => candle_core::bail!("{op}: {:?} does not hold square matrices", layout.dims()),
    }
}

fn inverse<T: Element>(a: &[T], size: usize) -> Vec<T> {
    let mut y = vec![T::default(); a.len()];
    y.par_chunks_mut(size * size).zip(a.par_chunks(size * size)).for_each(|(y, a)| {
        // Row i is e_i − Σ_j L_ij row_j, in the wide type.
        let mut rows = vec![T::Wide::ZERO; size * size];
        for row in 0..size {
            let (done, rest) = rows.split_at_mut(row * size);
            let own = &mut rest[..size];
            own[row] = T::Wide::ONE;
            for (column, before) in done.chunks_exact(size).enumerate() {
                let factor = a[row * size + column].wide();
                for (own, before) in own[..=column].iter_mut().zip(before) {
                    *own = *own - factor * *before;
                }
            }
        }
        y.iter_mut().zip(rows).for_each(|(y, value)| *y = T::narrow(value));
    });
    y
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::ops::check::{Inputs, agree, close, values};

    #[test]
    fn the_inverse_agrees_with_autograd_and_finite_differences() {
        let inputs = Inputs::new(&[("a", &[2, 5, 5])]);
        // The same by Neumann's series, which ends for a nilpotent matrix.
        let series = |v: &[Tensor]| {
            let below = (lower(5, 1.0, v[0].dtype(), v[0].device())?.t()? * 1.0)?;
            let l = v[0].broadcast_mul(&below)?.neg()?;
            let eye = Tensor::eye(5, v[0].dtype(), v[0].device())?.broadcast_as((2, 5, 5))?.contiguous()?;
            let (mut sum, mut power) = (eye.clone(), eye);
            for _ in 1..5 {
                power = power.matmul(&l)?;
                sum = (sum + &power)?;
            }
            Ok(sum)
        };
        agree(&inputs, |v| unit_triangular_inverse(&v[0]), series);
    }

    /// Token after token, by the definition.
    fn one_by_one(v: &[Tensor]) -> Result<Tensor> {
        let (q, k, value, g, beta) = (&v[0], &v[1], &v[2], &v[3], &v[4]);
        let ((batch, seq, key_heads, d), (_, _, heads, e)) = (q.dims4()?, value.dims4()?);
        let mut rows = Vec::new();
        for row in 0..batch {
            let mut by_head = Vec::new();
            for head in 0..heads {
                let key_head = head / (heads / key_heads);
                let mut state = Tensor::zeros((d, e), q.dtype(), q.device())?;
                let mut read = Vec::new();
                for token in 0..seq {
                    let unit = |x: &Tensor| {
                        let x = x.narrow(0, row, 1)?.narrow(1, token, 1)?.narrow(2, key_head, 1)?.reshape((1, d))?;
                        x.broadcast_div(&(x.sqr()?.sum_keepdim(1)? + EPS)?.sqrt()?)
                    };
                    let number =
                        |x: &Tensor| x.narrow(0, row, 1)?.narrow(1, token, 1)?.narrow(2, head, 1)?.reshape((1, 1));
                    let (q, k) = (unit(q)?, unit(k)?);
                    let v = value.narrow(0, row, 1)?.narrow(1, token, 1)?.narrow(2, head, 1)?.reshape((1, e))?;
                    state = state.broadcast_mul(&number(g)?.exp()?)?;
                    let missing = (v - k.matmul(&state)?)?.broadcast_mul(&number(beta)?)?;
                    state = (state + k.t()?.matmul(&missing)?)?;
                    read.push((q.matmul(&state)? * (d as f64).powf(-0.5))?);
                }
                by_head.push(Tensor::cat(&read, 0)?.reshape((1, seq, 1, e))?);
            }
            rows.push(Tensor::cat(&by_head, 2)?);
        }
        Tensor::cat(&rows, 0)
    }

    /// Inputs whose decays are negative, in float64: candle's cumulative sum is a product there.
    fn inputs(seq: usize) -> Vec<Tensor> {
        let shapes: [(&str, &[usize]); 5] = [
            ("q", &[2, seq, 1, 4]),
            ("k", &[2, seq, 1, 4]),
            ("v", &[2, seq, 2, 3]),
            ("g", &[2, seq, 2]),
            ("beta", &[2, seq, 2]),
        ];
        Inputs::new(&shapes).variables(DType::F64)
    }

    fn rule(v: &[Tensor]) -> Result<Tensor> {
        let (decay, beta) = ((v[3].sqr()? * -0.3)?, sigmoid(&v[4])?);
        Ok(gated_delta_rule((&v[0], &v[1], &v[2]), &decay, &beta, None)?.0)
    }

    fn expected(v: &[Tensor]) -> Result<Tensor> {
        one_by_one(&[v[0].clone(), v[1].clone(), v[2].clone(), (v[3].sqr()? * -0.3)?, sigmoid(&v[4])?])
    }

    fn sigmoid(x: &Tensor) -> Result<Tensor> {
        (x.neg()?.exp()? + 1.0)?.recip()
    }

    #[test]
    fn chunks_give_what_tokens_give_one_by_one() {
        // Less than a chunk, whole chunks, and a part of one.
        for seq in [1, 7, 64, 130] {
            let v = inputs(seq);
            let what = format!("{seq} tokens");
            let (found, of) = crate::ops::check::gradients(&v, &rule, &what);
            let (wanted, of_wanted) = crate::ops::check::gradients(&v, &expected, &what);
            close(&found, &wanted, 1e-12, &what);
            for (of, wanted) in of.iter().zip(&of_wanted) {
                close(of, wanted, 1e-10, &what);
            }
        }
    }

    #[test]
    fn a_text_continues_from_its_states() {
        let v = inputs(70);
        let (decay, beta) = ((v[3].sqr().unwrap() * -0.3).unwrap(), sigmoid(&v[4]).unwrap());
        let part = |x: &Tensor, from, count| x.narrow(1, from, count).unwrap();
        let run = |from, count, states: Option<&Tensor>| {
            let (q, k, v) = (part(&v[0], from, count), part(&v[1], from, count), part(&v[2], from, count));
            gated_delta_rule((&q, &k, &v), &part(&decay, from, count), &part(&beta, from, count), states).unwrap()
        };
        let (whole, last) = run(0, 70, None);
        let (first, states) = run(0, 66, None);
        let (second, after) = run(66, 4, Some(&states));
        let joined = Tensor::cat(&[first, second], 1).unwrap();
        close(&values(&joined), &values(&whole), 1e-12, "outputs");
        close(&values(&after), &values(&last), 1e-12, "states");
    }

    #[test]
    fn the_convolution_sees_the_tokens_before() {
        let x = Tensor::arange(0f64, 12.0, &Device::Cpu).unwrap().reshape((1, 6, 2)).unwrap();
        let weight = Tensor::new(&[[1.0, 10.0, 100.0], [0.0, 0.0, 1.0]], &Device::Cpu).unwrap();
        let y = causal_convolution(&x, &weight).unwrap();
        assert_eq!(values(&y), [420.0, 5.0, 642.0, 7.0, 864.0, 9.0, 1086.0, 11.0]);
    }
}
