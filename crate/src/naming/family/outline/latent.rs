//! Latent attention, as the reference forward reads it.

use serde::Deserialize;

/// Attention whose keys and values are made of one compressed vector for each token. `head_dim` of the outline is the width of
/// the rotated part of queries and keys.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LatentOutline {
    /// The field with the width of the part of queries and keys that is not rotated.
    pub(crate) unrotated: String,
    /// The field with the width of values.
    pub(crate) value: String,
    /// The field with the width of the compressed vector.
    pub(crate) rank: String,
    /// Added to the mean square inside the norms of compressed vectors.
    pub(crate) eps: f64,
    /// The module that makes queries of the token itself, where the files have it.
    pub(crate) plain_query: String,
    /// Otherwise the module that compresses a token, the norm of what it makes, and the module that makes queries of that.
    pub(crate) query_down: String,
    pub(crate) query_norm: String,
    pub(crate) query: String,
    /// The module that makes the compressed vector and the rotated part of keys.
    pub(crate) down: String,
    /// The norm of the compressed vector.
    pub(crate) norm: String,
    /// The module that makes the rest of keys, and values.
    pub(crate) up: String,
    pub(crate) output: String,
}

impl LatentOutline {
    /// Returns the fields of config.json, with the keys that they stand under.
    pub(crate) fn terms(&self) -> [(&'static str, &str); 3] {
        [("latent.unrotated", &self.unrotated), ("latent.value", &self.value), ("latent.rank", &self.rank)]
    }
}
