//! The output projection and the loss in one operation: logits exist for a few rows at a time.

use candle_core::{D, DType, Device, Error, Result, Storage, Tensor};
use rayon::prelude::*;

use super::collect::accumulate_grad;
use super::cuda;
use super::element::{Wide, Window, inside, product};
use super::precomputed_op::PrecomputedOp;
use super::rows::exponentials;

/// Bytes that the logits of one block of rows may take, and on a GPU, where products need many rows.
const LOGITS: usize = 64 << 20;
const LOGITS_ON_GPU: usize = 2 << 30;

/// Mean cross entropy, in nats, of the logits x Wᵀ against `targets`; rows whose target is `ignored` do not count.
/// x `[n, h]`, weight `[v, h]`, n targets → a scalar in float32 (float64 for float64 tensors).
///
/// The gradients are computed in the forward pass, a block of rows at a time, so that `[n, v]` never exists as a whole.
///
/// # Errors
/// If no target counts, one is not below v, or shapes and devices do not fit.
pub fn linear_cross_entropy(x: &Tensor, weight: &Tensor, targets: &[i64], ignored: i64) -> Result<Tensor> {
    let wanted = x.track_op() || weight.track_op();
    let made = linear_cross_entropy_gradients(x, weight, targets, ignored, wanted)?;
    let Some((of_x, of_weight)) = made.gradients else { return Ok(made.loss) };
    let backward = move |arguments: &[&Tensor], g: &Tensor| {
        let [x, weight] = arguments else { candle_core::bail!("linear cross entropy has two arguments") };
        Ok(vec![accumulate_grad(x, scaled(&of_x, g)?)?, accumulate_grad(weight, scaled(&of_weight, g)?)?])
    };
    x.apply_op2(weight, PrecomputedOp::new("linear-cross-entropy", &made.loss, Box::new(backward))?)
}

/// The result of [`linear_cross_entropy_gradients`].
pub struct LossAndGradients {
    /// The mean loss, a scalar.
    pub loss: Tensor,
    /// The gradients of x and of the weight, if they were requested.
    pub gradients: Option<(Tensor, Tensor)>,
}

/// Like [`linear_cross_entropy`], outside any graph: the loss and, if `wanted`, the gradients of x and weight.
///
/// # Errors
/// As [`linear_cross_entropy`].
pub fn linear_cross_entropy_gradients(
    x: &Tensor,
    weight: &Tensor,
    targets: &[i64],
    ignored: i64,
    wanted: bool,
) -> Result<LossAndGradients> {
    let ((n, _), (vocab, _)) = (x.dims2()?, weight.dims2()?);
    if targets.len() != n {
        candle_core::bail!("{} targets for {n} rows of linear cross entropy", targets.len())
    }
    let (mut rows, mut counted) = (Vec::new(), Vec::new());
    for (row, &target) in targets.iter().enumerate().filter(|&(_, &target)| target != ignored) {
        match u32::try_from(target) {
            Ok(target) if (target as usize) < vocab => {
                rows.push(row as u32);
                counted.push(target);
            }
            _ => candle_core::bail!("target {target} of row {row} is not below {vocab}"),
        }
    }
    if counted.is_empty() {
        candle_core::bail!("no target counts: the mean loss would be 0/0")
    }
    let mut places = vec![counted.len() as u32; n];
    rows.iter().zip(0..).for_each(|(row, place)| places[*row as usize] = place);
    let rows = Tensor::from_vec(rows, counted.len(), x.device())?;
    let (x, weight) = (x.detach(), weight.detach().contiguous()?);
    let picked = if counted.len() == n { x.contiguous()? } else { x.contiguous()?.index_select(&rows, 0)? };
    let (loss, gradients) = match (x.device(), x.dtype()) {
        (Device::Cpu, DType::F64) => in_blocks::<f64>(&picked, &weight, &counted, wanted)?,
        (Device::Cpu, _) => {
            let wide = (picked.to_dtype(DType::F32)?, weight.to_dtype(DType::F32)?);
            in_blocks::<f32>(&wide.0, &wide.1, &counted, wanted)?
        }
        _ if cuda::serves(&picked) && picked.dtype() == weight.dtype() => on_gpu(&picked, &weight, &counted, wanted)?,
        _ => composed(&picked, &weight, &counted, wanted)?,
    };
    let spread = |of_x: Tensor| -> Result<Tensor> {
        if counted.len() == n {
            return Ok(of_x);
        }
        // Rows that do not count pick one of zeros: a GPU adds to rows by index many times slower than it picks them.
        let padded = Tensor::cat(&[&of_x, &of_x.narrow(0, 0, 1)?.zeros_like()?], 0)?;
        padded.index_select(&Tensor::from_vec(places.clone(), n, padded.device())?, 0)
    };
    let gradients = match gradients {
        Some((of_x, of_weight)) => Some((spread(of_x.to_dtype(x.dtype())?)?, of_weight.to_dtype(weight.dtype())?)),
        None => None,
    };
    Ok(LossAndGradients { loss, gradients })
}

