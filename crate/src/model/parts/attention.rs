//! Causal self-attention: several heads with grouped keys and values, or one.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::model::context::Context;
use crate::model::kv_cache::KvCache;
use crate::model::parts::layer::{leaf_if_any, linear, norm_if_any};
use crate::model::parts::linear::Linear;
use crate::model::parts::norm::Norm;
use crate::ops::{self, AttentionOptions, transpose_heads};
use crate::spec::{Mixer, Node, PositionEmbedding, Role};

/// softmax(q kᵀ / sqrt(head_dim) + slope · (k − q) + mask) v; query head h reads key and value head h / (heads / kv_heads).
#[derive(Clone, Debug)]
pub(in crate::model) struct Attention {
    projections: Projections,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    position: PositionEmbedding,
    /// ALiBi's `[heads]`, in float32.
    slopes: Option<Tensor>,
    window: Option<usize>,
    dropout: f64,
}

/// Computes queries, keys and values from x, and the output from the mixed values.
#[derive(Clone, Debug)]
enum Projections {
    MultiHead {
        query: Linear,
        key: Linear,
        value: Linear,
        output: Linear,
        /// Of queries and keys, per head, before rotation.
        norms: Option<(Norm, Norm)>,
    },
    /// Queries are x W, keys are x itself, and values are not projected again.
    SingleHead { query_key: Linear, value: Linear },
}

impl Attention {
    pub(in crate::model) fn load(node: &Node, mixer: &Mixer, vb: &VarBuilder) -> Result<Self> {
        let linear = |role| linear(node, role, vb);
        let slopes = leaf_if_any(node, Role::Slopes, vb).and_then(|(leaf, _)| leaf.params().pop());
        let slopes = slopes.map(|param| vb.get(param.shape, param.name)).transpose()?;
        match mixer {
            Mixer::Attention { heads, kv_heads, head_dim, position, window, dropout } => Ok(Self {
                projections: Projections::MultiHead {
                    query: linear(Role::Query)?,
                    key: linear(Role::Key)?,
                    value: linear(Role::Value)?,
                    output: linear(Role::Output)?,
                    norms: norm_if_any(node, Role::QueryNorm, vb)?.zip(norm_if_any(node, Role::KeyNorm, vb)?),
                },
                heads: *heads,
                kv_heads: *kv_heads,
                head_dim: *head_dim,
                position: position.clone(),
                slopes,
                window: *window,
                dropout: *dropout,
            }),
            Mixer::SingleHeadAttention { dim, position, window, dropout } => Ok(Self {
                projections: Projections::SingleHead {
                    query_key: linear(Role::QueryKey)?,
                    value: linear(Role::Value)?,
                },
                heads: 1,
                kv_heads: 1,
                head_dim: *dim,
                position: position.clone(),
                slopes,
                window: *window,
                dropout: *dropout,
            }),
            Mixer::GatedFeedForward { .. } | Mixer::FeedForward { .. } | Mixer::User(_) => {
                candle_core::bail!("`{}` is not an attention part", node.name)
            }
        }
    }

    /// x `[batch, seq, hidden]` → the same shape; `layer` is the layer's number.
    pub(in crate::model) fn forward(
        &self,
        x: &Tensor,
        context: &Context,
        layer: usize,
        cache: Option<&mut KvCache>,
    ) -> Result<Tensor> {
        let (query, key, value) = self.project(x, context)?;
        let (key, value) = match cache {
            Some(cache) => cache.extend(layer, key, value)?,
            None => (key, value),
        };
        let mixed = self.mix(&query, &key, &value, context, layer)?;
        let (batch, seq, _) = x.dims3()?;
        let mixed = transpose_heads(&mixed)?.reshape((batch, seq, self.heads * self.head_dim))?;
        match &self.projections {
            Projections::MultiHead { output, .. } => output.forward(&mixed),
            Projections::SingleHead { .. } => Ok(mixed),
        }
    }

    /// Returns the linear layers that can be quantized: one that is used transposed cannot.
    pub(in crate::model) fn linears_mut(&mut self) -> Vec<&mut Linear> {
        match &mut self.projections {
            Projections::MultiHead { query, key, value, output, .. } => vec![query, key, value, output],
            Projections::SingleHead { value, .. } => vec![value],
        }
    }

    /// Queries `[batch, heads, seq, head_dim]`, keys and values `[batch, kv_heads, seq, head_dim]`, normalized and
    /// rotated.
    fn project(&self, x: &Tensor, context: &Context) -> Result<(Tensor, Tensor, Tensor)> {
        match &self.projections {
            Projections::MultiHead { query, key, value, norms, .. } => {
                let mut q = query.forward_heads(x, self.heads)?;
                let mut k = key.forward_heads(x, self.kv_heads)?;
                if let Some((query_norm, key_norm)) = norms {
                    (q, k) = (query_norm.forward(&q)?, key_norm.forward(&k)?);
                }
                if let PositionEmbedding::Rope(rope) = &self.position {
                    let rotation = context.rotation(rope, self.head_dim)?;
                    (q, k) = (rotation.apply(&q)?, rotation.apply(&k)?);
                }
                Ok((q, k, value.forward_heads(x, self.kv_heads)?))
            }
            Projections::SingleHead { query_key, value } => {
                let k = x.unsqueeze(1)?;
                Ok((query_key.forward_transposed(x)?.unsqueeze(1)?, k, value.forward(x)?.unsqueeze(1)?))
            }
        }
    }

    /// Returns the values mixed by attention, `[batch, heads, seq, head_dim]`.
    fn mix(&self, query: &Tensor, key: &Tensor, value: &Tensor, context: &Context, layer: usize) -> Result<Tensor> {
        let options = AttentionOptions {
            implementation: context.attention,
            mask: context.attention_mask(self.window)?,
            scale: 1.0 / (self.head_dim as f64).sqrt(),
            slopes: self.slopes.as_ref(),
            dropout: context.dropout.map(|dropout| dropout.of_attention(self.dropout, layer)),
        };
        Ok(ops::attention(query, key, value, &options)?)
    }
}
