//! y = x Wᵀ + b.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::model::parameters::recorder::MAY_BE_NARROW;
use crate::ops::{
    QuantizedWeight, linear, linear_heads, mixed_linear, quantized_linear, rounded_activations, rounded_weight,
    transpose_heads,
};
use crate::spec::{Leaf, LocalParam, ParamKind, Scheme};

/// A linear layer over the last dimension; W is `[outputs, inputs]`.
#[derive(Clone, Debug)]
pub(in crate::model) struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
}

/// How W is stored in memory.
#[derive(Clone, Debug)]
enum Weight {
    /// Floats.
    Floats(Tensor),
    /// Floats of a narrower type than the one to compute in, widened while they are multiplied.
    Narrow(Tensor),
    /// Floats that each forward pass rounds as the scheme will when it stores them; inputs are rounded as well.
    Rounded(Tensor, Scheme),
    /// Low-bit, as it was stored.
    LowBit(QuantizedWeight),
}

impl Linear {
    pub(in crate::model) fn load(leaf: &Leaf, vb: &VarBuilder) -> Result<Self> {
        let mut bias = None;
        let mut tensors = Vec::new();
        for param in leaf.params() {
            let matrix = param.kind == ParamKind::Weight;
            let vb = if matrix { vb.to_dtype(MAY_BE_NARROW) } else { vb.clone() };
            let tensor = vb.get(param.shape.clone(), param.name)?;
            if param.kind == ParamKind::Bias { bias = Some(tensor) } else { tensors.push((param, tensor)) }
        }
        let weight = match leaf {
            Leaf::Linear { inputs, outputs, quantized: Some(scheme), .. } => {
                Weight::LowBit(low_bit(*scheme, (*outputs, *inputs), tensors)?)
            }
            _ => match tensors.pop() {
                Some((_, weight)) if weight.dtype() == vb.dtype() => Weight::Floats(weight),
                Some((_, weight)) => Weight::Narrow(weight),
                None => candle_core::bail!("a linear part has no weight"),
            },
        };
        Ok(Self { weight, bias })
    }

    pub(in crate::model) fn from_weight(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight: Weight::Floats(weight), bias }
    }

    /// Returns the weight, if it is stored as floats of the type to compute in.
    pub(in crate::model) fn floats(&self) -> Option<&Tensor> {
        match &self.weight {
            Weight::Floats(weight) => Some(weight),
            Weight::Narrow(_) | Weight::Rounded(..) | Weight::LowBit(_) => None,
        }
    }

    /// Makes one from a weight in any type of floats, to compute in float32.
    pub(in crate::model) fn streamed(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight: Weight::Narrow(weight), bias }
    }

    /// Multiplies as narrow weights are, so that a model gives the same numbers in every type that it is stored in.
    pub(in crate::model) fn stream(&mut self) {
        if let Weight::Floats(weight) = &self.weight {
            self.weight = Weight::Narrow(weight.clone());
        }
    }

    /// Returns the weight, if the layer is only a product with it, for operators that fuse several layers.
    pub(in crate::model) fn plain(&self) -> Option<&Tensor> {
        match (&self.weight, &self.bias) {
            (Weight::Floats(weight), None) => Some(weight),
            _ => None,
        }
    }

    /// Rounds weight and inputs in every forward pass from now on, and lets gradients through.
    pub(in crate::model) fn round(&mut self, scheme: Scheme) {
        if let Weight::Floats(weight) | Weight::Rounded(weight, _) = &self.weight {
            self.weight = Weight::Rounded(weight.clone(), scheme);
        }
    }

    /// x `[…, inputs]` → `[…, outputs]`.
    pub(in crate::model) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.weight {
            Weight::Floats(weight) => linear(x, weight, self.bias.as_ref()),
            Weight::Narrow(weight) => mixed_linear(x, weight, self.bias.as_ref()),
            Weight::Rounded(weight, scheme) => {
                let x = scheme.activations.map_or(Ok(x.clone()), |numbers| rounded_activations(x, numbers))?;
                linear(&x, &rounded_weight(weight, scheme)?, self.bias.as_ref())
            }
            Weight::LowBit(weight) => quantized_linear(x, weight, self.bias.as_ref()),
        }
    }

    /// x `[batch, seq, inputs]` → `[batch, heads, seq, outputs / heads]`.
    pub(in crate::model) fn forward_heads(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        if let Some(weight) = self.plain() {
            return linear_heads(x, weight, heads);
        }
        let (batch, seq, _) = x.dims3()?;
        transpose_heads(&self.forward(x)?.reshape((batch, seq, heads, ()))?)
    }

    /// x `[batch, seq, outputs]` → x W `[batch, seq, inputs]`, without bias.
    pub(in crate::model) fn forward_transposed(&self, x: &Tensor) -> Result<Tensor> {
        let weight = match &self.weight {
            Weight::Floats(weight) => weight.clone(),
            Weight::Narrow(weight) => weight.to_dtype(x.dtype())?,
            Weight::Rounded(..) | Weight::LowBit(_) => {
                candle_core::bail!("a map that is used transposed cannot be quantized: name it in `ignore`")
            }
        };
        let (batch, seq, width) = x.dims3()?;
        x.reshape((batch * seq, width))?.matmul(&weight)?.reshape((batch, seq, ()))
    }
}

/// Returns the tensors of a quantized weight; numbers are bytes.
fn low_bit(scheme: Scheme, dims: (usize, usize), tensors: Vec<(LocalParam, Tensor)>) -> Result<QuantizedWeight> {
    let mut parts = (None, None);
    for (param, tensor) in tensors {
        match param.kind {
            ParamKind::Numbers => parts.0 = Some(tensor),
            ParamKind::Scales => parts.1 = Some(tensor),
            // The shape repeats the configuration's; opening a folder compares the two.
            ParamKind::Shape | ParamKind::Weight | ParamKind::Bias | ParamKind::Slopes => {}
        }
    }
    match parts {
        (Some(numbers), Some(scales)) => QuantizedWeight::new(scheme, dims, numbers, scales),
        _ => candle_core::bail!("a quantized part has no numbers or no scales"),
    }
}
