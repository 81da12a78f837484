//! Causal self-attention: several heads with grouped keys and values, or one.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use candle_nn::ops::sigmoid;

use crate::model::context::Context;
use crate::model::kv_cache::KvCache;
use crate::model::parts::layer::{leaf_if_any, linear, norm_if_any, scaled};
use crate::model::parts::linear::Linear;
use crate::model::parts::norm::Norm;
use crate::ops::{self, AttentionOptions, transpose_heads};
use crate::spec::{Mixer, Node, PositionEmbedding, QkNormScope, Role, ScoreForm};

/// softmax(scale · q kᵀ + slope · (k − q) + mask) v; query head h reads key and value head h / (heads / kv_heads).
#[derive(Clone, Debug)]
pub(in crate::model) struct Attention {
    projections: Projections,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    position: PositionEmbedding,
    /// ALiBi's `[heads]`, in float32.
    slopes: Option<Tensor>,
    /// `[heads]`.
    sinks: Option<Tensor>,
    scores: ScoreForm,
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
        /// Its sigmoid multiplies what the output projection reads.
        gate: Option<Linear>,
        /// Of queries and keys.
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
        let constant = |position: &PositionEmbedding, heads: usize| match position {
            PositionEmbedding::Alibi(alibi) if !alibi.slopes.is_stored() => {
                Tensor::from_vec(alibi.slopes.values(heads), heads, vb.device()).map(Some)
            }
            _ => Ok(None),
        };
        let sinks = leaf_if_any(node, Role::Sinks, vb).and_then(|(leaf, _)| leaf.params().pop());
        let sinks = sinks.map(|param| vb.get(param.shape, param.name)).transpose()?;
        match mixer {
            Mixer::Attention { heads, kv_heads, head_dim, position, window, scores, dropout } => Ok(Self {
                projections: Projections::MultiHead {
                    query: linear(Role::Query)?,
                    key: linear(Role::Key)?,
                    value: linear(Role::Value)?,
                    output: linear(Role::Output)?,
                    gate: node.child(Role::AttentionGate).map(|_| linear(Role::AttentionGate)).transpose()?,
                    norms: norm_if_any(node, Role::QueryNorm, vb)?.zip(norm_if_any(node, Role::KeyNorm, vb)?),
                },
                heads: *heads,
                kv_heads: *kv_heads,
                head_dim: *head_dim,
                position: position.clone(),
                slopes: slopes.map_or_else(|| constant(position, *heads), |slopes| Ok(Some(slopes)))?,
                sinks,
                scores: *scores,
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
                slopes: slopes.map_or_else(|| constant(position, 1), |slopes| Ok(Some(slopes)))?,
                sinks,
                scores: ScoreForm {
                    scale: 1.0 / (*dim as f64).sqrt(),
                    factors: (1.0, 1.0),
                    softcap: None,
                    clip: None,
                    norm_scope: QkNormScope::Head,
                    norm_after_rope: false,
                },
                window: *window,
                dropout: *dropout,
            }),
            Mixer::LatentAttention(_)
            | Mixer::GatedDeltaNet(_)
            | Mixer::Mamba2(_)
            | Mixer::Mamba(_)
            | Mixer::ShortConv { .. }
            | Mixer::GatedFeedForward { .. }
            | Mixer::FeedForward { .. }
            | Mixer::Experts(_)
            | Mixer::User(_) => {
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
        let (before, after) = self.scores.factors;
        let x = &scaled(x, before)?;
        let (query, key, value) = self.project(x, context)?;
        let (key, value) = match cache {
            Some(cache) => cache.extend(layer, key, value)?,
            None => (key, value),
        };
        let mixed = self.mix(&query, &key, &value, context, layer)?;
        let (batch, seq, _) = x.dims3()?;
        let mixed = transpose_heads(&mixed)?.reshape((batch, seq, self.heads * self.head_dim))?;
        let output = match &self.projections {
            Projections::MultiHead { output, gate: None, .. } => output.forward(&mixed),
            Projections::MultiHead { output, gate: Some(gate), .. } => {
                output.forward(&(mixed * sigmoid(&gate.forward(x)?)?)?)
            }
            Projections::SingleHead { .. } => Ok(mixed),
        };
        scaled(&output?, after)
    }

    /// Returns the linear layers that can be quantized: one that is used transposed cannot.
    pub(in crate::model) fn linears_mut(&mut self) -> Vec<&mut Linear> {
        match &mut self.projections {
            Projections::MultiHead { query, key, value, output, gate, norms: _ } => {
                [query, key, value, output].into_iter().chain(gate).collect()
            }
            Projections::SingleHead { value, .. } => vec![value],
        }
    }

    /// Queries `[batch, heads, seq, head_dim]`, keys and values `[batch, kv_heads, seq, head_dim]`, normalized and
    /// rotated.
    fn project(&self, x: &Tensor, context: &Context) -> Result<(Tensor, Tensor, Tensor)> {
        match &self.projections {
            Projections::MultiHead { query, key, value, norms, .. } => {
                let (query_norm, key_norm) =
                    norms.as_ref().map_or((None, None), |(query, key)| (Some(query), Some(key)));
                let mut q = self.heads_of(query, query_norm, x, self.heads)?;
                let mut k = self.heads_of(key, key_norm, x, self.kv_heads)?;
                if let PositionEmbedding::Rope(rope) = &self.position {
                    let rotation = context.rotation(rope, self.head_dim)?;
                    (q, k) = (rotation.apply(&q)?, rotation.apply(&k)?);
                    if self.scores.norm_after_rope {
                        q = query_norm.map_or(Ok(q.clone()), |norm| norm.forward(&q))?;
                        k = key_norm.map_or(Ok(k.clone()), |norm| norm.forward(&k))?;
                    }
                    q = rotation.tempered(q)?;
                }
                Ok((q, k, self.heads_of(value, None, x, self.kv_heads)?))
            }
            Projections::SingleHead { query_key, value } => {
                let k = x.unsqueeze(1)?;
                Ok((query_key.forward_transposed(x)?.unsqueeze(1)?, k, value.forward(x)?.unsqueeze(1)?))
            }
        }
    }

    /// Returns `[batch, heads, seq, head_dim]` of a projection: normalized if that comes before rotation, and clamped.
    fn heads_of(&self, linear: &Linear, norm: Option<&Norm>, x: &Tensor, heads: usize) -> Result<Tensor> {
        let norm = norm.filter(|_| !self.scores.norm_after_rope);
        let clamped = |y: Tensor| self.scores.clip.map_or(Ok(y.clone()), |clip| y.clamp(-clip, clip));
        match norm {
            Some(norm) if self.scores.norm_scope == QkNormScope::Width => {
                let (batch, seq, _) = x.dims3()?;
                let y = clamped(norm.forward(&linear.forward(x)?)?)?;
                transpose_heads(&y.reshape((batch, seq, heads, ()))?)
            }
            Some(norm) => clamped(norm.forward(&linear.forward_heads(x, heads)?)?),
            None => clamped(linear.forward_heads(x, heads)?),
        }
    }

    /// Returns the values mixed by attention, `[batch, heads, seq, head_dim]`.
    fn mix(&self, query: &Tensor, key: &Tensor, value: &Tensor, context: &Context, layer: usize) -> Result<Tensor> {
        let options = AttentionOptions {
            implementation: context.attention,
            mask: context.attention_mask(self.window)?,
            scale: self.scores.scale,
            slopes: self.slopes.as_ref(),
            sinks: self.sinks.as_ref(),
            softcap: self.scores.softcap,
            dropout: context.dropout.map(|dropout| dropout.of_attention(self.dropout, layer)),
        };
        Ok(ops::attention(query, key, value, &options)?)
    }
}
