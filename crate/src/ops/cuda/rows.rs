//! Normalization, and other passes row by row.

use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, DType, Error, Result, Shape, Tensor};

use super::Operand;
use super::launch::{Argument, Extent, at, contiguous, empty, launch, suffix, tensor, whole};

/// Blocks of the backward passes: two for each multiprocessor of the largest GPUs. Each leaves one row of sums.
const STRANDS: usize = 264;

/// Returns rows and width of x, whose width the weight must have.
fn sizes(x: Operand<'_>, weight: Operand<'_>, op: &'static str) -> Result<(usize, usize)> {
    let width = x.1.dims().last().copied().unwrap_or(0);
    if width == 0 || weight.1.dims() != [width] {
        let (lhs, rhs) = (x.1.shape().clone(), weight.1.shape().clone());
        return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op }.bt());
    }
    Ok((x.1.shape().elem_count() / width, width))
}

/// x `[…, h]`, weight `[h]` → `[…, h]`.
pub(crate) fn rms_norm(x: Operand<'_>, weight: Operand<'_>, eps: f64) -> Result<(CudaStorage, Shape)> {
    const OP: &str = "rms-norm";
    let ((rows, width), dtype, device) = (sizes(x, weight, OP)?, x.0.dtype(), x.0.device());
    let y = empty(device, dtype, rows * width)?;
    let operands = [whole(&y), contiguous(x, dtype, OP)?, contiguous(weight, dtype, OP)?];
    let arguments = [operands.as_slice(), &[Argument::Int(width), Argument::Real(eps)]].concat();
    launch(device, &format!("rms_norm_{}", suffix(dtype, OP)?), Extent::rows(rows, width), &arguments)?;
    Ok((y, x.1.shape().clone()))
}

/// → `[rows + 1, h]`: the gradient of x, and below it that of the weight.
pub(crate) fn rms_norm_backward(
    x: Operand<'_>,
    weight: Operand<'_>,
    g: Operand<'_>,
    eps: f64,
) -> Result<(CudaStorage, Shape)> {
    norm_backward("rms_norm_backward", 1, (x, weight, g), eps)
}

/// x `[…, h]`, weight and bias `[h]` → `[…, h]`.
pub(crate) fn layer_norm(
    x: Operand<'_>,
    weight: Operand<'_>,
    bias: Operand<'_>,
    eps: f64,
) -> Result<(CudaStorage, Shape)> {
    const OP: &str = "layer-norm";
    let ((rows, width), dtype, device) = (sizes(x, weight, OP)?, x.0.dtype(), x.0.device());
    sizes(x, bias, OP)?;
    let y = empty(device, dtype, rows * width)?;
    let operands = [whole(&y), contiguous(x, dtype, OP)?, contiguous(weight, dtype, OP)?, contiguous(bias, dtype, OP)?];
    let arguments = [operands.as_slice(), &[Argument::Int(width), Argument::Real(eps)]].concat();
    launch(device, &format!("layer_norm_{}", suffix(dtype, OP)?), Extent::rows(rows, width), &arguments)?;
    Ok((y, x.1.shape().clone()))
}

/// → `[rows + 2, h]`: the gradient of x, and below it those of weight and bias.
pub(crate) fn layer_norm_backward(
    x: Operand<'_>,
    weight: Operand<'_>,
    g: Operand<'_>,
    eps: f64,
) -> Result<(CudaStorage, Shape)> {
    norm_backward("layer_norm_backward", 2, (x, weight, g), eps)
}

/// Returns the gradient of x with `extra` rows of sums below.
fn norm_backward(
    kernel: &'static str,
    extra: usize,
    (x, weight, g): (Operand<'_>, Operand<'_>, Operand<'_>),
    eps: f64,
) -> Result<(CudaStorage, Shape)> {
    let ((rows, width), dtype, device) = (sizes(x, weight, kernel)?, x.0.dtype(), x.0.device());
    if g.1.shape().elem_count() != rows * width {
        let (lhs, rhs) = (x.1.shape().clone(), g.1.shape().clone());
        return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op: kernel }.bt());
    }
    let suffix = suffix(dtype, kernel)?;
    let all = empty(device, dtype, (rows + extra) * width)?;
    let (strands, columns) = (rows.clamp(1, STRANDS), extra * width);
    let partial = empty(device, DType::F32, strands * columns)?;
    let mut arguments = vec![whole(&all), whole(&partial)];
    for operand in [x, weight, g] {
        arguments.push(contiguous(operand, dtype, kernel)?);
    }
    arguments.extend([Argument::Long(rows), Argument::Int(width), Argument::Real(eps)]);
    let extent = Extent::rows(strands, width).with_shared(4 * columns);
    launch(device, &format!("{kernel}_{suffix}"), extent, &arguments)?;
    let below = candle_core::Layout::contiguous_with_offset(columns, rows * width);
    let sums = [contiguous((&all, &below), dtype, kernel)?, whole(&partial)];
    let arguments = [sums.as_slice(), &[Argument::Long(strands), Argument::Int(columns)]].concat();
    launch(device, &format!("partial_sums_{suffix}"), by_column(columns), &arguments)?;
    Ok((all, Shape::from((rows + extra, width))))
}

