//! Layers: which parts they have, and how these are put together.

use serde::Serialize;

use super::norm::Norm;
use crate::spec::{Activation, AttentionKind, FeedForwardKind, ModelConfig, NormKind, NormPlacement};

/// A kind of layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::export) struct Layer {
    pub(in crate::export) name: String,
    pub(in crate::export) doc: String,
    pub(in crate::export) norm: Norm,
    pub(in crate::export) attention: String,
    /// The name of attention in the layer.
    pub(in crate::export) attention_name: &'static str,
    /// The class of the Mamba-2 part beside attention; none where this is empty.
    pub(in crate::export) beside: String,
    pub(in crate::export) feedforward: Option<String>,
    /// Whether they are users' parts, whose types are written with their paths.
    pub(in crate::export) own_attention: bool,
    pub(in crate::export) own_feedforward: bool,
    /// Whether attention is latent attention.
    pub(in crate::export) latent: bool,
    /// Whether the feed-forward part is a mixture of experts.
    pub(in crate::export) mixture: bool,
    pub(in crate::export) placement: &'static str,
    pub(in crate::export) parallel: bool,
    pub(in crate::export) shared_norm: bool,
    pub(in crate::export) multiplier: bool,
    /// The same in the name of the class.
    #[serde(skip)]
    pub(in crate::export) placement_word: &'static str,
    /// DeepNet's α: `given` in config.json, or `computed` from the number of layers.
    pub(in crate::export) alpha: Option<&'static str>,
    pub(in crate::export) dropout: bool,
    pub(in crate::export) residual_dropout: bool,
    /// The function on the gate of what the layer is given of each token, in Python and in Rust.
    pub(in crate::export) input: Option<[&'static str; 3]>,
    pub(in crate::export) scalar: bool,
    /// Whether experts read the residual stream itself.
    pub(in crate::export) stream: bool,
    /// Whether later layers read its keys and values, and whether it reads those of an earlier one.
    pub(in crate::export) keeps: bool,
    pub(in crate::export) shares: bool,
}

/// A function in Python (its name and what follows its argument) and in Rust.
fn function(activation: Activation) -> [&'static str; 3] {
    match activation {
        Activation::Silu => ["F.silu", "", ".silu()?"],
        Activation::Relu => ["F.relu", "", ".relu()?"],
        Activation::Gelu => ["F.gelu", "", ".gelu_erf()?"],
        Activation::GeluTanh => ["F.gelu", ", approximate=\"tanh\"", ".gelu()?"],
        Activation::Relu2 => ["relu2", "", ".relu()?.sqr()?"],
        // Refused where the configuration is checked.
        Activation::Xielu => ["xielu", "", ".silu()?"],
    }
}

