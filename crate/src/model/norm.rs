//! Root-mean-square normalisation.

use candle_core::{D, DType, Result, Tensor};
use candle_nn::VarBuilder;

use crate::spec::Leaf;

/// x / sqrt(mean(x²) + eps) · w, in float32 inside. Built of differentiable operations: candle's fused one has no backward.
#[derive(Clone, Debug)]
pub(super) struct RmsNorm {
    weight: Tensor,
    eps: f64,
}

impl RmsNorm {
    pub(super) fn load(leaf: &Leaf, vb: &VarBuilder) -> Result<Self> {
        match (leaf, leaf.params().into_iter().next()) {
            (Leaf::RmsNorm { eps, .. }, Some(param)) => {
                Ok(Self { weight: vb.get(param.shape, param.name)?, eps: *eps })
            }
            _ => candle_core::bail!("not an RMSNorm"),
        }
    }

    /// Over the last dimension.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let wide = x.to_dtype(DType::F32)?;
        let scale = (wide.sqr()?.mean_keepdim(D::Minus1)? + self.eps)?.sqrt()?.recip()?;
        wide.broadcast_mul(&scale)?.to_dtype(x.dtype())?.broadcast_mul(&self.weight)
    }
}
