//! Passes over elements: rotation, exchange of heads and tokens, gates, soft caps, SGD.

use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, DType, Error, Result, Shape};

use super::Operand;
use super::launch::{Argument, Extent, contiguous, empty, launch, suffix, whole};

/// x `[b, h, s, d]`, cos and sin `[b or 1, s, d / 2]` in float32 → x's shape.
pub(crate) fn rotate(
    x: Operand<'_>,
    cos: Operand<'_>,
    sin: Operand<'_>,
    inverse: bool,
) -> Result<(CudaStorage, Shape)> {
    const OP: &str = "rotate";
    let ((batch, heads, tokens, width), dtype, device) = (x.1.shape().dims4()?, x.0.dtype(), x.0.device());
    let (tables, _, half) = cos.1.shape().dims3()?;
    let fits = cos.1.dims() == [tables, tokens, half] && sin.1.dims() == cos.1.dims() && 2 * half == width;
    if !fits || (tables != 1 && tables != batch) {
        let (lhs, rhs) = (x.1.shape().clone(), cos.1.shape().clone());
        return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op: OP }.bt());
    }
    let pairs = batch * heads * tokens * half;
    let y = empty(device, dtype, 2 * pairs)?;
    let mut arguments = vec![whole(&y), contiguous(x, dtype, OP)?];
    arguments.extend([contiguous(cos, DType::F32, OP)?, contiguous(sin, DType::F32, OP)?, Argument::Long(pairs)]);
    // Tokens are the inner number; the other order is not used.
    arguments.extend([heads, tokens, half, 0, tables].map(Argument::Int));
    arguments.push(Argument::Real(if inverse { -1.0 } else { 1.0 }));
    launch(device, &format!("rotate_{}", suffix(dtype, OP)?), Extent::elements(pairs / 8), &arguments)?;
    Ok((y, x.1.shape().clone()))
}

/// `[a, b, c, d]` → `[a, c, b, d]`, contiguous.
pub(crate) fn transpose_heads(x: Operand<'_>) -> Result<(CudaStorage, Shape)> {
    const OP: &str = "transpose-heads";
    let ((batch, outer, inner, width), dtype, device) = (x.1.shape().dims4()?, x.0.dtype(), x.0.device());
    let count = batch * outer * inner * width;
    let y = empty(device, dtype, count)?;
    let sizes = [Argument::Long(count), Argument::Int(outer), Argument::Int(inner), Argument::Int(width)];
    let arguments = [[whole(&y), contiguous(x, dtype, OP)?].as_slice(), &sizes].concat();
    launch(device, &format!("exchange_{}", suffix(dtype, OP)?), Extent::elements(count / 8), &arguments)?;
    Ok((y, Shape::from((batch, inner, outer, width))))
}

fn same_size(a: Operand<'_>, b: Operand<'_>, op: &'static str) -> Result<usize> {
    let count = a.1.shape().elem_count();
    if count != b.1.shape().elem_count() {
        let (lhs, rhs) = (a.1.shape().clone(), b.1.shape().clone());
        return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op }.bt());
    }
    Ok(count)
}

/// activation(gate) · up; `kind` numbers the activation: SiLU, ReLU, GELU, GELU by tanh.
pub(crate) fn gated(gate: Operand<'_>, up: Operand<'_>, kind: i32) -> Result<(CudaStorage, Shape)> {
    const OP: &str = "gated";
    let (count, dtype, device) = (same_size(gate, up, OP)?, gate.0.dtype(), gate.0.device());
    let y = empty(device, dtype, count)?;
    let operands = [whole(&y), contiguous(gate, dtype, OP)?, contiguous(up, dtype, OP)?];
    let arguments = [operands.as_slice(), &[Argument::Long(count), Argument::Int(kind as usize)]].concat();
    launch(device, &format!("gated_{}", suffix(dtype, OP)?), Extent::elements(count / 8), &arguments)?;
    Ok((y, gate.1.shape().clone()))
}

/// → `[2, elements]`: the gradients of gate and of up.
pub(crate) fn gated_backward(
    gate: Operand<'_>,
    up: Operand<'_>,
    g: Operand<'_>,
    kind: i32,
) -> Result<(CudaStorage, Shape)> {
    const OP: &str = "gated-backward";
    let (count, dtype, device) = (same_size(gate, up, OP)?, gate.0.dtype(), gate.0.device());
    same_size(gate, g, OP)?;
    let both = empty(device, dtype, 2 * count)?;
    let operands = [whole(&both), contiguous(gate, dtype, OP)?, contiguous(up, dtype, OP)?, contiguous(g, dtype, OP)?];
    let arguments = [operands.as_slice(), &[Argument::Long(count), Argument::Int(kind as usize)]].concat();
    launch(device, &format!("gated_backward_{}", suffix(dtype, OP)?), Extent::elements(count / 8), &arguments)?;
    Ok((both, Shape::from((2, count))))
}

/// cap · tanh(x / cap).
pub(crate) fn softcap(x: Operand<'_>, cap: f64) -> Result<(CudaStorage, Shape)> {
    const OP: &str = "softcap";
    let (count, dtype, device) = (x.1.shape().elem_count(), x.0.dtype(), x.0.device());
    let y = empty(device, dtype, count)?;
    let arguments = [whole(&y), contiguous(x, dtype, OP)?, Argument::Long(count), Argument::Real(cap)];
    launch(device, &format!("softcap_{}", suffix(dtype, OP)?), Extent::elements(count / 8), &arguments)?;
    Ok((y, x.1.shape().clone()))
}

/// (y, gradient of y) → gradient of x.
pub(crate) fn softcap_backward(y: Operand<'_>, g: Operand<'_>, cap: f64) -> Result<(CudaStorage, Shape)> {
    const OP: &str = "softcap-backward";
    let (count, dtype, device) = (same_size(y, g, OP)?, y.0.dtype(), y.0.device());
    let gradient = empty(device, dtype, count)?;
    let operands = [whole(&gradient), contiguous(y, dtype, OP)?, contiguous(g, dtype, OP)?];
    let arguments = [operands.as_slice(), &[Argument::Long(count), Argument::Real(cap)]].concat();
    launch(device, &format!("softcap_backward_{}", suffix(dtype, OP)?), Extent::elements(count / 8), &arguments)?;
    Ok((gradient, y.1.shape().clone()))
}

/// variable ← variable − lr · gradient.
pub(crate) fn sgd(variable: Operand<'_>, gradient: Operand<'_>, lr: f64) -> Result<()> {
    const OP: &str = "sgd";
    let (count, dtype) = (same_size(variable, gradient, OP)?, variable.0.dtype());
    let operands = [contiguous(variable, dtype, OP)?, contiguous(gradient, dtype, OP)?];
    let arguments = [operands.as_slice(), &[Argument::Long(count), Argument::Real(lr)]].concat();
    launch(variable.0.device(), &format!("sgd_{}", suffix(dtype, OP)?), Extent::elements(count / 8), &arguments)
}
