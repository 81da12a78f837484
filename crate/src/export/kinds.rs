//! The kinds of parts, for each of which a source has a class. Sizes do not make kinds: they are read from config.json.

use serde::Serialize;

use crate::spec::{
    Activation, AlibiSlopes, AttentionKind, FeedForwardKind, GroupScore, ModelConfig, NormForm, NormKind,
    NormPlacement, PositionEmbedding, RopeConfig, RouterScore,
};

/// A norm: its class, and the field of config.json with its ε.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Norm {
    /// The class in Python.
    pub(super) class: &'static str,
    /// Further arguments of it.
    pub(super) more: &'static str,
    pub(super) eps: &'static str,
    /// The type in Rust.
    pub(super) rust: &'static str,
    /// The beginning of the expression that makes it: a function, an open parenthesis, and first arguments.
    pub(super) make: String,
    /// Whether it has factors for each head.
    pub(super) each_head: bool,
}

impl Norm {
    pub(super) fn of(form: &NormForm) -> Self {
        let NormForm { kind, heads, weight, bias, offset, dim: _, eps: _ } = *form;
        let (shifted, each_head) = (offset != 0.0, heads.is_some());
        let (class, more) = match (kind, weight) {
            _ if each_head && bias => ("HeadNorm", ", bias=True"),
            _ if each_head => ("HeadNorm", ""),
            (NormKind::RmsNorm, false) => ("PlainRMSNorm", ""),
            (NormKind::RmsNorm, true) if shifted => ("OffsetRMSNorm", ""),
            (NormKind::RmsNorm, true) => ("RMSNorm", ""),
            (NormKind::LayerNorm, false) => ("nn.LayerNorm", ", elementwise_affine=False"),
            (NormKind::LayerNorm, true) if shifted && bias => ("OffsetLayerNorm", ""),
            (NormKind::LayerNorm, true) if shifted => ("OffsetLayerNorm", ", bias=False"),
            (NormKind::LayerNorm, true) if bias => ("nn.LayerNorm", ""),
            (NormKind::LayerNorm, true) => ("nn.LayerNorm", ", bias=False"),
        };
        let (rust, make) = match class {
            "RMSNorm" => ("RmsNorm", "rms_norm(".to_owned()),
            "nn.LayerNorm" if more.is_empty() => ("LayerNorm", "layer_norm(".to_owned()),
            _ => {
                let centered = kind == NormKind::LayerNorm;
                let form =
                    format!("Form {{ centered: {centered}, weight: {weight}, bias: {bias}, offset: {offset:?} }}");
                ("Norm", format!("Norm::load({form}, "))
            }
        };
        Self { class, more, eps: kind.eps_field(), rust, make, each_head }
    }

    /// The norms of the layers and of the model.
    pub(super) fn of_layer(config: &ModelConfig) -> Self {
        Self::of(&crate::spec::parts::norm::form(config, config.hidden_size))
    }

    /// Returns how a new one is drawn, as statements of Python.
    pub(super) fn draws(form: &NormForm) -> Vec<String> {
        let weight = if form.offset == 0.0 { "nn.init.ones_" } else { "nn.init.zeros_" };
        let weight = form.weight.then(|| format!("{weight}(module.weight)"));
        weight.into_iter().chain(form.bias.then(|| "nn.init.zeros_(module.bias)".to_owned())).collect()
    }
}

/// The norms of queries and keys.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct QkNorm {
    #[serde(flatten)]
    pub(super) norm: Norm,
    /// What they run over: `head`, `width` or `each_head`.
    pub(super) scope: &'static str,
    pub(super) after_rope: bool,
}

/// ALiBi's slopes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Alibi {
    pub(super) parameter: &'static str,
    pub(super) kind: &'static str,
    pub(super) trainable: bool,
    /// Whether they are a parameter; else constants.
    pub(super) stored: bool,
    /// The function that makes their first values.
    pub(super) function: String,
}

/// A kind of attention.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Attention {
    pub(super) name: String,
    pub(super) doc: String,
    pub(super) single_head: bool,
    /// Linear attention with a state, of which the rest says nothing.
    pub(super) delta_net: bool,
    /// A gated convolution, of which the rest says nothing but whether it has biases.
    pub(super) short_conv: bool,
    pub(super) grouped: bool,
    pub(super) bias: bool,
    pub(super) output_bias: bool,
    pub(super) qk_norm: Option<QkNorm>,
    pub(super) rope: bool,
    pub(super) alibi: Option<Alibi>,
    pub(super) window: bool,
    /// Whether it has a factor of its own on the scores.
    pub(super) scale: bool,
    pub(super) softcap: bool,
    pub(super) sinks: bool,
    pub(super) gate: bool,
    pub(super) clip: bool,
    /// Whether queries are multiplied by a factor of their position.
    pub(super) tempered: bool,
    pub(super) dropout: bool,
}

