//! What layers differ in, and what they are given beside the residual stream, as the reference forward reads it.

use serde::Deserialize;

/// Expressions over fields of config.json that see the number of a layer as `layer`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EachLayerOutline {
    /// The width of a head.
    #[serde(default)]
    pub(crate) head_dim: Option<String>,
    /// The number of key and value heads.
    #[serde(default)]
    pub(crate) kv_heads: Option<String>,
    /// Whether keys and values are those of the last layer of the same kind that makes its own.
    #[serde(default)]
    pub(crate) shares_keys: Option<String>,
    /// Whether values are keys, before their norm.
    #[serde(default)]
    pub(crate) keys_as_values: Option<String>,
}

impl EachLayerOutline {
    /// Returns the expressions.
    pub(crate) fn terms(&self) -> impl Iterator<Item = &str> {
        [&self.head_dim, &self.kv_heads, &self.shares_keys, &self.keys_as_values]
            .into_iter()
            .flatten()
            .map(String::as_str)
    }
}

/// A vector that each layer is given of each token.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LayerInputOutline {
    /// The field with its width; null or 0 for none.
    pub(crate) width: String,
    /// The table with a row for each token, which has the vectors of all layers.
    pub(crate) embedding: String,
    /// The module that makes such a row of the embedding, and the norm of each layer's part.
    pub(crate) projection: String,
    pub(crate) norm: String,
    /// The modules of a layer, and the norm of what they make.
    pub(crate) gate: String,
    pub(crate) output: String,
    pub(crate) output_norm: String,
}
