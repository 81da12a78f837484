//! y = x Wᵀ + b.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::spec::Leaf;

/// A linear map over the last dimension; W is `[outputs, inputs]`.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
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
        let (outputs, inputs) = self.weight.dims2()?;
        let mut shape = x.dims().to_vec();
        // One large product instead of a batch of small ones.
        let rows = x.elem_count() / inputs;
        let y = x.reshape((rows, inputs))?.matmul(&self.weight.t()?)?;
        let y = match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        };
        if let Some(last) = shape.last_mut() {
            *last = outputs;
        }
        y.reshape(shape)
    }

    /// x `[batch, seq, outputs]` → x W `[batch, seq, inputs]`, without bias.
    pub(super) fn forward_transposed(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, seq, width) = x.dims3()?;
        x.reshape((batch * seq, width))?.matmul(&self.weight)?.reshape((batch, seq, ()))
    }
}
