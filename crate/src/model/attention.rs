//! Causal self-attention with grouped keys and values.

use candle_core::{D, DType, Result, Tensor};
use candle_nn::VarBuilder;

use super::kv_cache::KvCache;
use super::layer::{child, norm};
use super::linear::Linear;
use super::norm::RmsNorm;
use super::rope::Rotation;
use crate::spec::{Node, Part};

/// softmax(q kᵀ / sqrt(head_dim) + mask) v; query head h reads key and value head h / (heads / kv_heads).
#[derive(Clone, Debug)]
pub(super) struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    /// Of queries and keys, per head, before rotation.
    norms: Option<(RmsNorm, RmsNorm)>,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

/// What every layer of one forward pass shares.
pub(super) struct Context<'a> {
    pub(super) rotation: &'a Rotation,
    /// `[batch or 1, 1, seq, seen + seq]`, added to the scores.
    pub(super) mask: &'a Tensor,
}

impl Attention {
    pub(super) fn load(node: &Node, vb: &VarBuilder) -> Result<Self> {
        let Part::Attention { heads, kv_heads, head_dim, .. } = node.part else {
            candle_core::bail!("`{}` is not an attention part", node.name)
        };
        let linear = |name: &str| super::layer::linear(node, name, vb);
        Ok(Self {
            query: linear("query_linear")?,
            key: linear("key_linear")?,
            value: linear("value_linear")?,
            output: linear("output_linear")?,
            norms: match child(node, "q_norm") {
                Ok(_) => Some((norm(node, "q_norm", vb)?, norm(node, "k_norm", vb)?)),
                Err(_) => None,
            },
            heads,
            kv_heads,
            head_dim,
        })
    }

    /// x `[batch, seq, hidden]` → the same shape.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        context: &Context<'_>,
        cache: Option<(&mut KvCache, usize)>,
    ) -> Result<Tensor> {
        let (batch, seq, _) = x.dims3()?;
        let split =
            |y: Tensor, heads: usize| y.reshape((batch, seq, heads, self.head_dim))?.transpose(1, 2)?.contiguous();
        let mut query = split(self.query.forward(x)?, self.heads)?;
        let mut key = split(self.key.forward(x)?, self.kv_heads)?;
        if let Some((query_norm, key_norm)) = &self.norms {
            (query, key) = (query_norm.forward(&query)?, key_norm.forward(&key)?);
        }
        let (query, key) = (context.rotation.apply(&query)?, context.rotation.apply(&key)?);
        let value = split(self.value.forward(x)?, self.kv_heads)?;
        let (key, value) = match cache {
            Some((cache, layer)) => cache.extend(layer, key, value)?,
            None => (key, value),
        };
        let seen = key.dim(2)?;
        // The query heads of a group are rows of one product with their shared keys: nothing is repeated in memory.
        let group = self.heads / self.kv_heads;
        let rows = (batch * self.kv_heads, group * seq, self.head_dim);
        let columns = (batch * self.kv_heads, seen, self.head_dim);
        let query = (query * (1.0 / (self.head_dim as f64).sqrt()))?.reshape(rows)?;
        let scores = query.matmul(&key.reshape(columns)?.transpose(1, 2)?)?;
        let scores =
            scores.reshape((batch, self.heads, seq, seen))?.to_dtype(DType::F32)?.broadcast_add(context.mask)?;
        let weights = candle_nn::ops::softmax(&scores, D::Minus1)?.to_dtype(x.dtype())?;
        let mixed = weights.reshape((batch * self.kv_heads, group * seq, seen))?.matmul(&value.reshape(columns)?)?;
        let mixed = mixed.reshape((batch, self.heads, seq, self.head_dim))?.transpose(1, 2)?.contiguous()?;
        self.output.forward(&mixed.reshape((batch, seq, self.heads * self.head_dim))?)
    }
}