fn scaled(gradient: &Tensor, g: &Tensor) -> Result<Tensor> {
    // It nearly always is one, and reading it costs less than a pass over a vocabulary's gradient, even on a GPU.
    if g.to_dtype(DType::F64)?.to_scalar::<f64>()? == 1.0 {
        return Ok(gradient.clone());
    }
    gradient.broadcast_mul(&g.to_dtype(gradient.dtype())?)
}

fn block_rows(count: usize, vocab: usize, size: usize, budget: usize) -> usize {
    let blocks = count.div_ceil((budget / (vocab * size)).max(64));
    count.div_ceil(blocks)
}

type Made = (Tensor, Option<(Tensor, Tensor)>);

/// x `[m, h]` and weight `[v, h]` contiguous, in T.
fn in_blocks<T: Wide + candle_core::WithDType>(
    x: &Tensor,
    weight: &Tensor,
    targets: &[u32],
    wanted: bool,
) -> Result<Made> {
    let ((count, width), (vocab, _)) = (x.dims2()?, weight.dims2()?);
    let ((xs, xl), (ws, wl)) = (x.storage_and_layout(), weight.storage_and_layout());
    let (Storage::Cpu(xs), Storage::Cpu(ws)) = (&*xs, &*ws) else {
        candle_core::bail!("linear cross entropy: operands on different devices")
    };
    let block = block_rows(count, vocab, std::mem::size_of::<T>(), LOGITS);
    let share = T::ONE / T::of(count as f64);
    let mut loss = 0.0;
    let mut of_x = Vec::with_capacity(if wanted { count * width } else { 0 });
    let mut of_weight: Vec<T> = Vec::new();
    for (index, targets) in targets.chunks(block).enumerate() {
        crate::interrupt::check().map_err(Error::wrap)?;
        let rows = targets.len();
        let x = Window::new(xs, xl.start_offset() + index * block * width, (width, 1));
        let weight = wl.start_offset();
        let mut logits: Vec<T> = product((rows, vocab, width), x, Window::new(ws, weight, (1, width)))?;
        loss += logits
            .par_chunks_mut(vocab)
            .zip(targets)
            .map(|(row, &target)| to_gradient(row, target as usize, share))
            .collect::<Vec<f64>>()
            .into_iter()
            .sum::<f64>();
        if wanted {
            let logits = T::storage(logits);
            let of_rows: Vec<T> = product(
                (rows, width, vocab),
                Window::new(&logits, 0, (vocab, 1)),
                Window::new(ws, weight, (width, 1)),
            )?;
            of_x.extend_from_slice(&of_rows);
            let part: Vec<T> = product((vocab, width, rows), Window::new(&logits, 0, (1, vocab)), x)?;
            if of_weight.is_empty() {
                of_weight = part;
            } else {
                of_weight.par_iter_mut().zip(part).with_min_len(16 * 1024).for_each(|(sum, part)| *sum += part);
            }
        }
    }
    let loss = Tensor::new(T::of(loss / count as f64), &Device::Cpu)?;
    if !wanted {
        return Ok((loss, None));
    }
    let of_x = Tensor::from_vec(of_x, (count, width), &Device::Cpu)?;
    Ok((loss, Some((of_x, Tensor::from_vec(of_weight, (vocab, width), &Device::Cpu)?))))
}

