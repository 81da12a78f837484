//! The kinds of parts that a source has one class for each of. Sizes are not among them: those are read from
//! config.json.

use serde::Serialize;

use crate::spec::{
    Activation, AlibiSlopes, AttentionKind, ModelConfig, NormConfig, NormKind, NormPlacement, PositionEmbedding,
    RopeConfig,
};

/// A norm: its class, and the field of config.json with its ε.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Norm {
    pub(super) class: &'static str,
    pub(super) eps: &'static str,
}

impl Norm {
    /// The norm as Python names it.
    pub(super) fn of(norm: &NormConfig) -> Self {
        let class = match norm.kind {
            NormKind::RmsNorm => "RMSNorm",
            NormKind::LayerNorm => "nn.LayerNorm",
        };
        Self { class, eps: norm.kind.eps_field() }
    }
}

/// ALiBi's slopes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Alibi {
    pub(super) parameter: &'static str,
    pub(super) kind: &'static str,
    pub(super) trainable: bool,
    /// The function that makes their first values.
    pub(super) function: String,
}

/// A kind of attention.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Attention {
    pub(super) name: String,
    pub(super) doc: String,
    pub(super) single_head: bool,
    pub(super) grouped: bool,
    pub(super) bias: bool,
    pub(super) qk_norm: Option<Norm>,
    pub(super) rope: bool,
    pub(super) alibi: Option<Alibi>,
    pub(super) window: bool,
    pub(super) dropout: bool,
}

impl Attention {
    pub(super) fn of(config: &ModelConfig) -> Self {
        let single_head = config.attention == AttentionKind::SingleHead;
        let alibi = match &config.position {
            PositionEmbedding::Alibi(alibi) => Some(Alibi {
                parameter: config.attention.slopes_name(),
                kind: alibi.slopes.name(),
                trainable: alibi.trainable,
                function: format!("{}_slopes", alibi.slopes.name()),
            }),
            PositionEmbedding::Rope(_)
            | PositionEmbedding::Sinusoidal
            | PositionEmbedding::Learned
            | PositionEmbedding::None => None,
        };
        let mut kind = Self {
            name: String::new(),
            doc: String::new(),
            single_head,
            grouped: config.num_key_value_heads != config.num_attention_heads,
            bias: config.attention_bias,
            qk_norm: (config.qk_norm && !single_head).then(|| Norm::of(&config.norm)),
            // Queries and keys of a single head are not rotated.
            rope: matches!(config.position, PositionEmbedding::Rope(_)) && !single_head,
            alibi,
            window: config.sliding_window.is_some(),
            dropout: config.dropout.attention > 0.0,
        };
        kind.doc = kind.describe();
        kind
    }

    pub(super) fn words(&self) -> Vec<&'static str> {
        let mut words = Vec::new();
        let mut add = |holds: bool, word| words.extend(holds.then_some(word));
        add(self.single_head, "SingleHead");
        add(self.window, "Window");
        add(self.grouped, "Grouped");
        add(self.qk_norm.is_some(), "Normed");
        add(self.rope, "Rotary");
        add(self.alibi.is_some(), "Alibi");
        add(!self.rope && self.alibi.is_none(), "Unplaced");
        add(self.bias, "Biased");
        words
    }

    fn describe(&self) -> String {
        let scores = match (self.single_head, &self.alibi) {
            (true, Some(_)) => "softmax(x W xᵀ / sqrt(hidden_size) + slope · (k − q) + mask) value(x)",
            (true, None) => "softmax(x W xᵀ / sqrt(hidden_size) + mask) value(x)",
            (false, Some(_)) => "softmax(q kᵀ / sqrt(head_dim) + slope · (k − q) + mask) v",
            (false, None) => "softmax(q kᵀ / sqrt(head_dim) + mask) v",
        };
        let mut more = Vec::new();
        if self.grouped {
            more.push("groups of query heads share a key and value head");
        }
        if self.qk_norm.is_some() && self.rope {
            more.push("queries and keys are normalized per head, then rotated by position");
        } else if self.qk_norm.is_some() {
            more.push("queries and keys are normalized per head");
        } else if self.rope {
            more.push("queries and keys are rotated by position");
        }
        if self.window {
            more.push("a token sees `sliding_window` tokens, itself included");
        }
        std::iter::once(scores).chain(more).collect::<Vec<_>>().join("; ") + "."
    }
}

/// A kind of feed-forward part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct FeedForward {
    pub(super) name: String,
    pub(super) doc: String,
    pub(super) gated: bool,
    pub(super) bias: bool,
    pub(super) activation: Activation,
    pub(super) dropout: bool,
}

