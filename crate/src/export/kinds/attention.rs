//! Attention, and the recurrent parts that take its place.

use serde::Serialize;

use super::norm::{Norm, QkNorm};
use crate::spec::{AttentionKind, MambaNorm, ModelConfig, NormForm, PositionEmbedding};

/// ALiBi's slopes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::export) struct Alibi {
    pub(in crate::export) parameter: &'static str,
    pub(in crate::export) kind: &'static str,
    pub(in crate::export) trainable: bool,
    /// Whether they are a parameter; else constants.
    pub(in crate::export) stored: bool,
    /// The function that makes their first values.
    pub(in crate::export) function: String,
}

/// A kind of Mamba or Mamba-2.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::export) struct StateSpace {
    /// Whether it is Mamba-2.
    pub(in crate::export) two: bool,
    pub(in crate::export) conv_bias: bool,
    /// The field with the ε of its norms.
    pub(in crate::export) eps: &'static str,
    /// Where the norm stands: `after_gate`, `before_gate` or `none`. Of Mamba-2.
    pub(in crate::export) norm: &'static str,
    /// Whether steps have a smallest and a largest value. Of Mamba-2.
    pub(in crate::export) shortest: bool,
    pub(in crate::export) longest: bool,
    /// Whether there are factors on inputs and outputs. Of Mamba-2.
    pub(in crate::export) scaled: bool,
    /// Whether steps, B and C are normalized. Of Mamba.
    pub(in crate::export) inner_norms: bool,
}

/// A kind of attention.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::export) struct Attention {
    pub(in crate::export) name: String,
    pub(in crate::export) doc: String,
    pub(in crate::export) single_head: bool,
    /// Linear attention with a state, of which the rest says nothing.
    pub(in crate::export) delta_net: bool,
    /// A gated convolution, of which the rest says nothing but whether it has biases.
    pub(in crate::export) short_conv: bool,
    /// A selective state space, of which the rest says nothing but whether projections have biases.
    pub(in crate::export) state_space: Option<StateSpace>,
    /// Attention proper, with keys and values.
    pub(in crate::export) softmax: bool,
    pub(in crate::export) grouped: bool,
    pub(in crate::export) bias: bool,
    pub(in crate::export) output_bias: bool,
    pub(in crate::export) qk_norm: Option<QkNorm>,
    pub(in crate::export) rope: bool,
    pub(in crate::export) alibi: Option<Alibi>,
    pub(in crate::export) window: bool,
    /// Whether it has a factor of its own on the scores.
    pub(in crate::export) scale: bool,
    /// The factor on scores in Python and in Rust.
    pub(in crate::export) scale_python: String,
    pub(in crate::export) scale_rust: String,
    /// Whether there are factors on what enters and leaves it.
    pub(in crate::export) scaled: (bool, bool),
    pub(in crate::export) softcap: bool,
    pub(in crate::export) sinks: bool,
    pub(in crate::export) gate: bool,
    pub(in crate::export) clip: bool,
    /// Whether queries are multiplied by a factor of their position.
    pub(in crate::export) tempered: bool,
    pub(in crate::export) dropout: bool,
    /// Whether tokens are divided into chunks.
    pub(in crate::export) chunk: bool,
    /// Whether queries grow with their position, by two fields.
    pub(in crate::export) temperature: bool,
    /// Whether keys and values are those of another layer.
    pub(in crate::export) shared: bool,
    /// Whether keys and values are kept for other layers.
    pub(in crate::export) kept: bool,
    pub(in crate::export) keys_as_values: bool,
    pub(in crate::export) value_norm: Option<Norm>,
    /// Whether keys and values are made in another way than by two projections.
    pub(in crate::export) special: bool,
}

/// Writes the factor on scores, which is `usual` where config.json does not have one.
fn scale(usual: &str, config: &ModelConfig) -> String {
    let own = if config.attention_scale.is_some() { "config.attention_scale" } else { usual };
    if config.key_multiplier == 1.0 { own.to_owned() } else { format!("{own} * config.key_multiplier") }
}