impl Layer {
    /// Makes a layer of these parts, whose classes already have names: attention and the Mamba-2 part beside it, each empty if
    /// there is none, and the feed-forward part.
    pub(in crate::export) fn of(
        config: &ModelConfig,
        attention: String,
        beside: String,
        feedforward: Option<String>,
    ) -> Self {
        let alpha = match config.placement {
            NormPlacement::DeepNet { alpha: Some(_) } => Some("given"),
            NormPlacement::DeepNet { alpha: None } => Some("computed"),
            NormPlacement::Pre | NormPlacement::Post | NormPlacement::Output | NormPlacement::Sandwich => None,
        };
        let multiplier = config.residual_multiplier != 1.0;
        let factor = if multiplier { "residual_multiplier · " } else { "" };
        let added = |number: usize, inside: &str| match config.placement {
            NormPlacement::Pre => format!("{factor}{inside}(norm{number}(x))"),
            NormPlacement::Output => format!("{factor}norm{number}({inside}(x))"),
            NormPlacement::Sandwich => format!("{factor}post_norm{number}({inside}(norm{number}(x)))"),
            NormPlacement::Post | NormPlacement::DeepNet { .. } => format!("{factor}{inside}(x)"),
        };
        let residual = |number: usize, inside: &str| match config.placement {
            NormPlacement::Pre | NormPlacement::Output | NormPlacement::Sandwich => {
                format!("x + {}", added(number, inside))
            }
            NormPlacement::DeepNet { .. } => format!("norm{number}(α x + {})", added(number, inside)),
            NormPlacement::Post => format!("norm{number}(x + {})", added(number, inside)),
        };
        let parallel = config.parallel_layers && feedforward.is_some();
        let mixer = match (config.attention, beside.is_empty()) {
            (AttentionKind::None, _) => "feedforward",
            (AttentionKind::Mamba | AttentionKind::Mamba2, _) => "mamba",
            (_, false) => "(attention + mamba)",
            _ => "attention",
        };
        let mut doc = residual(1, mixer);
        if config.attention == AttentionKind::None {
            // The feed-forward part is the only one.
        } else if parallel {
            doc = format!("{doc} + {}", added(if config.shared_norm { 1 } else { 2 }, "feedforward"));
        } else if feedforward.is_some() {
            doc = format!("{doc}, then {}", residual(2, "feedforward"));
        }
        if config.hidden_size_per_layer_input.is_some() {
            doc.push_str(", then x + norm3(down(act(gate x) · what the layer is given of the token))");
        }
        if config.layer_scalar {
            doc.push_str(", times layer_scalar");
        }
        if alpha == Some("computed") {
            doc.push_str(", with α = (2 · layers)^¼");
        }
        Self {
            name: String::new(),
            doc: doc + ".",
            norm: Norm::of_layer(config),
            attention,
            attention_name: match config.attention {
                AttentionKind::GatedDeltaNet => "linear_attention",
                AttentionKind::ShortConv => "short_conv",
                AttentionKind::Mamba | AttentionKind::Mamba2 => "mamba",
                AttentionKind::MultiHead
                | AttentionKind::SingleHead
                | AttentionKind::Latent
                | AttentionKind::None
                | AttentionKind::User(_) => "attention",
            },
            beside,
            feedforward,
            own_attention: config.attention.user_part().is_some(),
            own_feedforward: config.feed_forward_kind.user_part().is_some(),
            latent: config.attention == AttentionKind::Latent,
            mixture: config.feedforward && config.feed_forward_kind == FeedForwardKind::Experts,
            placement: config.placement.name(),
            parallel,
            shared_norm: config.shared_norm && parallel,
            multiplier,
            placement_word: match config.placement {
                NormPlacement::Pre if parallel => "Parallel",
                NormPlacement::Pre => "PreNorm",
                NormPlacement::Output => "OutputNorm",
                NormPlacement::Sandwich => "Sandwich",
                NormPlacement::Post => "PostNorm",
                NormPlacement::DeepNet { .. } => "DeepNet",
            },
            alpha,
            dropout: config.dropout.layer > 0.0,
            residual_dropout: config.dropout.residual > 0.0,
            input: config.hidden_size_per_layer_input.map(|_| function(config.activation)),
            scalar: config.layer_scalar,
            stream: config.feedforward
                && config.feed_forward_kind == FeedForwardKind::Experts
                && config.experts_beside_mlp,
            keeps: false,
            shares: false,
        }
    }

    /// `parts` are the words of its attention and its feed-forward part.
    pub(in crate::export) fn words(&self, parts: Vec<&'static str>) -> Vec<&'static str> {
        let mut words = Vec::new();
        words.extend(self.feedforward.is_none().then_some("AttentionOnly"));
        words.extend(self.attention.is_empty().then_some("FeedForwardOnly"));
        words.extend((!self.beside.is_empty()).then_some("Hybrid"));
        words.push(self.placement_word);
        words.extend(parts);
        words.push(if self.norm.eps == NormKind::RmsNorm.eps_field() { "RmsNorm" } else { "LayerNorm" });
        words.extend(self.dropout.then_some("Dropout"));
        words
    }
}