impl Attention {
    pub(super) fn of(config: &ModelConfig) -> Self {
        let single_head = config.attention == AttentionKind::SingleHead;
        match config.attention {
            AttentionKind::GatedDeltaNet => return Self::delta_net(),
            AttentionKind::ShortConv => return Self::short_conv(config.conv_bias),
            AttentionKind::MultiHead | AttentionKind::SingleHead | AttentionKind::Latent | AttentionKind::User(_) => {}
        }
        let alibi = match &config.position {
            PositionEmbedding::Alibi(alibi) => Some(Alibi {
                parameter: config.attention.slopes_name(),
                kind: alibi.slopes.name(),
                trainable: alibi.trainable,
                stored: alibi.slopes.is_stored(),
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
            delta_net: false,
            short_conv: false,
            grouped: config.num_key_value_heads != config.num_attention_heads,
            bias: config.attention_bias,
            output_bias: config.attention_output_bias.unwrap_or(config.attention_bias),
            qk_norm: (config.qk_norm && !single_head).then(|| QkNorm {
                norm: Norm::of(&crate::spec::parts::attention::qk_norm(config, config.num_attention_heads)),
                scope: config.qk_norm_scope.name(),
                after_rope: config.qk_norm_after_rope,
            }),
            // Queries and keys of a single head are not rotated.
            rope: matches!(config.position, PositionEmbedding::Rope(_)) && !single_head,
            alibi,
            window: config.sliding_window.is_some(),
            scale: config.attention_scale.is_some() && !single_head,
            softcap: config.attention_softcap.is_some() && !single_head,
            sinks: config.attention_sinks && !single_head,
            gate: config.attention_gate && !single_head,
            clip: config.qkv_clip.is_some() && !single_head,
            tempered: matches!(&config.position, PositionEmbedding::Rope(rope) if rope.query_scaling_beta.is_some())
                && !single_head,
            dropout: config.dropout.attention > 0.0,
        };
        kind.doc = kind.describe();
        kind
    }

    fn delta_net() -> Self {
        let doc = "The state S of each head forgets by α = exp(−exp(decay_log) softplus(decay x + decay_bias)) and is \
                   corrected by β (v − Sᵀ k) (gated DeltaNet, arXiv:2412.06464); queries, keys and values pass a causal \
                   convolution; norm(Sᵀ q / sqrt(d)) · silu(gate x) is projected.";
        Self {
            name: String::new(),
            doc: doc.to_owned(),
            single_head: false,
            delta_net: true,
            short_conv: false,
            grouped: false,
            bias: false,
            output_bias: false,
            qk_norm: None,
            rope: false,
            alibi: None,
            window: false,
            scale: false,
            softcap: false,
            sinks: false,
            gate: false,
            clip: false,
            tempered: false,
            dropout: false,
        }
    }

    fn short_conv(bias: bool) -> Self {
        let doc = "output(output_gate x · conv(input_gate x · value x)), with a causal convolution of each channel.";
        Self { doc: doc.to_owned(), delta_net: false, short_conv: true, bias, ..Self::delta_net() }
    }

    /// Returns whether it is attention proper, with keys and values.
    pub(super) fn is_softmax(&self) -> bool {
        !self.delta_net && !self.short_conv
    }

    pub(super) fn words(&self) -> Vec<&'static str> {
        if self.delta_net {
            return vec!["DeltaNet"];
        }
        if self.short_conv {
            return vec![if self.bias { "BiasedShortConv" } else { "ShortConv" }];
        }
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
        add(self.softcap, "Capped");
        add(self.sinks, "Sink");
        add(self.gate, "Gated");
        add(self.clip, "Clipped");
        add(self.scale, "Scaled");
        add(self.qk_norm.as_ref().is_some_and(|norm| norm.scope != "head"), "Wide");
        words
    }

    fn describe(&self) -> String {
        let product = match (self.single_head, self.scale) {
            (true, _) => "x W xᵀ / sqrt(hidden_size)",
            (false, true) => "attention_scale · q kᵀ",
            (false, false) => "q kᵀ / sqrt(head_dim)",
        };
        let product = if self.softcap { format!("softcap({product})") } else { product.to_owned() };
        let slope = if self.alibi.is_some() { " + slope · (k − q)" } else { "" };
        let values = if self.single_head { "value(x)" } else { "v" };
        let scores = format!("softmax({product}{slope} + mask) {values}");
        let mut more = Vec::new();
        if self.grouped {
            more.push("groups of query heads share a key and value head".to_owned());
        }
        let normed = self.qk_norm.as_ref().map(|norm| match norm.scope {
            "width" => "queries and keys are normalized over their whole width",
            _ => "queries and keys are normalized per head",
        });
        let after = self.qk_norm.as_ref().is_some_and(|norm| norm.after_rope);
        let (normed, rotated): (Option<String>, _) = (normed.map(str::to_owned), self.rope);
        more.extend(match (normed, rotated) {
            (Some(_), true) if after => {
                Some("queries and keys are rotated by position, then normalized per head".to_owned())
            }
            (Some(normed), true) => Some(normed + ", then rotated by position"),
            (Some(normed), false) => Some(normed),
            (None, true) => Some("queries and keys are rotated by position".to_owned()),
            (None, false) => None,
        });
        if self.sinks {
            more.push("a sink of each head takes attention from all tokens".to_owned());
        }
        if self.gate {
            more.push("the sigmoid of a projection multiplies the result of each head".to_owned());
        }
        if self.clip {
            more.push("queries, keys and values are clamped".to_owned());
        }
        if self.window {
            more.push("a token sees `sliding_window` tokens, itself included".to_owned());
        }
        std::iter::once(scores).chain(more).collect::<Vec<_>>().join("; ") + "."
    }
}

/// A kind of latent attention.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Latent {
    pub(super) name: String,
    pub(super) doc: String,
    pub(super) norm: Norm,
    /// Whether queries are made of a compressed vector.
    pub(super) compressed_queries: bool,
    pub(super) bias: bool,
    pub(super) output_bias: bool,
    pub(super) interleaved: bool,
    pub(super) window: bool,
    pub(super) dropout: bool,
    /// Whether the factor on scores is of config.json.
    pub(super) scale: bool,
    /// Factor on scores besides the root of a head's width; nothing if it is 1.
    pub(super) growth: Option<String>,
}

