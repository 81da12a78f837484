//! What linear attention needs: inverses of small triangular matrices, and convolutions over the last tokens.

use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, DType, Error, Result, Shape, Tensor};

use super::Operand;
use super::launch::{Argument, Extent, at, contiguous, empty, launch, suffix, tensor, whole};

/// Blocks along the tokens, each of which leaves one row of sums.
const STRANDS: usize = 64;

/// (I + L)⁻¹ for the part L of each matrix `[…, size, size]` below its diagonal. `size` is at most 64.
pub(crate) fn unit_triangular_inverse(a: Operand<'_>, size: usize) -> Result<(CudaStorage, Shape)> {
    const OP: &str = "unit-triangular-inverse";
    let (count, dtype, device) = (a.1.shape().elem_count(), a.0.dtype(), a.0.device());
    let y = empty(device, dtype, count)?;
    let arguments = [whole(&y), contiguous(a, dtype, OP)?, Argument::Int(size)];
    let blocks = (count / (size * size).max(1), 1, 1);
    let extent = Extent { blocks, threads: (64, 1), shared: 2 * size * size * size_of::<f32>() };
    launch(device, &format!("delta_inverse_{}", suffix(dtype, OP)?), extent, &arguments)?;
    Ok((y, a.1.shape().clone()))
}

/// −x below the diagonal of each matrix `[…, size, size]`, 0 elsewhere.
pub(crate) fn negated_below(x: Operand<'_>, size: usize) -> Result<(CudaStorage, Shape)> {
    const OP: &str = "negated-below";
    let (count, dtype, device) = (x.1.shape().elem_count(), x.0.dtype(), x.0.device());
    let y = empty(device, dtype, count)?;
    let arguments = [whole(&y), contiguous(x, dtype, OP)?, Argument::Long(count), Argument::Int(size)];
    launch(device, &format!("delta_negated_below_{}", suffix(dtype, OP)?), Extent::elements(count), &arguments)?;
    Ok((y, x.1.shape().clone()))
}

/// Returns (batch, tokens, channels, taps) of x `[batch, taps − 1 + tokens, channels]` and the weight `[channels, taps]`.
fn sizes(x: &Shape, weight: &Shape, op: &'static str) -> Result<(usize, usize, usize, usize)> {
    let ((batch, rows, channels), (of_weight, taps)) = (x.dims3()?, weight.dims2()?);
    if of_weight != channels || taps == 0 || rows + 1 < taps {
        return Err(Error::ShapeMismatchBinaryOp { lhs: x.clone(), rhs: weight.clone(), op }.bt());
    }
    Ok((batch, rows + 1 - taps, channels, taps))
}

/// x `[batch, taps − 1 + tokens, channels]` and weight `[channels, taps]` → `[batch, tokens, channels]`.
pub(crate) fn convolution(x: Operand<'_>, weight: Operand<'_>) -> Result<(CudaStorage, Shape)> {
    const OP: &str = "causal-convolution";
    let (batch, tokens, channels, taps) = sizes(x.1.shape(), weight.1.shape(), OP)?;
    let (dtype, device, count) = (x.0.dtype(), x.0.device(), batch * tokens * channels);
    let y = empty(device, dtype, count)?;
    let mut arguments = vec![whole(&y), contiguous(x, dtype, OP)?, contiguous(weight, dtype, OP)?];
    arguments.push(Argument::Long(count));
    arguments.extend([tokens, channels, taps].map(Argument::Int));
    launch(device, &format!("delta_convolution_{}", suffix(dtype, OP)?), Extent::elements(count), &arguments)?;
    Ok((y, Shape::from((batch, tokens, channels))))
}

/// → the gradients of x and of the weight, which has at most eight taps.
pub(crate) fn convolution_backward(x: &Tensor, weight: &Tensor, g: &Tensor) -> Result<(Tensor, Tensor)> {
    const OP: &str = "causal-convolution-backward";
    let (batch, tokens, channels, taps) = sizes(x.shape(), weight.shape(), OP)?;
    if g.dims() != [batch, tokens, channels] {
        return Err(Error::ShapeMismatchBinaryOp { lhs: x.shape().clone(), rhs: g.shape().clone(), op: OP }.bt());
    }
    let (dtype, device, suffix) = (x.dtype(), x.device().as_cuda_device()?, suffix(x.dtype(), OP)?);
    let (of_x, count) = (empty(device, dtype, x.elem_count())?, x.elem_count());
    let mut arguments = vec![whole(&of_x), at(g, dtype, OP)?, at(weight, dtype, OP)?, Argument::Long(count)];
    arguments.extend([tokens, channels, taps].map(Argument::Int));
    launch(device, &format!("delta_convolution_backward_{suffix}"), Extent::elements(count), &arguments)?;

    let strands = (batch * tokens).div_ceil(8).clamp(1, STRANDS);
    let partial = empty(device, DType::F32, strands * channels * taps)?;
    let mut arguments = vec![whole(&partial), at(x, dtype, OP)?, at(g, dtype, OP)?, Argument::Long(batch * tokens)];
    arguments.extend([tokens, channels, taps].map(Argument::Int));
    let extent = Extent { blocks: (channels.div_ceil(32), strands, 1), threads: (32, 8), shared: 0 };
    launch(device, &format!("delta_convolution_weights_{suffix}"), extent, &arguments)?;
    let of_weight = empty(device, dtype, channels * taps)?;
    let extent = Extent { blocks: ((channels * taps).div_ceil(32), 1, 1), threads: (32, 32), shared: 0 };
    let arguments = [whole(&of_weight), whole(&partial), Argument::Long(strands), Argument::Int(channels * taps)];
    launch(device, &format!("partial_sums_{suffix}"), extent, &arguments)?;
    Ok((tensor(of_x, x.shape()), tensor(of_weight, (channels, taps))))
}