impl Attention {
    pub(in crate::export) fn of(config: &ModelConfig) -> Self {
        let single_head = config.attention == AttentionKind::SingleHead;
        match config.attention {
            AttentionKind::GatedDeltaNet => return Self::delta_net(),
            AttentionKind::ShortConv => return Self::short_conv(config.conv_bias),
            AttentionKind::Mamba | AttentionKind::Mamba2 => return Self::state_space(config),
            AttentionKind::MultiHead
            | AttentionKind::SingleHead
            | AttentionKind::Latent
            | AttentionKind::None
            | AttentionKind::User(_) => {}
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
            state_space: None,
            softmax: true,
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
            scale: (config.attention_scale.is_some() || config.key_multiplier != 1.0) && !single_head,
            scale_python: scale("config.head_dim**-0.5", config),
            scale_rust: scale("(config.head_dim as f64).powf(-0.5)", config),
            scaled: (config.attention_input_multiplier != 1.0, config.attention_output_multiplier != 1.0),
            softcap: config.attention_softcap.is_some() && !single_head,
            sinks: config.attention_sinks && !single_head,
            gate: config.attention_gate && !single_head,
            clip: config.qkv_clip.is_some() && !single_head,
            tempered: matches!(&config.position, PositionEmbedding::Rope(rope) if rope.query_scaling_beta.is_some())
                && !single_head,
            dropout: config.dropout.attention > 0.0,
            chunk: config.attention_chunk_size.is_some() && !single_head,
            temperature: config.attention_temperature.is_some() && !single_head,
            shared: config.kv_shared && !single_head,
            kept: false,
            keys_as_values: config.keys_as_values && !config.kv_shared && !single_head,
            value_norm: (config.value_norm && !config.kv_shared && !single_head).then(|| {
                let form = NormForm { weight: false, ..NormForm::rms(config.head_dim, config.norm.eps) };
                Norm { eps: config.norm.kind.eps_field(), ..Norm::of(&form) }
            }),
            special: false,
        };
        kind.special = kind.shared || kind.keys_as_values || kind.value_norm.is_some();
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
            state_space: None,
            softmax: false,
            grouped: false,
            bias: false,
            output_bias: false,
            qk_norm: None,
            rope: false,
            alibi: None,
            window: false,
            scale: false,
            scale_python: String::new(),
            scale_rust: String::new(),
            scaled: (false, false),
            softcap: false,
            sinks: false,
            gate: false,
            clip: false,
            tempered: false,
            dropout: false,
            chunk: false,
            temperature: false,
            shared: false,
            kept: false,
            keys_as_values: false,
            value_norm: None,
            special: false,
        }
    }

    fn short_conv(bias: bool) -> Self {
        let doc = "output(output_gate x · conv(input_gate x · value x)), with a causal convolution of each channel.";
        Self { doc: doc.to_owned(), delta_net: false, short_conv: true, bias, ..Self::delta_net() }
    }

    /// The Mamba or Mamba-2 part of a configuration.
    pub(in crate::export) fn state_space(config: &ModelConfig) -> Self {
        let two = crate::spec::parts::mamba::has_mamba2(config);
        let (bias, output_bias) = crate::spec::parts::mamba::biases(config);
        let doc = if two {
            let out = match config.mamba_norm {
                MambaNorm::AfterGate => "norm(y · silu(z))",
                MambaNorm::BeforeGate => "norm(y) · silu(z)",
                MambaNorm::None => "y · silu(z)",
            };
            format!(
                "Mamba-2 (arXiv:2405.21060): with Δ = softplus(step + step_bias), the state S of a head becomes \
                 exp(−Δ exp(decay_log)) S + Δ v Bᵀ; y = S C + skip · v; v, B and C pass a causal convolution; {out} is projected."
            )
        } else {
            "Mamba (arXiv:2312.00752): with Δ = softplus(step), the state s of a channel becomes \
             exp(−Δ exp(decay_log)) s + Δ v B; y = C · s + skip · v; v passes a causal convolution; y · silu(z) is projected."
                .to_owned()
        };
        let kind = StateSpace {
            two,
            conv_bias: config.mamba_conv_bias,
            eps: config.norm.kind.eps_field(),
            norm: config.mamba_norm.name(),
            shortest: config.mamba_step_min > 0.0,
            longest: config.mamba_step_max.is_some(),
            scaled: crate::spec::parts::mamba::is_scaled(config),
            inner_norms: config.mamba_inner_norms,
        };
        Self { doc, delta_net: false, state_space: Some(kind), bias, output_bias, ..Self::delta_net() }
    }

    /// Returns whether it has RMSNorms of its own besides those of queries and keys.
    pub(in crate::export) fn has_rms_norm(&self) -> bool {
        let normed = |own: &StateSpace| own.inner_norms && !own.two || own.two && own.norm != MambaNorm::None.name();
        self.delta_net || self.state_space.as_ref().is_some_and(normed)
    }

    pub(in crate::export) fn words(&self) -> Vec<&'static str> {
        if self.delta_net {
            return vec!["DeltaNet"];
        }
        if self.short_conv {
            return vec![if self.bias { "BiasedShortConv" } else { "ShortConv" }];
        }
        if let Some(kind) = &self.state_space {
            return vec![if kind.two { "Mamba2" } else { "Mamba" }];
        }
        let mut words = Vec::new();
        let mut add = |holds: bool, word| words.extend(holds.then_some(word));
        add(self.single_head, "SingleHead");
        add(self.window, "Window");
        add(self.chunk, "Chunked");
        add(self.shared, "Sharing");
        add(self.keys_as_values, "KeyValue");
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
            (false, true) => "scale · q kᵀ",
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
        if self.keys_as_values {
            more.push("values are keys, before their norm and rotation".to_owned());
        }
        if self.value_norm.is_some() {
            more.push("values are normalized per head".to_owned());
        }
        if self.shared {
            more.push("keys and values are those of the last layer that made some and sees tokens alike".to_owned());
        }
        if self.temperature {
            more.push("queries grow with the logarithm of their position".to_owned());
        }
        if self.chunk {
            more.push("a token sees its own chunk of `attention_chunk_size` tokens".to_owned());
        }
        if self.window {
            more.push("a token sees `sliding_window` tokens, itself included".to_owned());
        }
        std::iter::once(scores).chain(more).collect::<Vec<_>>().join("; ") + "."
    }
}