impl Latent {
    /// The part of a configuration with latent attention.
    pub(super) fn of(config: &ModelConfig) -> Option<Self> {
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
            growth: ((growth - 1.0).abs() > 1e-9).then(|| super::fields::literal(growth)),
        })
    }

    pub(super) fn words(&self) -> Vec<&'static str> {
        let mut words = vec!["Latent"];
        words.extend(self.window.then_some("Window"));
        words.extend(self.compressed_queries.then_some("Compressed"));
        words.extend(self.bias.then_some("Biased"));
        words
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
    /// Whether GPT-OSS's function of gate and up takes the place of the product.
    pub(super) clamped: bool,
    pub(super) dropout: bool,
    /// Whether the width inside is told by what makes it: experts have another one than dense layers.
    pub(super) sized: bool,
}

impl FeedForward {
    pub(super) fn of(config: &ModelConfig) -> Self {
        let activation = config.activation;
        let clamped = config.gated && activation == Activation::Silu && config.swiglu_limit.is_some();
        let short = match activation {
            Activation::Silu | Activation::Relu | Activation::Gelu | Activation::Relu2 | Activation::Xielu => {
                activation.name()
            }
            Activation::GeluTanh => Activation::Gelu.name(),
        };
        let doc = if clamped {
            "down(g · sigmoid(swiglu_alpha · g) · (u + 1)), where g is gate x of at most swiglu_limit, and u is up x within ± that."
                .to_owned()
        } else if config.gated {
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
            clamped,
            dropout: config.dropout.activation > 0.0,
            sized: config.feed_forward_kind == FeedForwardKind::Experts,
        }
    }

    pub(super) fn words(&self) -> Vec<&'static str> {
        let activation = match self.activation {
            Activation::Silu => "Silu",
            Activation::Relu => "Relu",
            Activation::Gelu => "Gelu",
            Activation::GeluTanh => "TanhGelu",
            Activation::Relu2 => "Relu2",
            Activation::Xielu => "Xielu",
        };
        vec![if self.gated { "Gated" } else { "Plain" }, if self.clamped { "Clamped" } else { activation }]
    }
}

/// A kind of mixture of experts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Mixture {
    pub(super) name: String,
    pub(super) doc: String,
    /// The class of an expert.
    pub(super) expert: String,
    pub(super) score: &'static str,
    pub(super) softmax_after: bool,
    pub(super) norm: bool,
    pub(super) scaling: bool,
    pub(super) scales_input: bool,
    pub(super) bias: bool,
    pub(super) correction: bool,
    pub(super) grouped: bool,
    pub(super) group_score: &'static str,
    pub(super) shared: bool,
    pub(super) shared_gate: bool,
}

