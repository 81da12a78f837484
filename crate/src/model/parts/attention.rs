//! Causal self-attention: several heads with grouped keys and values, or one.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use candle_nn::ops::sigmoid;

use crate::model::context::Context;
use crate::model::kv_cache::KvCache;
use crate::model::parts::layer::{leaf_if_any, linear, norm_if_any, scaled};
use crate::model::parts::linear::Linear;
use crate::model::parts::norm::Norm;
use crate::model::parts::side::Side;
use crate::ops::{self, AttentionOptions, transpose_heads};
use crate::spec::{KeySharing, Mixer, Node, PositionEmbedding, QkNormScope, Role, ScoreForm};

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
    chunk: Option<usize>,
    sharing: KeySharing,
    dropout: f64,
}

/// Computes queries, keys and values from x, and the output from the mixed values.
#[derive(Clone, Debug)]
enum Projections {
    MultiHead {
        query: Linear,
        /// None where keys are those of another layer.
        key: Option<Linear>,
        /// None where values are keys.
        value: Option<Linear>,
        output: Linear,
        /// Its sigmoid multiplies what the output projection reads.
        gate: Option<Linear>,
        /// Of queries, keys and values.
        norms: [Option<Norm>; 3],
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
            Mixer::Attention { heads, kv_heads, head_dim, position, window, chunk, scores, sharing, dropout } => {
                Ok(Self {
                    projections: Projections::MultiHead {
                        query: linear(Role::Query)?,
                        key: node.child(Role::Key).map(|_| linear(Role::Key)).transpose()?,
                        value: node.child(Role::Value).map(|_| linear(Role::Value)).transpose()?,
                        output: linear(Role::Output)?,
                        gate: node.child(Role::AttentionGate).map(|_| linear(Role::AttentionGate)).transpose()?,
                        norms: [
                            norm_if_any(node, Role::QueryNorm, vb)?,
                            norm_if_any(node, Role::KeyNorm, vb)?,
                            norm_if_any(node, Role::ValueNorm, vb)?,
                        ],
                    },
                    heads: *heads,
                    kv_heads: *kv_heads,
                    head_dim: *head_dim,
                    position: position.clone(),
                    slopes: slopes.map_or_else(|| constant(position, *heads), |slopes| Ok(Some(slopes)))?,
                    sinks,
                    scores: *scores,
                    window: *window,
                    chunk: *chunk,
                    sharing: *sharing,
                    dropout: *dropout,
                })
            }
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
                    temperature: None,
                },
                window: *window,
                chunk: None,
                sharing: KeySharing::Own,
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
            | Mixer::LayerInput { .. }
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
        side: &mut Side,
    ) -> Result<Tensor> {
        let (before, after) = self.scores.factors;
        let x = &scaled(x, before)?;
        let (query, own) = self.project(x, context)?;
        let (key, value) = match (own, self.sharing, cache) {
            (Some((key, value)), sharing, cache) => {
                if sharing == KeySharing::Stored {
                    side.store(&key, &value)?;
                }
                match cache {
                    Some(cache) => cache.extend(layer, key, value)?,
                    None => (key, value),
                }
            }
            (None, KeySharing::Shared { layer, .. }, Some(cache)) => match cache.kept(layer) {
                Some(kept) => kept,
                None => candle_core::bail!("the cache has no keys and values of layer {layer}"),
            },
            (None, KeySharing::Shared { after, .. }, None) => side.shared(after, self.kv_heads, self.head_dim)?,
            (None, KeySharing::Own | KeySharing::Stored, _) => candle_core::bail!("layer {layer} makes no keys"),
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
                [query, output].into_iter().chain(key).chain(value).chain(gate).collect()
            }
            Projections::SingleHead { value, .. } => vec![value],
        }
    }

    /// Queries `[batch, heads, seq, head_dim]`, and keys and values `[batch, kv_heads, seq, head_dim]` where the layer makes them,
    /// normalized and rotated.
    fn project(&self, x: &Tensor, context: &Context) -> Result<(Tensor, Option<(Tensor, Tensor)>)> {
        match &self.projections {
            Projections::MultiHead { query, key, value, norms, .. } => {
                let [query_norm, key_norm, value_norm] = norms.each_ref().map(Option::as_ref);
                let rotation = match &self.position {
                    PositionEmbedding::Rope(rope) => Some(context.rotation(rope, self.head_dim)?),
                    _ => None,
                };
                let turned = |y: Tensor, norm: Option<&Norm>| {
                    let Some(rotation) = rotation else { return Ok(y) };
                    let y = rotation.apply(&y)?;
                    norm.filter(|_| self.scores.norm_after_rope).map_or(Ok(y.clone()), |norm| norm.forward(&y))
                };
                let mut q = turned(self.heads_of(query, query_norm, x, self.heads)?, query_norm)?;
                if let Some(rotation) = rotation {
                    q = rotation.tempered(q)?;
                }
                if let Some(temperature) = self.scores.temperature
                    && let Some(factors) = context.temperature(temperature, q.device())?
                {
                    q = q.broadcast_mul(&factors.to_dtype(q.dtype())?)?;
                }
                let Some(key) = key else { return Ok((q, None)) };
                let k = turned(self.heads_of(key, key_norm, x, self.kv_heads)?, key_norm)?;
                let v = self.heads_of(value.as_ref().unwrap_or(key), None, x, self.kv_heads)?;
                Ok((q, Some((k, value_norm.map_or(Ok(v.clone()), |norm| norm.forward(&v))?))))
            }
            Projections::SingleHead { query_key, value } => {
                let k = x.unsqueeze(1)?;
                Ok((query_key.forward_transposed(x)?.unsqueeze(1)?, Some((k, value.forward(x)?.unsqueeze(1)?))))
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
            mask: context.attention_mask(self.window, self.chunk)?,
            scale: self.scores.scale,
            slopes: self.slopes.as_ref(),
            sinks: self.sinks.as_ref(),
            softcap: self.scores.softcap,
            dropout: context.dropout.map(|dropout| dropout.of_attention(self.dropout, layer)),
        };
        Ok(ops::attention(query, key, value, &options)?)
    }
}