impl FeedForward {
    pub(super) fn of(config: &ModelConfig) -> Self {
        let activation = config.activation;
        let short = match activation {
            Activation::Silu | Activation::Relu | Activation::Gelu => activation.name(),
            Activation::GeluTanh => Activation::Gelu.name(),
        };
        let doc = if config.gated {
            format!("down({short}(gate x) · up x).")
        } else {
            format!("linear2({short}(linear1 x)).")
        };
        Self {
            name: String::new(),
            doc,
            gated: config.gated,
            bias: config.mlp_bias,
            activation,
            dropout: config.dropout.activation > 0.0,
        }
    }

    pub(super) fn words(&self) -> Vec<&'static str> {
        let activation = match self.activation {
            Activation::Silu => "Silu",
            Activation::Relu => "Relu",
            Activation::Gelu => "Gelu",
            Activation::GeluTanh => "TanhGelu",
        };
        vec![if self.gated { "Gated" } else { "Plain" }, activation]
    }
}

/// A kind of layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Layer {
    pub(super) name: String,
    pub(super) doc: String,
    pub(super) norm: Norm,
    pub(super) attention: String,
    pub(super) feedforward: Option<String>,
    /// Whether they are users' parts, whose types are written with their paths.
    pub(super) own_attention: bool,
    pub(super) own_feedforward: bool,
    pub(super) placement: &'static str,
    /// The same in the name of the class.
    #[serde(skip)]
    pub(super) placement_word: &'static str,
    /// DeepNet's α: `given` in config.json, or `computed` from the number of layers.
    pub(super) alpha: Option<&'static str>,
    pub(super) dropout: bool,
    pub(super) residual_dropout: bool,
}

impl Layer {
    /// A layer of these parts, which are classes named already.
    pub(super) fn of(config: &ModelConfig, attention: String, feedforward: Option<String>) -> Self {
        let alpha = match config.placement {
            NormPlacement::DeepNet { alpha: Some(_) } => Some("given"),
            NormPlacement::DeepNet { alpha: None } => Some("computed"),
            NormPlacement::Pre | NormPlacement::Post => None,
        };
        let residual = |norm: &str, inside: &str| match config.placement {
            NormPlacement::Pre => format!("x + {inside}({norm}(x))"),
            NormPlacement::DeepNet { .. } => format!("{norm}(α x + {inside}(x))"),
            NormPlacement::Post => format!("{norm}(x + {inside}(x))"),
        };
        let mut doc = residual("norm1", "attention");
        if feedforward.is_some() {
            doc = format!("{doc}, then {}", residual("norm2", "feedforward"));
        }
        if alpha == Some("computed") {
            doc.push_str(", with α = (2 · layers)^¼");
        }
        Self {
            name: String::new(),
            doc: doc + ".",
            norm: Norm::of(&config.norm),
            attention,
            feedforward,
            own_attention: config.attention.user_part().is_some(),
            own_feedforward: config.feed_forward_kind.user_part().is_some(),
            placement: config.placement.name(),
            placement_word: match config.placement {
                NormPlacement::Pre => "PreNorm",
                NormPlacement::Post => "PostNorm",
                NormPlacement::DeepNet { .. } => "DeepNet",
            },
            alpha,
            dropout: config.dropout.layer > 0.0,
            residual_dropout: config.dropout.residual > 0.0,
        }
    }

    /// `parts` are the words of its attention and its feed-forward part.
    pub(super) fn words(&self, parts: Vec<&'static str>) -> Vec<&'static str> {
        let mut words = Vec::new();
        words.extend(self.feedforward.is_none().then_some("AttentionOnly"));
        words.push(self.placement_word);
        words.extend(parts);
        words.push(if self.norm.class == "RMSNorm" { "RmsNorm" } else { "LayerNorm" });
        words.extend(self.dropout.then_some("Dropout"));
        words
    }
}

/// Returns the formula of ALiBi's first slopes for heads i = 0 … H−1.
pub(super) fn slopes_formula(slopes: AlibiSlopes) -> &'static str {
    match slopes {
        AlibiSlopes::Standard => "2^(−7i/(H−1)) for head i of H",
        AlibiSlopes::Alternate => "2^(−1 − 7i/(H−1)) for head i of H, and 0 in the second half of the heads",
        AlibiSlopes::Half => "one half",
    }
}

/// Rotary parameters as config.json has them.
pub(super) fn rope_json(rope: &RopeConfig) -> serde_json::Value {
    use crate::spec::RopeScaling::Llama3;
    match &rope.scaling {
        Some(Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings }) => {
            serde_json::json!({
                "rope_theta": rope.theta,
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor,
                "original_max_position_embeddings": original_max_position_embeddings,
            })
        }
        None => serde_json::json!({ "rope_theta": rope.theta, "rope_type": "default" }),
    }
}
