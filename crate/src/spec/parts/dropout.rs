//! Dropout probabilities.

use serde::{Deserialize, Serialize};

use super::declare::field;
use super::field::Field;

/// Probabilities with which values are zeroed during training; survivors are divided by 1 − p.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Dropouts {
    /// Of the embeddings, after positions were added.
    pub embedding: f64,
    /// Of the outputs of attention and feed-forward, before they are added to the residual stream.
    pub layer: f64,
    /// Of the residual stream where something is added to it.
    pub residual: f64,
    /// Of the attention weights.
    pub attention: f64,
    /// Inside the feed-forward part: before the activation, or of the gated product.
    pub activation: f64,
}

impl Dropouts {
    /// No dropout anywhere.
    pub const NONE: Self = Self { embedding: 0.0, layer: 0.0, residual: 0.0, attention: 0.0, activation: 0.0 };

    /// Field of config.json and probability of each.
    pub fn fields(&self) -> [(&'static str, f64); 5] {
        [
            (EMBEDDING.name, self.embedding),
            (LAYER.name, self.layer),
            (RESIDUAL.name, self.residual),
            (ATTENTION.name, self.attention),
            (ACTIVATION.name, self.activation),
        ]
    }
}

/// Declares the fields.
macro_rules! dropout_fields {
    ($next:ident $($rest:tt)*) => { $next! { $($rest)*
        part "dropout" "Probabilities with which values are zeroed in training" {
            /// Dropout probabilities.
            dropout: Dropouts = Dropouts::NONE
                => [dropout::EMBEDDING, dropout::LAYER, dropout::RESIDUAL, dropout::ATTENTION, dropout::ACTIVATION];
        }
    } };
}
pub(super) use dropout_fields;

pub(super) const EMBEDDING: Field =
    field!("embedding_dropout", f64, dropout.embedding, "Dropout of the embeddings, after positions were added")
        .probability()
        .exported(|config| config.dropout.embedding > 0.0);

pub(super) const LAYER: Field =
    field!("layer_dropout", f64, dropout.layer, "Dropout of what layers add to the residual stream")
        .by_layer()
        .probability()
        .exported(|config| config.dropout.layer > 0.0);

pub(super) const RESIDUAL: Field =
    field!("residual_dropout", f64, dropout.residual, "Dropout of the residual stream where something is added to it")
        .by_layer()
        .probability()
        .exported(|config| config.dropout.residual > 0.0);

pub(super) const ATTENTION: Field =
    field!("attention_dropout", f64, dropout.attention, "Dropout of the attention weights")
        .by_layer()
        .always_written()
        .probability()
        .exported(|config| config.dropout.attention > 0.0);

pub(super) const ACTIVATION: Field =
    field!("activation_dropout", f64, dropout.activation, "Dropout inside the feed-forward part")
        .by_layer()
        .probability()
        .exported(|config| config.dropout.activation > 0.0)
        .needs("feedforward: true", |config| config.feedforward);