/// 32 columns a block, and 32 strands of rows.
fn by_column(columns: usize) -> Extent {
    Extent { blocks: (columns.div_ceil(32), 1, 1), threads: (32, 32), shared: 0 }
}

/// `[…, n]` → `[n]`: sums over rows.
pub(crate) fn column_sums(x: Operand<'_>) -> Result<(CudaStorage, Shape)> {
    const OP: &str = "column-sums";
    let (width, dtype, device) = (x.1.dims().last().copied().unwrap_or(1).max(1), x.0.dtype(), x.0.device());
    let rows = x.1.shape().elem_count() / width;
    let y = empty(device, dtype, width)?;
    let arguments = [whole(&y), contiguous(x, dtype, OP)?, Argument::Long(rows), Argument::Int(width)];
    launch(device, &format!("column_sums_{}", suffix(dtype, OP)?), by_column(width), &arguments)?;
    Ok((y, Shape::from(width)))
}

/// Adds a bias `[n]` to every row of a new storage `[…, n]`.
pub(crate) fn add_bias(x: &CudaStorage, bias: Operand<'_>) -> Result<()> {
    const OP: &str = "bias";
    let (width, dtype) = (bias.1.shape().elem_count(), x.dtype());
    let rows = elements(x) / width.max(1);
    let arguments = [whole(x), contiguous(bias, dtype, OP)?, Argument::Int(width)];
    launch(x.device(), &format!("add_bias_{}", suffix(dtype, OP)?), Extent::rows(rows, width), &arguments)
}

fn elements(storage: &CudaStorage) -> usize {
    use candle_core::cuda_backend::CudaStorageSlice as Slice;
    match &storage.slice {
        Slice::F32(slice) => slice.len(),
        Slice::BF16(slice) => slice.len(),
        Slice::F16(slice) => slice.len(),
        _ => 0,
    }
}

/// x `[tokens · active, h]`, slots (u32) and weights `[tokens, active]` → `[tokens, h]`: of each token the rows in its slots,
/// weighted and summed. Slots are below the number of rows.
pub(crate) fn combine(x: Operand<'_>, slots: &Tensor, weights: Operand<'_>) -> Result<(CudaStorage, Shape)> {
    const OP: &str = "combine";
    let ((tokens, active), width) = (weights.1.shape().dims2()?, x.1.shape().dims2()?.1);
    let (dtype, device) = (x.0.dtype(), x.0.device());
    let y = empty(device, dtype, tokens * width)?;
    let mut arguments = vec![whole(&y), contiguous(x, dtype, OP)?, at(slots, DType::U32, OP)?];
    arguments.push(contiguous(weights, dtype, OP)?);
    arguments.extend([active, width].map(Argument::Int));
    launch(device, &format!("combine_{}", suffix(dtype, OP)?), Extent::rows(tokens, width), &arguments)?;
    Ok((y, Shape::from((tokens, width))))
}

/// → the gradients of x and of the weights. The slots are a permutation of the rows.
pub(crate) fn combine_backward(x: &Tensor, slots: &Tensor, weights: &Tensor, g: &Tensor) -> Result<(Tensor, Tensor)> {
    const OP: &str = "combine-backward";
    let ((tokens, active), (rows, width)) = (weights.dims2()?, x.dims2()?);
    if rows != tokens * active || g.dims() != [tokens, width] {
        return Err(Error::ShapeMismatchBinaryOp { lhs: x.shape().clone(), rhs: g.shape().clone(), op: OP }.bt());
    }
    let (dtype, device) = (x.dtype(), x.device().as_cuda_device()?);
    let (of_x, of_weights) = (empty(device, dtype, rows * width)?, empty(device, dtype, rows)?);
    let mut arguments = vec![whole(&of_x), whole(&of_weights), at(x, dtype, OP)?, at(slots, DType::U32, OP)?];
    arguments.extend([at(weights, dtype, OP)?, at(g, dtype, OP)?]);
    arguments.extend([active, width].map(Argument::Int));
    launch(device, &format!("combine_backward_{}", suffix(dtype, OP)?), Extent::rows(tokens, width), &arguments)?;
    Ok((tensor(of_x, (rows, width)), tensor(of_weights, (tokens, active))))
}
