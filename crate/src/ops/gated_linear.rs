//! Two linear layers with a gate between their results, and linear layers to heads, each as one node of the graph.
//!
//! candle's backward writes zeros for the gradient of every node and adds to them. On a GPU, whose products are fast,
//! those passes over the widest values of a layer are worth saving; on the CPU they are negligible next to the products.

use std::sync::{Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, CudaStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Storage, Tensor};

use super::collect::accumulate_grad;
use super::gate::{GateActivation, GatedBackward, gated};
use super::linear::{backward, linear, sizes};
use super::rotation::transpose_heads;
use super::{cuda, cuda::serves};

/// activation(x Gᵀ) · (x Uᵀ): x `[…, in]`, the gate's G and U `[out, in]` → `[…, out]`.
///
/// # Errors
/// candle's error, if shapes, element types or devices do not match.
pub fn gated_linear(x: &Tensor, gate: &Tensor, up: &Tensor, activation: GateActivation) -> Result<Tensor> {
    if !serves(x) {
        return gated(&linear(x, gate, None)?, &linear(x, up, None)?, activation);
    }
    let call = GatedLinear { activation, kept: Mutex::new(None) };
    x.contiguous()?.apply_op3(&gate.contiguous()?, &up.contiguous()?, call)
}

/// x Wᵀ as heads: x `[b, s, in]`, W `[heads · d, in]` → `[b, heads, s, d]`.
///
/// # Errors
/// candle's error, if shapes, element types or devices do not match.
pub fn linear_heads(x: &Tensor, weight: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, tokens, _) = x.dims3()?;
    if !serves(x) {
        return transpose_heads(&linear(x, weight, None)?.reshape((batch, tokens, heads, ()))?);
    }
    x.contiguous()?.apply_op2(&weight.contiguous()?, LinearHeads { heads })
}

struct GatedLinear {
    activation: GateActivation,
    /// The results of the two layers, for the backward.
    kept: Mutex<Option<(Tensor, Tensor)>>,
}

fn tensor(storage: CudaStorage, shape: &Shape) -> Tensor {
    Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
}

impl CustomOp3 for GatedLinear {
    fn name(&self) -> &'static str {
        "gated-linear"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        candle_core::bail!("{}: the operands are on the CPU", self.name())
    }

    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
        s3: &CudaStorage,
        l3: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (of_gate, x, gate, shape) = sizes(l1, l2)?;
        let (of_up, _, up, _) = sizes(l1, l3)?;
        let (gate, up) = (s1.matmul(s2, of_gate, &x, &gate)?, s1.matmul(s3, of_up, &x, &up)?);
        let layout = Layout::contiguous(&shape);
        let (y, _) = cuda::gated((&gate, &layout), (&up, &layout), self.activation.number())?;
        let kept = (tensor(gate, &shape), tensor(up, &shape));
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok((y, shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gate: &Tensor,
        up: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some((of_gate, of_up)) = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone() else {
            candle_core::bail!("{}: backward before forward", self.name())
        };
        let both = of_gate.apply_op3_no_bwd(&of_up, &g.contiguous()?, &GatedBackward(self.activation))?;
        let (of_x, of_gate) = backward(x, gate, &both.get(0)?)?;
        let (more, of_up) = backward(x, up, &both.get(1)?)?;
        Ok((accumulate_grad(x, (of_x + more)?)?, accumulate_grad(gate, of_gate)?, accumulate_grad(up, of_up)?))
    }
}

struct LinearHeads {
    heads: usize,
}

impl CustomOp2 for LinearHeads {
    fn name(&self) -> &'static str {
        "linear-heads"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        candle_core::bail!("{}: the operands are on the CPU", self.name())
    }

    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<(CudaStorage, Shape)> {
        let (product, x, weight, _) = sizes(l1, l2)?;
        let ((batch, tokens, _), outputs) = (l1.shape().dims3()?, product.2);
        if outputs % self.heads != 0 {
            candle_core::bail!("{}: {outputs} outputs are not {} heads", self.name(), self.heads)
        }
        let y = s1.matmul(s2, product, &x, &weight)?;
        cuda::transpose_heads((&y, &Layout::contiguous((batch, tokens, self.heads, outputs / self.heads))))
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (of_x, of_weight) = backward(x, weight, &transpose_heads(&g.detach())?)?;
        Ok((accumulate_grad(x, of_x)?, accumulate_grad(weight, of_weight)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{Inputs, agree};

    #[test]
    fn a_gate_between_linear_maps_agrees_with_its_parts() {
        let inputs = Inputs::new(&[("x", &[2, 3, 8]), ("gate", &[6, 8]), ("up", &[6, 8])]);
        agree(
            &inputs,
            |v| gated_linear(&v[0], &v[1], &v[2], GateActivation::Silu),
            |v| {
                let map = |w: &Tensor| v[0].reshape((6, 8))?.matmul(&w.t()?)?.reshape((2, 3, 6));
                map(&v[1])?.silu()? * map(&v[2])?
            },
        );
    }

    #[test]
    fn linear_heads_are_a_linear_map_split_into_heads() {
        let inputs = Inputs::new(&[("x", &[2, 3, 8]), ("weight", &[10, 8])]);
        agree(
            &inputs,
            |v| linear_heads(&v[0], &v[1], 5),
            |v| v[0].reshape((6, 8))?.matmul(&v[1].t()?)?.reshape((2, 3, 5, 2))?.transpose(1, 2)?.contiguous(),
        );
    }
}