/// Turns logits into the gradient of their row's part in the mean, (softmax − one-hot) · share, and returns the row's loss.
fn to_gradient<T: Wide>(row: &mut [T], target: usize, share: T) -> f64 {
    let highest = row.iter().fold(T::LOWEST, |highest, &x| x.at_least(highest));
    let chosen = row[target];
    let sum = exponentials(row, highest);
    let scale = share / sum;
    row.iter_mut().for_each(|x| *x *= scale);
    row[target] = row[target] - share;
    (sum.ln() + highest - chosen).to_f64()
}

/// Returns the same with logits in the operands' own type, turned into their gradient in place.
fn on_gpu(x: &Tensor, weight: &Tensor, targets: &[u32], wanted: bool) -> Result<Made> {
    let (count, vocab) = (x.dim(0)?, weight.dim(0)?);
    let block = block_rows(count, vocab, x.dtype().size_in_bytes(), LOGITS_ON_GPU);
    let (mut losses, mut of_x, mut of_weight): (Vec<Tensor>, Vec<Tensor>, Option<Tensor>) = Default::default();
    for (index, targets) in targets.chunks(block).enumerate() {
        let x = x.narrow(0, index * block, targets.len())?;
        let targets = Tensor::new(targets, x.device())?;
        let logits = x.matmul(&weight.t()?)?;
        losses.push(cuda::cross_entropy(&logits, &targets, 1.0 / count as f64)?);
        if wanted {
            of_x.push(logits.matmul(weight)?);
            let part = logits.t()?.matmul(&x)?;
            of_weight = Some(match of_weight {
                Some(sum) => (sum + part)?,
                None => part,
            });
        }
    }
    let loss = (Tensor::cat(&losses, 0)?.sum_all()? * (1.0 / count as f64))?;
    Ok(match of_weight {
        Some(of_weight) => (loss, Some((Tensor::cat(&of_x, 0)?, of_weight))),
        None => (loss, None),
    })
}

