//! Gated DeltaNet: linear attention with a state that forgets.

use candle_core::{D, DType, Result, Tensor};
use candle_nn::VarBuilder;
use candle_nn::ops::sigmoid;

use crate::model::context::Context;
use crate::model::kv_cache::KvCache;
use crate::model::parts::layer::{leaf, linear, named, norm, tensors};
use crate::model::parts::linear::Linear;
use crate::model::parts::norm::Norm;
use crate::model::parts::recurrent::{Text, after_past, last_inputs, over_texts};
use crate::ops::{causal_convolution, gated_delta_rule, softplus};
use crate::spec::{DeltaNetSizes, Node, Role};

/// See [`Mixer::GatedDeltaNet`](crate::spec::Mixer::GatedDeltaNet).
#[derive(Clone, Debug)]
pub(in crate::model) struct GatedDeltaNet {
    query: Linear,
    key: Linear,
    value: Linear,
    gate: Linear,
    beta: Linear,
    decay: Linear,
    output: Linear,
    /// Of queries, keys and values, `[channels, kernel]`.
    convolutions: [Tensor; 3],
    decay_bias: Tensor,
    decay_log: Tensor,
    norm: Norm,
    sizes: DeltaNetSizes,
}

impl GatedDeltaNet {
    pub(in crate::model) fn load(node: &Node, sizes: DeltaNetSizes, vb: &VarBuilder) -> Result<Self> {
        let linear = |role| linear(node, role, vb);
        let convolutions = tensors(node, Role::ShortConvolution, vb)?.into_iter().map(|weight| weight.squeeze(1));
        let Ok(convolutions) = <[Tensor; 3]>::try_from(convolutions.collect::<Result<Vec<_>>>()?) else {
            candle_core::bail!("`{}` does not have three convolutions", node.name)
        };
        // Two linear layers are for the decay: the one with a matrix is the first.
        let (decay, inside) = leaf(node, Role::Decay, vb)?;
        Ok(Self {
            query: linear(Role::Query)?,
            key: linear(Role::Key)?,
            value: linear(Role::Value)?,
            gate: linear(Role::AttentionGate)?,
            beta: linear(Role::Beta)?,
            decay: Linear::load(decay, &inside)?,
            output: linear(Role::Output)?,
            convolutions,
            decay_bias: named(node, "decay_bias", vb)?,
            decay_log: named(node, "decay_log", vb)?,
            norm: norm(node, Role::ValueNorm, vb)?,
            sizes,
        })
    }

    /// x `[batch, seq, hidden]` → the same shape; `layer` is the layer's number.
    pub(in crate::model) fn forward(
        &self,
        x: &Tensor,
        context: &Context,
        layer: usize,
        cache: Option<&mut KvCache>,
    ) -> Result<Tensor> {
        over_texts(x, context, layer, cache, |x, before, asked| self.text(x, before, asked))
    }

    /// Returns the linear layers that can be quantized.
    pub(in crate::model) fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let Self { query, key, value, gate, beta, decay, output, .. } = self;
        vec![query, key, value, gate, beta, decay, output]
    }

    /// One text in each row. The state is the last inputs of the convolution `[batch, kernel − 1, channels]`, and those of the
    /// heads `[batch, value_heads, key_dim, value_dim]` in float32.
    fn text(&self, x: &Tensor, before: Option<&[Tensor]>, asked: bool) -> Result<Text> {
        let (batch, seq, _) = x.dims3()?;
        let DeltaNetSizes { key_heads, value_heads, key_dim, value_dim, kernel } = self.sizes;
        let (keys, values) = (self.sizes.keys(), self.sizes.values());
        let projected = [self.query.forward(x)?, self.key.forward(x)?, self.value.forward(x)?];
        let projected = Tensor::cat(&projected, D::Minus1)?;
        let inputs = after_past(&projected, before.and_then(|state| state.first()), kernel)?;
        let mixed = causal_convolution(&inputs, &Tensor::cat(&self.convolutions, 0)?)?.silu()?;
        let heads = |from: usize, count: usize, width: usize| {
            mixed.narrow(D::Minus1, from, count * width)?.reshape((batch, seq, count, width))
        };
        let (query, key) = (heads(0, key_heads, key_dim)?, heads(keys, key_heads, key_dim)?);
        let value = heads(2 * keys, value_heads, value_dim)?;
        let wide = if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let beta = sigmoid(&self.beta.forward(x)?)?.to_dtype(wide)?;
        let step = self.decay.forward(x)?.to_dtype(wide)?.broadcast_add(&self.decay_bias.to_dtype(wide)?)?;
        let decay = softplus(&step)?.broadcast_mul(&self.decay_log.to_dtype(wide)?.exp()?.neg()?)?;
        let (read, states) =
            gated_delta_rule((&query, &key, &value), &decay, &beta, before.and_then(|state| state.get(1)))?;
        // Normalized, then gated, in the wide type.
        let gate = self.gate.forward(x)?.reshape((batch, seq, value_heads, value_dim))?.to_dtype(wide)?.silu()?;
        let normed = self.norm.forward(&read.to_dtype(x.dtype())?)?.to_dtype(wide)?;
        let gated = (normed * gate)?.to_dtype(x.dtype())?.reshape((batch, seq, values))?;
        let state = asked.then(|| Ok::<_, candle_core::Error>(vec![last_inputs(&inputs, kernel)?, states.detach()]));
        Ok((self.output.forward(&gated)?, state.transpose()?))
    }
}
