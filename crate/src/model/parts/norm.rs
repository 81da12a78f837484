//! Normalization over the last dimension.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::ops::{layer_norm, rms_norm};
use crate::spec::Leaf;

/// RMSNorm or LayerNorm, computed in float32.
#[derive(Clone, Debug)]
pub(in crate::model) enum Norm {
    Rms { weight: Tensor, eps: f64 },
    Layer { weight: Tensor, bias: Tensor, eps: f64 },
}

impl Norm {
    pub(in crate::model) fn load(leaf: &Leaf, vb: &VarBuilder) -> Result<Self> {
        let mut params = leaf.params().into_iter().map(|param| vb.get(param.shape, param.name));
        let mut next = || match params.next() {
            Some(tensor) => tensor,
            None => candle_core::bail!("a norm lacks a parameter"),
        };
        match leaf {
            Leaf::RmsNorm { eps, .. } => Ok(Self::Rms { weight: next()?, eps: *eps }),
            Leaf::LayerNorm { eps, .. } => Ok(Self::Layer { weight: next()?, bias: next()?, eps: *eps }),
            Leaf::Linear { .. } | Leaf::Embedding { .. } | Leaf::AlibiSlopes { .. } | Leaf::Tensor { .. } => {
                candle_core::bail!("not a norm")
            }
        }
    }

    /// x `[…, dim]` → the same shape.
    pub(in crate::model) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Norm::Rms { weight, eps } => rms_norm(x, weight, *eps),
            Norm::Layer { weight, bias, eps } => layer_norm(x, weight, Some(bias), *eps),
        }
    }
}
