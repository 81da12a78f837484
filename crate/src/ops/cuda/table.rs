//! Rows of a table by index, and the loss.

use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, DType, Error, Result, Shape, Tensor};

use super::Operand;
use super::launch::{Argument, Extent, contiguous, empty, launch, suffix, tensor, whole, with};

/// table `[rows, h]` and ids (u32) → `[ids' shape, h]`. An id beyond the table gives NaN, because checking the
/// ids would wait for the GPU.
pub(crate) fn embedding(table: Operand<'_>, ids: Operand<'_>) -> Result<(CudaStorage, Shape)> {
    const OP: &str = "embedding";
    let ((rows, width), dtype, device) = (table.1.shape().dims2()?, table.0.dtype(), table.0.device());
    let count = ids.1.shape().elem_count();
    let y = empty(device, dtype, count * width)?;
    let operands = [whole(&y), contiguous(table, dtype, OP)?, contiguous(ids, DType::U32, OP)?];
    let arguments = [operands.as_slice(), &[Argument::Int(width), Argument::Int(rows)]].concat();
    launch(device, &format!("embedding_{}", suffix(dtype, OP)?), Extent::rows(count, width), &arguments)?;
    Ok((y, Shape::from([ids.1.dims(), &[width]].concat())))
}

/// (gradient of y `[…, h]`, ids) → the gradient of the table `[rows, h]`. Added in float32.
pub(crate) fn embedding_backward(g: Operand<'_>, ids: Operand<'_>, rows: usize) -> Result<(CudaStorage, Shape)> {
    const OP: &str = "embedding-backward";
    let (count, dtype, device) = (ids.1.shape().elem_count(), g.0.dtype(), g.0.device());
    let width = g.1.dims().last().copied().unwrap_or(0);
    if g.1.shape().elem_count() != count * width {
        let (lhs, rhs) = (g.1.shape().clone(), ids.1.shape().clone());
        return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op: OP }.bt());
    }
    let gradient = empty(device, dtype, rows * width)?;
    let none = Tensor::full(u32::MAX, rows, &candle_core::Device::Cuda(device.clone()))?;
    let next = empty(device, DType::I32, count)?;
    let next_use = whole(&next);
    with(&none, |head| {
        // All bits set is -1 to the kernel.
        let head = contiguous(head, DType::U32, OP)?;
        let ids = contiguous(ids, DType::U32, OP)?;
        let lists = [head, next_use, ids, Argument::Int(count), Argument::Int(rows)];
        let extent = Extent { blocks: (count.div_ceil(256), 1, 1), threads: (256, 1), shared: 0 };
        launch(device, "embedding_lists", extent, &lists)?;
        let sums = [whole(&gradient), contiguous(g, dtype, OP)?, head, next_use, Argument::Int(width)];
        launch(device, &format!("embedding_backward_{}", suffix(dtype, OP)?), Extent::rows(rows, width), &sums)
    })?;
    Ok((gradient, Shape::from((rows, width))))
}

/// Turns logits `[m, v]` in place into (softmax − one-hot) · `share`, and gives each row's loss `[m]` in float32.
/// targets `[m]` of u32, each below v.
pub(crate) fn cross_entropy(logits: &Tensor, targets: &Tensor, share: f64) -> Result<Tensor> {
    const OP: &str = "cross-entropy";
    let (rows, vocab) = logits.dims2()?;
    if targets.dims() != [rows] {
        let (lhs, rhs) = (logits.shape().clone(), targets.shape().clone());
        return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op: OP }.bt());
    }
    let losses = with(logits, |logits| {
        let (dtype, device) = (logits.0.dtype(), logits.0.device());
        let losses = empty(device, DType::F32, rows)?;
        with(targets, |targets| {
            let operands = [contiguous(logits, dtype, OP)?, whole(&losses), contiguous(targets, DType::U32, OP)?];
            let arguments = [operands.as_slice(), &[Argument::Int(vocab), Argument::Real(share)]].concat();
            launch(device, &format!("cross_entropy_{}", suffix(dtype, OP)?), Extent::rows(rows, vocab), &arguments)
        })?;
        Ok(losses)
    })?;
    Ok(tensor(losses, rows))
}
