//! Layers with linear attention, as the reference forward reads them.

use serde::Deserialize;

/// Gated DeltaNet in place of attention.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinearAttentionOutline {
    /// The field with a list of the layers' kinds.
    pub(crate) kinds: String,
    /// What it says of layers with linear attention.
    pub(crate) kind: String,
    /// The field with the number k of which every k-th layer does not have it, where there is no list.
    #[serde(default)]
    pub(crate) all_but_every: Option<String>,
    /// The field with the number of tokens that the convolution sees.
    pub(crate) kernel: String,
    /// The fields with the number of heads of queries and keys, that of heads of values, and their widths.
    pub(crate) key_heads: String,
    pub(crate) value_heads: String,
    pub(crate) key_dim: String,
    pub(crate) value_dim: String,
    /// What the rows of the projections are.
    pub(crate) projections: Vec<ProjectionOutline>,
    /// The convolution of queries, keys and values, in this order, without `.weight`.
    pub(crate) convolution: String,
    /// Added to the projection that makes the decay.
    pub(crate) decay_bias: String,
    /// The logarithm of the rate of decay.
    pub(crate) decay_log: String,
    /// The norm of each head's result, whose factors are as they are stored.
    pub(crate) norm: String,
    /// The output projection.
    pub(crate) output: String,
}

/// A tensor and what its rows make, one after another.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProjectionOutline {
    pub(crate) tensor: String,
    pub(crate) parts: Vec<LinearPart>,
    /// Whether the parts of one key head come before those of the next.
    #[serde(default)]
    pub(crate) by_key_head: bool,
}

/// What a projection makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LinearPart {
    Query,
    Key,
    Value,
    /// Multiplies the result.
    Gate,
    /// The strength of a correction.
    Beta,
    /// The speed of decay.
    Decay,
}