impl Mixture {
    /// A mixture of experts of this class, which is named already.
    pub(super) fn of(config: &ModelConfig, expert: String) -> Self {
        let mut doc = "Each token uses the `num_experts_per_tok` experts with the highest scores".to_owned();
        if config.router_groups > 1 && config.router_score != RouterScore::SparseMixer {
            doc.push_str(" of the `router_topk_groups` best groups");
        }
        if config.shared_expert_intermediate_size.is_some() {
            doc.push_str(", and one that all tokens use");
        }
        // SparseMixer's weights are what it makes of logits.
        let weighs = config.router_score != RouterScore::SparseMixer;
        Self {
            name: String::new(),
            doc: doc + ".",
            expert,
            score: match config.router_score {
                RouterScore::Softmax => "softmax",
                RouterScore::Sigmoid => "sigmoid",
                RouterScore::SparseMixer => "sparse_mixer",
            },
            softmax_after: config.router_softmax_after_topk && config.router_score == RouterScore::Softmax,
            norm: weighs && config.router_norm_topk,
            scaling: weighs && config.router_scaling_factor != 1.0,
            scales_input: config.router_scales_input,
            bias: config.router_bias,
            correction: weighs && config.router_correction,
            grouped: weighs && config.router_groups > 1,
            group_score: match config.router_group_score {
                GroupScore::Max => "max",
                GroupScore::TopTwo => "top_two",
            },
            shared: config.shared_expert_intermediate_size.is_some(),
            shared_gate: config.shared_expert_intermediate_size.is_some() && config.shared_expert_gate,
        }
    }

    pub(super) fn words(&self) -> Vec<&'static str> {
        let score = match self.score {
            "softmax" => "Softmax",
            "sigmoid" => "Sigmoid",
            _ => "SparseMixer",
        };
        let mut words = vec!["Routed", score];
        words.extend(self.shared.then_some("Shared"));
        words.extend(self.grouped.then_some("Grouped"));
        words
    }
}

/// A kind of layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Layer {
    pub(super) name: String,
    pub(super) doc: String,
    pub(super) norm: Norm,
    pub(super) attention: String,
    /// The name of attention in the layer.
    pub(super) attention_name: &'static str,
    pub(super) feedforward: Option<String>,
    /// Whether they are users' parts, whose types are written with their paths.
    pub(super) own_attention: bool,
    pub(super) own_feedforward: bool,
    /// Whether attention is latent attention.
    pub(super) latent: bool,
    /// Whether the feed-forward part is a mixture of experts.
    pub(super) mixture: bool,
    pub(super) placement: &'static str,
    pub(super) parallel: bool,
    pub(super) shared_norm: bool,
    pub(super) multiplier: bool,
    /// The same in the name of the class.
    #[serde(skip)]
    pub(super) placement_word: &'static str,
    /// DeepNet's α: `given` in config.json, or `computed` from the number of layers.
    pub(super) alpha: Option<&'static str>,
    pub(super) dropout: bool,
    pub(super) residual_dropout: bool,
}

impl Layer {
    /// Makes a layer of these parts, whose classes already have names.
    pub(super) fn of(config: &ModelConfig, attention: String, feedforward: Option<String>) -> Self {
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
        let mut doc = residual(1, "attention");
        if parallel {
            doc = format!("{doc} + {}", added(if config.shared_norm { 1 } else { 2 }, "feedforward"));
        } else if feedforward.is_some() {
            doc = format!("{doc}, then {}", residual(2, "feedforward"));
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
                AttentionKind::MultiHead
                | AttentionKind::SingleHead
                | AttentionKind::Latent
                | AttentionKind::User(_) => "attention",
            },
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
        }
    }

    /// `parts` are the words of its attention and its feed-forward part.
    pub(super) fn words(&self, parts: Vec<&'static str>) -> Vec<&'static str> {
        let mut words = Vec::new();
        words.extend(self.feedforward.is_none().then_some("AttentionOnly"));
        words.push(self.placement_word);
        words.extend(parts);
        words.push(if self.norm.eps == NormKind::RmsNorm.eps_field() { "RmsNorm" } else { "LayerNorm" });
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
        AlibiSlopes::Geometric => "2^(−8(i+1)/H) for head i of H = 2^n; between them those of 2 H for other numbers",
    }
}

/// Rotary parameters as config.json has them.
pub(super) fn rope_json(rope: &RopeConfig) -> serde_json::Value {
    let mut fields = crate::spec::parts::rope_fields(rope);
    let Some(serde_json::Value::Object(mut own)) = fields.remove("rope_parameters") else { return fields.into() };
    let mut ordered = serde_json::Map::new();
    for first in ["rope_theta", "rope_type"] {
        ordered.extend(own.shift_remove(first).map(|value| (first.to_owned(), value)));
    }
    ordered.extend(own);
    ordered.into()
}
