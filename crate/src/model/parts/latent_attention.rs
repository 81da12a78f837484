//! Latent attention: a cache keeps one compressed vector for each token, of which keys and values of all heads are made.

use candle_core::{DType, Result, Tensor};
use candle_nn::VarBuilder;

use crate::model::context::Context;
use crate::model::kv_cache::KvCache;
use crate::model::parts::layer::{linear, norm_if_any};
use crate::model::parts::linear::Linear;
use crate::model::parts::norm::Norm;
use crate::ops::{self, AttentionOptions, transpose_heads};
use crate::spec::{LatentForm, Node, PositionEmbedding, Role};

/// softmax(scale · q kᵀ + mask) v of keys and values that are maps of one vector.
#[derive(Clone, Debug)]
pub(in crate::model) struct LatentAttention {
    form: LatentForm,
    /// Compresses x for queries, if they are made of a compressed vector.
    query_down: Option<(Linear, Norm)>,
    query_up: Linear,
    /// x to the compressed vector and the rotated part of keys.
    down: Linear,
    norm: Norm,
    /// The compressed vector to the other part of keys and to values.
    up: Linear,
    output: Linear,
}

impl LatentAttention {
    pub(in crate::model) fn load(node: &Node, form: &LatentForm, vb: &VarBuilder) -> Result<Self> {
        let linear = |role| linear(node, role, vb);
        let query_down = match norm_if_any(node, Role::QueryLatentNorm, vb)? {
            Some(norm) => Some((linear(Role::QueryDown)?, norm)),
            None => None,
        };
        let Some(norm) = norm_if_any(node, Role::LatentNorm, vb)? else {
            candle_core::bail!("`{}` lacks a norm", node.name)
        };
        Ok(Self {
            form: form.clone(),
            query_down,
            query_up: linear(Role::QueryUp)?,
            down: linear(Role::LatentDown)?,
            norm,
            up: linear(Role::LatentUp)?,
            output: linear(Role::Output)?,
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
        let LatentForm { heads, nope, rope, value, rank, .. } = self.form;
        let (batch, seq, _) = x.dims3()?;
        let query = match &self.query_down {
            Some((down, norm)) => self.query_up.forward_heads(&norm.forward(&down.forward(x)?)?, heads)?,
            None => self.query_up.forward_heads(x, heads)?,
        };
        let down = self.down.forward(x)?;
        let latent = self.norm.forward(&down.narrow(2, 0, rank)?.contiguous()?)?.unsqueeze(1)?;
        let shared = self.rotated(&down.narrow(2, rank, rope)?.contiguous()?.unsqueeze(1)?, context)?;
        let query =
            Tensor::cat(&[query.narrow(3, 0, nope)?, self.rotated(&query.narrow(3, nope, rope)?, context)?], 3)?;
        let (shared, latent) = match cache {
            Some(cache) => cache.extend(layer, shared, latent)?,
            None => (shared, latent),
        };
        let seen = latent.dim(2)?;
        let both = self.up.forward_heads(&latent.squeeze(1)?, heads)?;
        let shared = shared.broadcast_as((batch, heads, seen, rope))?;
        let key = Tensor::cat(&[both.narrow(3, 0, nope)?, shared], 3)?;
        let values = both.narrow(3, nope, value)?;
        // Attention takes keys and values of one width: zeros add nothing to products, and the results of zeros are cut off.
        let width = (nope + rope).max(value);
        let (query, key) = (padded(&query, width)?, padded(&key, width)?);
        let options = AttentionOptions {
            implementation: context.attention,
            mask: context.attention_mask(self.form.window, None)?,
            scale: self.form.scale,
            slopes: None,
            sinks: None,
            softcap: None,
            dropout: context.dropout.map(|dropout| dropout.of_attention(self.form.dropout, layer)),
        };
        let mixed = ops::attention(&query, &key, &padded(&values, width)?, &options)?.narrow(3, 0, value)?;
        self.output.forward(&transpose_heads(&mixed.contiguous()?)?.reshape((batch, seq, heads * value))?)
    }

    /// Turns x `[batch, heads, seq, rope]` by position.
    fn rotated(&self, x: &Tensor, context: &Context) -> Result<Tensor> {
        let PositionEmbedding::Rope(rope) = &self.form.position else { return Ok(x.clone()) };
        let rotation = context.rotation(rope, self.form.rope)?;
        if !self.form.interleaved {
            return rotation.apply(&x.contiguous()?);
        }
        // Products of queries and keys do not depend on the order of pairs: halves are taken from neighbors in both.
        let (batch, heads, seq, width) = x.dims4()?;
        let halves = x.reshape((batch, heads, seq, width / 2, 2))?.transpose(3, 4)?.contiguous()?;
        rotation.apply(&halves.reshape((batch, heads, seq, width))?)
    }

    /// Returns the linear layers that can be quantized.
    pub(in crate::model) fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let down = self.query_down.iter_mut().map(|(down, _)| down);
        down.chain([&mut self.query_up, &mut self.down, &mut self.up, &mut self.output]).collect()
    }
}

/// Returns x with zeros after the last dimension's numbers.
fn padded(x: &Tensor, width: usize) -> Result<Tensor> {
    let (batch, heads, seq, own) = x.dims4()?;
    if own == width {
        return x.contiguous();
    }
    let zeros = Tensor::zeros((batch, heads, seq, width - own), DType::F32, x.device())?.to_dtype(x.dtype())?;
    Tensor::cat(&[x, &zeros], 3)?.contiguous()
}
