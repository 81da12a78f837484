//! y = x Wᵀ + b.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::ops::{exchange_heads, linear, linear_heads};
use crate::spec::Leaf;

/// A linear map over the last dimension; W is `[outputs, inputs]`.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    pub(super) weight: Tensor,
    pub(super) bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn load(leaf: &Leaf, vb: &VarBuilder) -> Result<Self> {
        let mut bias = None;
        let mut weight = None;
        for param in leaf.params() {
            let tensor = vb.get(param.shape, param.name)?;
            if param.name == "bias" { bias = Some(tensor) } else { weight = Some(tensor) }
        }
        match weight {
            Some(weight) => Ok(Self { weight, bias }),
            None => candle_core::bail!("a linear part has no weight"),
        }
    }

    pub(super) fn from_weight(weight: Tensor) -> Self {
        Self { weight, bias: None }
    }

    /// x `[…, inputs]` → `[…, outputs]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        linear(x, &self.weight, self.bias.as_ref())
    }

    /// x `[batch, seq, inputs]` → `[batch, heads, seq, outputs / heads]`.
    pub(super) fn forward_heads(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        if self.bias.is_none() {
            return linear_heads(x, &self.weight, heads);
        }
        let (batch, seq, _) = x.dims3()?;
        exchange_heads(&self.forward(x)?.reshape((batch, seq, heads, ()))?)
    }

    /// x `[batch, seq, outputs]` → x W `[batch, seq, inputs]`, without bias.
    pub(super) fn forward_transposed(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, seq, width) = x.dims3()?;
        x.reshape((batch * seq, width))?.matmul(&self.weight)?.reshape((batch, seq, ()))
    }
}