/// Composes the same of candle's operations, for devices without a kernel.
fn composed(x: &Tensor, weight: &Tensor, targets: &[u32], wanted: bool) -> Result<Made> {
    let (count, vocab) = (x.dim(0)?, weight.dim(0)?);
    let inside = inside(x.dtype());
    let block = block_rows(count, vocab, 8, LOGITS);
    let (mut loss, mut of_x, mut of_weight): (Option<Tensor>, Vec<Tensor>, Option<Tensor>) = (None, Vec::new(), None);
    let added = |sum: Option<Tensor>, part: Tensor| match sum {
        Some(sum) => sum + part,
        None => Ok(part),
    };
    for (index, targets) in targets.chunks(block).enumerate() {
        let rows = targets.len();
        let x = x.narrow(0, index * block, rows)?;
        let chosen = Tensor::new(targets, x.device())?.unsqueeze(1)?;
        let logits = x.matmul(&weight.t()?)?.to_dtype(inside)?;
        let highest = logits.max_keepdim(D::Minus1)?;
        let raised = logits.broadcast_sub(&highest)?;
        let exponentials = raised.exp()?;
        let sum = exponentials.sum_keepdim(D::Minus1)?;
        let losses = (sum.log()? - raised.gather(&chosen, 1)?)?;
        loss = Some(added(loss, losses.sum_all()?)?);
        if wanted {
            let ones = Tensor::full(-1f64, (rows, 1), x.device())?.to_dtype(inside)?;
            let of_logits = exponentials.broadcast_div(&sum)?.scatter_add(&chosen, &ones, 1)?;
            let of_logits = (of_logits * (1.0 / count as f64))?.to_dtype(x.dtype())?;
            of_x.push(of_logits.matmul(weight)?);
            of_weight = Some(added(of_weight, of_logits.t()?.matmul(&x)?)?);
        }
    }
    let Some(loss) = loss else { candle_core::bail!("linear cross entropy without rows") };
    let loss = (loss * (1.0 / count as f64))?;
    match of_weight {
        Some(of_weight) => Ok((loss, Some((Tensor::cat(&of_x, 0)?, of_weight)))),
        None => Ok((loss, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{Inputs, agree, close, values};

    /// By log-softmax and gather on whole logits.
    fn plain(x: &Tensor, weight: &Tensor, targets: &[i64]) -> Result<Tensor> {
        let kept: Vec<u32> = (0..targets.len() as u32).filter(|&row| targets[row as usize] != -100).collect();
        let chosen: Vec<u32> = kept.iter().map(|&row| targets[row as usize] as u32).collect();
        let logits = x.matmul(&weight.t()?)?.index_select(&Tensor::new(kept.as_slice(), x.device())?, 0)?;
        let inside = inside(x.dtype());
        let logs = candle_nn::ops::log_softmax(&logits.to_dtype(inside)?, D::Minus1)?;
        logs.gather(&Tensor::new(chosen.as_slice(), x.device())?.unsqueeze(1)?, 1)?.mean_all()?.neg()
    }

    #[test]
    fn loss_and_gradients_agree_with_candle_and_finite_differences() {
        let targets = [3, -100, 0, 10, 3, -100, 7];
        let inputs = Inputs::new(&[("x", &[7, 6]), ("weight", &[11, 6])]);
        agree(&inputs, |v| linear_cross_entropy(&v[0], &v[1], &targets, -100), |v| plain(&v[0], &v[1], &targets));
    }

    #[test]
    fn blocks_change_nothing() {
        let (n, vocab) = (300, 200_000);
        assert!(block_rows(n, vocab, 4, LOGITS) < n);
        let v = Inputs::new(&[("x", &[n, 4]), ("weight", &[vocab, 4])]).variables(DType::F32);
        let targets: Vec<i64> = (0..n as i64).map(|row| row * 617 % vocab as i64).collect();
        let (ours, theirs) =
            (linear_cross_entropy(&v[0], &v[1], &targets, -100).unwrap(), plain(&v[0], &v[1], &targets).unwrap());
        close(&values(&ours), &values(&theirs), 1e-6, "loss");
        let (ours, theirs) = (ours.backward().unwrap(), theirs.backward().unwrap());
        for v in &v {
            close(&values(ours.get(v).unwrap()), &values(theirs.get(v).unwrap()), 1e-5, "gradient");
        }
    }

    #[test]
    fn the_composition_for_other_devices_is_the_same() {
        let inputs = Inputs::new(&[("x", &[9, 6]), ("weight", &[11, 6])]);
        let v = inputs.variables(DType::F64);
        let targets = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        let (loss, gradients) = composed(&v[0].detach(), &v[1].detach(), &targets, true).unwrap();
        let (ours, of_ours) = in_blocks::<f64>(&v[0].detach(), &v[1].detach(), &targets, true).unwrap();
        close(&values(&loss), &values(&ours), 1e-12, "loss");
        let ((x1, w1), (x2, w2)) = (gradients.unwrap(), of_ours.unwrap());
        close(&values(&x1), &values(&x2), 1e-12, "gradient of x");
        close(&values(&w1), &values(&w2), 1e-12, "gradient of the weight");
    }

    #[test]
    fn targets_that_cannot_be_are_errors() {
        let v = Inputs::new(&[("x", &[2, 6]), ("weight", &[11, 6])]).variables(DType::F32);
        for (targets, reason) in
            [(vec![1, 11], "not below 11"), (vec![-100, -100], "0/0"), (vec![1], "1 targets for 2")]
        {
            let error = linear_cross_entropy(&v[0], &v[1], &targets, -100).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
