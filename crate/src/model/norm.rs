//! Normalisation over the last dimension.

use candle_core::{D, DType, Result, Tensor};
use candle_nn::VarBuilder;

use crate::spec::Leaf;

/// RMSNorm or LayerNorm, in float32 inside. Built of differentiable operations: candle's fused ones have no backward.
#[derive(Clone, Debug)]
pub(super) enum Norm {
    Rms { weight: Tensor, eps: f64 },
    Layer { weight: Tensor, bias: Tensor, eps: f64 },
}

impl Norm {
    pub(super) fn load(leaf: &Leaf, vb: &VarBuilder) -> Result<Self> {
        let mut params = leaf.params().into_iter().map(|param| vb.get(param.shape, param.name));
        match (leaf, params.next().transpose()?, params.next().transpose()?) {
            (Leaf::RmsNorm { eps, .. }, Some(weight), None) => Ok(Self::Rms { weight, eps: *eps }),
            (Leaf::LayerNorm { eps, .. }, Some(weight), Some(bias)) => Ok(Self::Layer { weight, bias, eps: *eps }),
            _ => candle_core::bail!("not a norm"),
        }
    }

    /// x `[…, dim]` → the same shape.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let wide = x.to_dtype(DType::F32)?;
        let normal = |centred: &Tensor, eps: f64| -> Result<Tensor> {
            let scale = (centred.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()?;
            centred.broadcast_mul(&scale)?.to_dtype(x.dtype())
        };
        match self {
            Norm::Rms { weight, eps } => normal(&wide, *eps)?.broadcast_mul(weight),
            Norm::Layer { weight, bias, eps } => {
                let centred = wide.broadcast_sub(&wide.mean_keepdim(D::Minus1)?)?;
                normal(&centred, *eps)?.broadcast_mul(weight)?.broadcast_add(bias)
            }
        }
    }
}
