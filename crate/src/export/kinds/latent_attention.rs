//! Latent attention.

use serde::Serialize;

use super::norm::Norm;
use crate::spec::{AttentionKind, ModelConfig};

/// A kind of latent attention.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::export) struct Latent {
    pub(in crate::export) name: String,
    pub(in crate::export) doc: String,
    pub(in crate::export) norm: Norm,
    /// Whether queries are made of a compressed vector.
    pub(in crate::export) compressed_queries: bool,
    pub(in crate::export) bias: bool,
    pub(in crate::export) output_bias: bool,
    pub(in crate::export) interleaved: bool,
    pub(in crate::export) window: bool,
    pub(in crate::export) dropout: bool,
    /// Whether the factor on scores is of config.json.
    pub(in crate::export) scale: bool,
    /// Factor on scores besides the root of a head's width; nothing if it is 1.
    pub(in crate::export) growth: Option<String>,
}

impl Latent {
    /// The part of a configuration with latent attention.
    pub(in crate::export) fn of(config: &ModelConfig) -> Option<Self> {
        if config.attention != AttentionKind::Latent {
            return None;
        }
        let width = (config.qk_nope_head_dim + config.qk_rope_head_dim) as f64;
        let growth = crate::spec::parts::latent_attention::scale(config) * width.sqrt();
        let form = crate::spec::parts::latent_attention::latent_norm(config, config.kv_lora_rank);
        Some(Self {
            name: String::new(),
            doc: "softmax(scale · q kᵀ + mask) v, with keys and values of all heads made of one compressed vector for each token."
                .to_owned(),
            norm: Norm { eps: "latent_norm_eps", ..Norm::of(&form) },
            compressed_queries: config.q_lora_rank.is_some(),
            bias: config.attention_bias,
            output_bias: config.attention_output_bias.unwrap_or(config.attention_bias),
            interleaved: config.rope_interleaved,
            window: config.sliding_window.is_some(),
            dropout: config.dropout.attention > 0.0,
            scale: config.attention_scale.is_some(),
            growth: ((growth - 1.0).abs() > 1e-9).then(|| crate::export::fields::literal(growth)),
        })
    }

    pub(in crate::export) fn words(&self) -> Vec<&'static str> {
        let mut words = vec!["Latent"];
        words.extend(self.window.then_some("Window"));
        words.extend(self.compressed_queries.then_some("Compressed"));
        words.extend(self.bias.then_some("Biased"));
        words
    }
}
