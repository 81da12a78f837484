//! Self-attention.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::declare::{words, words_or_parts};
use super::field::Reading;
use super::{NormKind, gated_delta_net, latent_attention, linear, mamba, norm, short_conv, user};
use crate::spec::config::{ConfigError, ModelConfig};
use crate::spec::initialization::InitRules;
use crate::spec::{
    Cost, CostScope, Init, KeySharing, Leaf, Mixer, MixerKind, Node, NormForm, Part, PositionEmbedding, Role,
    ScoreForm, Temperature, UserPart,
};

/// Shapes of self-attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttentionKind {
    /// Query, key, value and output projections; keys and values may be shared by groups of query heads.
    MultiHead,
    /// One head over the whole width: scores x W xᵀ / sqrt(d), and values that are not projected again.
    SingleHead,
    /// Keys and values of all heads made of one compressed vector for each token.
    Latent,
    /// Linear attention with a state (`gated_delta_net`).
    GatedDeltaNet,
    /// A gated convolution over the last tokens (`short_conv`).
    ShortConv,
    /// A selective state space of each channel (`mamba`).
    Mamba,
    /// A selective state space of each head (`mamba`).
    Mamba2,
    /// None: such layers have a feed-forward part only.
    None,
    /// A part that a user wrote.
    #[serde(untagged)]
    User(UserPart),
}

words_or_parts!(AttentionKind in MixerKind::Attention {
    MultiHead = "multi_head",
    SingleHead = "single_head",
    Latent = "latent",
    GatedDeltaNet = "gated_delta_net",
    ShortConv = "short_conv",
    Mamba = "mamba",
    Mamba2 = "mamba2",
    None = "none",
});

impl AttentionKind {
    /// Returns the name of the parameter that holds ALiBi's slopes.
    pub fn slopes_name(self) -> &'static str {
        match self {
            AttentionKind::MultiHead
            | AttentionKind::Latent
            | AttentionKind::GatedDeltaNet
            | AttentionKind::ShortConv
            | AttentionKind::Mamba
            | AttentionKind::Mamba2
            | AttentionKind::None
            | AttentionKind::User(_) => "alibi_slopes",
            AttentionKind::SingleHead => "alibi_slope",
        }
    }
}

/// What the norms of queries and keys run over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum QkNormScope {
    /// Each head, with the same factors for all of them.
    Head,
    /// The whole projection.
    Width,
    /// Each head, with factors of its own.
    EachHead,
}

words!(QkNormScope { Head = "head", Width = "width", EachHead = "each_head" });

pub(super) fn is_multi_head(config: &ModelConfig) -> bool {
    config.attention == AttentionKind::MultiHead
}

pub(super) fn has_qk_norm(config: &ModelConfig) -> bool {
    config.qk_norm && is_multi_head(config)
}

/// Returns whether the layer projects keys.
pub(super) fn makes_keys(config: &ModelConfig) -> bool {
    is_multi_head(config) && !config.kv_shared
}

pub(super) fn has_qk_norm_and_rope(config: &ModelConfig) -> bool {
    has_qk_norm(config) && matches!(config.position, PositionEmbedding::Rope(_))
}

/// Declares the fields.
macro_rules! attention_fields {
    ($next:ident $($rest:tt)*) => { $next! { $($rest)*
        part "attention" "Causal self-attention" {
            /// The shape of self-attention.
            attention as "attention_type": AttentionKind = AttentionKind::MultiHead, { .by_layer() };
            /// Query heads (and key and value heads, unless given).
            num_attention_heads: usize = 0, {
                .by_layer().always_written().otherwise("1 where attention_type is single_head, mamba, mamba2 or none, else required")
                .read_by(attention::read_heads).exported(|config| config.attention != AttentionKind::SingleHead)
            };
            /// Key and value heads; a divisor of the query heads.
            num_key_value_heads: usize = 0, {
                .by_layer().always_written().otherwise("num_attention_heads").read_by(attention::read_key_value_heads)
                .exported(|config| config.num_key_value_heads != config.num_attention_heads)
            };
            /// Width of one head.
            head_dim: usize = 0, {
                .by_layer().always_written().otherwise("hidden_size / num_attention_heads").read_by(attention::read_head_dim)
                .exported(|config| config.attention != AttentionKind::SingleHead)
            };
            /// How many tokens a query sees, itself included; null for all earlier ones.
            sliding_window: Option<usize> = None
                => [window::SLIDING_WINDOW, window::USE_SLIDING_WINDOW, window::MAX_WINDOW_LAYERS];
            /// How many tokens a chunk has, beyond which a query does not see; null for no chunks.
            attention_chunk_size: Option<usize> = None, {
                .by_layer().exported(|config| config.attention_chunk_size.is_some())
                .needs("attention_type: multi_head", attention::is_multi_head)
            };
            /// Whether keys and values are those of the last layer before that makes its own and has the same window.
            kv_shared: bool = false, { .by_layer().needs("attention_type: multi_head", attention::is_multi_head) };
            /// Whether values are the keys, before norm and rotation.
            keys_as_values: bool = false, { .by_layer().needs("kv_shared: false", attention::makes_keys) };
            /// Whether values are divided by the root of the mean square of each head.
            value_norm: bool = false, { .by_layer().needs("kv_shared: false", attention::makes_keys) };
            /// Whether queries and keys are normalized.
            qk_norm: bool = false, { .by_layer().needs("attention_type: multi_head", attention::is_multi_head) };
            /// What their norms run over: each head (one vector of factors, or one for each head), or the whole width.
            qk_norm_scope: QkNormScope = QkNormScope::Head, { .by_layer().needs("qk_norm: true", attention::has_qk_norm) };
            /// Whether they are normalized after the rotation by position.
            qk_norm_after_rope: bool = false, {
                .by_layer().needs("qk_norm: true and position_embedding: rope", attention::has_qk_norm_and_rope)
            };
            /// Whether the norms of queries and keys have trained factors, where norm_weight is true.
            qk_norm_weight: bool = true, { .by_layer().needs("qk_norm: true", attention::has_qk_norm) };
            /// Whether the norms of queries and keys have biases (LayerNorm only); null for norm_bias.
            qk_norm_bias: Option<bool> = None, {
                .by_layer().needs(
                    "qk_norm: true and norm_type: layer_norm",
                    |config| attention::has_qk_norm(config) && config.norm.kind == NormKind::LayerNorm,
                )
            };
            /// Whether the attention projections have biases.
            attention_bias: bool = false, { .by_layer().always_written() };
            /// Whether the output projection has a bias; null for attention_bias.
            attention_output_bias: Option<bool> = None, {
                .by_layer().needs("attention_type: multi_head", attention::is_multi_head)
            };
            /// Factor on the products of queries and keys; null for head_dim^-0.5.
            attention_scale: Option<f64> = None, {
                .by_layer().positive().exported(|config| config.attention_scale.is_some())
                .needs("attention_type: multi_head", attention::is_multi_head)
            };
            /// Factor on keys, and so on scores.
            key_multiplier: f64 = 1.0, {
                .by_layer().positive().exported(|config| config.key_multiplier != 1.0)
                .needs("attention_type: multi_head", attention::is_multi_head)
            };
            /// Factor on what enters attention.
            attention_input_multiplier: f64 = 1.0, {
                .by_layer().exported(|config| config.attention_input_multiplier != 1.0)
                .needs("attention_type: multi_head", attention::is_multi_head)
            };
            /// Factor on what leaves attention.
            attention_output_multiplier: f64 = 1.0, {
                .by_layer().exported(|config| config.attention_output_multiplier != 1.0)
                .needs("attention_type: multi_head", attention::is_multi_head)
            };
            /// Queries at position p are multiplied by 1 + this number · ln(1 + ⌊(p + 1) / attention_temperature_floor⌋); null for
            /// no such factor.
            attention_temperature: Option<f64> = None, {
                .by_layer().positive().exported(|config| config.attention_temperature.is_some())
                .needs("attention_type: multi_head", attention::is_multi_head)
            };
            /// Tokens of a period in which that factor does not change.
            attention_temperature_floor: usize = 8192, {
                .by_layer().exported(|config| config.attention_temperature.is_some())
                .needs("attention_temperature: 0.1 or another number", |config| config.attention_temperature.is_some())
            };
            /// Scores saturate at ± this number: cap · tanh(score / cap); null for no cap.
            attention_softcap: Option<f64> = None, {
                .by_layer().positive().exported(|config| config.attention_softcap.is_some())
                .needs("attention_type: multi_head", attention::is_multi_head)
            };
            /// Whether each head has one more logit, which takes attention from all tokens (gpt-oss).
            attention_sinks: bool = false, { .by_layer().needs("attention_type: multi_head", attention::is_multi_head) };
            /// Whether the result of each head is multiplied by the sigmoid of a projection of x (Qwen3-Next).
            attention_gate: bool = false, { .by_layer().needs("attention_type: multi_head", attention::is_multi_head) };
            /// Queries, keys and values are clamped to ± this number; null for no clamp.
            qkv_clip: Option<f64> = None, {
                .by_layer().positive().exported(|config| config.qkv_clip.is_some())
                .needs("attention_type: multi_head", attention::is_multi_head)
            };
        }
    } };
}
pub(super) use attention_fields;

pub(super) fn read_heads(reading: &Reading<'_>, config: &mut ModelConfig) -> Result<(), ConfigError> {
    config.num_attention_heads = match config.attention {
        AttentionKind::MultiHead
        | AttentionKind::Latent
        | AttentionKind::GatedDeltaNet
        | AttentionKind::ShortConv
        | AttentionKind::User(_) => reading.fields.required("num_attention_heads")?,
        // Layers with attention say how many they have.
        AttentionKind::Mamba | AttentionKind::Mamba2 | AttentionKind::None => {
            reading.fields.size("num_attention_heads")?.unwrap_or(1)
        }
        AttentionKind::SingleHead => 1,
    };
    Ok(())
}

pub(super) fn read_key_value_heads(reading: &Reading<'_>, config: &mut ModelConfig) -> Result<(), ConfigError> {
    config.num_key_value_heads = config.num_attention_heads;
    reading.take("num_key_value_heads", &mut config.num_key_value_heads)
}

pub(super) fn read_head_dim(reading: &Reading<'_>, config: &mut ModelConfig) -> Result<(), ConfigError> {
    let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
    config.head_dim = match reading.fields.size("head_dim")? {
        Some(head_dim) => head_dim,
        None if config.attention == AttentionKind::Latent => config.qk_rope_head_dim,
        None if heads > 0 && hidden.is_multiple_of(heads) => hidden / heads,
        None => {
            let expected = format!("a divisor of hidden_size ({hidden}), or set head_dim");
            return Err(reading.fields.invalid("num_attention_heads", &json!(heads), &expected));
        }
    };
    Ok(())
}

/// Checks heads against each other.
pub(in crate::spec) fn validate(config: &ModelConfig, fault: super::Fault<'_>) -> Result<(), ConfigError> {
    if config.sliding_window == Some(0) {
        return Err(fault("sliding_window", "0".to_owned(), "a number from 1, or null"));
    }
    if config.attention_chunk_size == Some(0) {
        return Err(fault("attention_chunk_size", "0".to_owned(), "a number from 1, or null"));
    }
    if config.attention_chunk_size.is_some() && config.sliding_window.is_some() {
        return Err(fault("attention_chunk_size", "set".to_owned(), "null where sliding_window is set"));
    }
    if !config.num_attention_heads.is_multiple_of(config.num_key_value_heads) {
        let expected = format!("a divisor of num_attention_heads ({})", config.num_attention_heads);
        return Err(fault("num_key_value_heads", config.num_key_value_heads.to_string(), &expected));
    }
    if config.attention_softcap.is_some() && matches!(config.position, PositionEmbedding::Alibi(_)) {
        return Err(fault("attention_softcap", "set".to_owned(), "null where position_embedding is alibi"));
    }
    if config.qk_norm_after_rope && config.qk_norm_scope == QkNormScope::Width {
        return Err(fault("qk_norm_scope", "width".to_owned(), "head or each_head where qk_norm_after_rope is true"));
    }
    match config.attention {
        // What the others need is checked in their own files.
        AttentionKind::MultiHead
        | AttentionKind::Latent
        | AttentionKind::GatedDeltaNet
        | AttentionKind::ShortConv
        | AttentionKind::Mamba
        | AttentionKind::Mamba2 => Ok(()),
        AttentionKind::None if !config.feedforward => Err(fault(
            "attention_type",
            "none".to_owned(),
            "another kind where feedforward is false: a layer adds something",
        )),
        AttentionKind::None => Ok(()),
        AttentionKind::SingleHead if (config.num_attention_heads, config.head_dim) != (1, config.hidden_size) => {
            let found = format!("{} of width {}", config.num_attention_heads, config.head_dim);
            Err(fault("num_attention_heads", found, "1 of the model's width (attention_type single_head)"))
        }
        AttentionKind::SingleHead if matches!(config.position, PositionEmbedding::Rope(_)) => {
            let expected =
                "alibi, sinusoidal, learned or none: attention_type single_head has no queries and keys to rotate";
            Err(fault("position_embedding", "rope".to_owned(), expected))
        }
        AttentionKind::User(part) if matches!(config.position, PositionEmbedding::Alibi(_)) => {
            let expected = format!("rope, sinusoidal, learned or none: the part `{}` has no slopes", part.name());
            Err(fault("position_embedding", "alibi".to_owned(), &expected))
        }
        AttentionKind::SingleHead | AttentionKind::User(_) => Ok(()),
    }
}

pub(super) fn node(config: &ModelConfig, sharing: KeySharing, rules: &InitRules) -> Node {
    if let AttentionKind::User(part) = config.attention {
        return user::node("attention", part, config, rules);
    }
    if config.attention == AttentionKind::Latent {
        return latent_attention::node(config, rules);
    }
    if config.attention == AttentionKind::GatedDeltaNet {
        return gated_delta_net::node(config, rules);
    }
    if config.attention == AttentionKind::ShortConv {
        return short_conv::node(config, rules);
    }
    if config.attention == AttentionKind::Mamba {
        return mamba::node(config, rules);
    }
    if config.attention == AttentionKind::Mamba2 {
        return mamba::node2(config, rules);
    }
    let (hidden, bias) = (config.hidden_size, config.attention_bias);
    let (position, window, dropout) = (config.position.clone(), config.sliding_window, config.dropout.attention);
    let queries = config.num_attention_heads * config.head_dim;
    let (mixer, mut children) = match config.attention {
        AttentionKind::MultiHead
        | AttentionKind::Latent
        | AttentionKind::GatedDeltaNet
        | AttentionKind::ShortConv
        | AttentionKind::Mamba
        | AttentionKind::Mamba2
        | AttentionKind::None
        | AttentionKind::User(_) => (
            Mixer::Attention {
                heads: config.num_attention_heads,
                kv_heads: config.num_key_value_heads,
                head_dim: config.head_dim,
                position,
                window,
                chunk: config.attention_chunk_size,
                scores: scores(config),
                sharing,
                dropout,
            },
            projections(config, rules),
        ),
        AttentionKind::SingleHead => (
            Mixer::SingleHeadAttention { dim: hidden, position, window, dropout },
            vec![
                linear("query_key_linear", Role::QueryKey, (hidden, hidden), false, rules),
                linear("value_linear", Role::Value, (hidden, hidden), bias, rules),
            ],
        ),
    };
    if config.attention_gate && is_multi_head(config) {
        children.push(linear("gate_linear", Role::AttentionGate, (hidden, queries), bias, rules));
    }
    if has_qk_norm(config) {
        let norm = |name, role, heads| Node::leaf(name, role, Leaf::Norm(qk_norm(config, heads)));
        children.push(norm("q_norm", Role::QueryNorm, config.num_attention_heads));
        if makes_keys(config) {
            children.push(norm("k_norm", Role::KeyNorm, config.num_key_value_heads));
        }
    }
    if config.value_norm && makes_keys(config) {
        let form = NormForm { weight: false, bias: false, offset: 0.0, ..norm::form(config, config.head_dim) };
        children.push(Node::leaf("v_norm", Role::ValueNorm, Leaf::Norm(NormForm { kind: NormKind::RmsNorm, ..form })));
    }
    if config.attention_sinks && is_multi_head(config) {
        let sinks = Leaf::Tensor { name: "sinks", shape: vec![config.num_attention_heads], init: Init::Zeros };
        children.push(Node::leaf("", Role::Sinks, sinks));
    }
    if let PositionEmbedding::Alibi(alibi) = &config.position
        && alibi.slopes.is_stored()
    {
        // Named by the attention part itself: the leaf adds no segment of its own.
        let slopes = Leaf::AlibiSlopes {
            name: config.attention.slopes_name(),
            heads: config.num_attention_heads,
            slopes: alibi.slopes,
            trainable: alibi.trainable,
        };
        children.push(Node::leaf("", Role::Slopes, slopes));
    }
    Node::new("attention", Part::Mixer(mixer), children)
}

/// Queries, keys, values and output; keys and values where the layer makes its own.
fn projections(config: &ModelConfig, rules: &InitRules) -> Vec<Node> {
    let (hidden, bias) = (config.hidden_size, config.attention_bias);
    let queries = config.num_attention_heads * config.head_dim;
    let keys = config.num_key_value_heads * config.head_dim;
    let mut children = vec![linear("query_linear", Role::Query, (hidden, queries), bias, rules)];
    if makes_keys(config) {
        children.push(linear("key_linear", Role::Key, (hidden, keys), bias, rules));
        if !config.keys_as_values {
            children.push(linear("value_linear", Role::Value, (hidden, keys), bias, rules));
        }
    }
    let output_bias = config.attention_output_bias.unwrap_or(bias);
    children.push(linear("output_linear", Role::Output, (queries, hidden), output_bias, rules));
    children
}

/// What happens to queries, keys and scores besides norms and positions.
fn scores(config: &ModelConfig) -> ScoreForm {
    ScoreForm {
        scale: config.key_multiplier * config.attention_scale.unwrap_or_else(|| 1.0 / (config.head_dim as f64).sqrt()),
        factors: (config.attention_input_multiplier, config.attention_output_multiplier),
        softcap: config.attention_softcap,
        clip: config.qkv_clip,
        norm_scope: config.qk_norm_scope,
        norm_after_rope: config.qk_norm_after_rope,
        temperature: config
            .attention_temperature
            .map(|scale| Temperature { scale, floor: config.attention_temperature_floor }),
    }
}

/// The norm of queries or keys of this many heads.
pub(crate) fn qk_norm(config: &ModelConfig, heads: usize) -> NormForm {
    let (dim, heads) = match config.qk_norm_scope {
        QkNormScope::Head => (config.head_dim, None),
        QkNormScope::Width => (heads * config.head_dim, None),
        QkNormScope::EachHead => (config.head_dim, Some(heads)),
    };
    let form = norm::form(config, dim);
    if !config.qk_norm_weight {
        return NormForm { weight: false, bias: false, offset: 0.0, heads: None, ..form };
    }
    let bias = config.qk_norm_bias.unwrap_or(form.bias) && form.kind == NormKind::LayerNorm && form.weight;
    NormForm { heads, bias, ..form }
}

/// Adds the pairs of tokens, what a cache keeps, and what attention leaves for backward.
pub(in crate::spec) fn cost(node: &Node, mixer: &Mixer, scope: CostScope, cost: &mut Cost) {
    match mixer {
        Mixer::Attention { heads, kv_heads, head_dim, position, window, chunk, sharing, .. } => {
            pairs([*heads, *kv_heads, *head_dim], window.or(*chunk), scope, cost);
            if matches!(sharing, KeySharing::Shared { .. }) {
                // The cache of the other layer holds them.
                let keys = (kv_heads * head_dim) as u64;
                cost.kv_elements -= 2 * keys;
                cost.kv_full_context -= 2 * keys * CostScope::visible(window.or(*chunk), scope.context);
            }
            let (queries, keys) = ((heads * head_dim) as u64, (kv_heads * head_dim) as u64);
            let normed = node.child(Role::QueryNorm).is_some();
            let rotated = matches!(position, PositionEmbedding::Rope(_));
            // Map, exchange, norm, rotation; values are mapped and exchanged only; attention, exchange, output map.
            let times = 2 + u64::from(normed) + u64::from(rotated);
            cost.activations += times * (queries + keys) + 2 * keys + 2 * queries + scope.hidden;
        }
        Mixer::SingleHeadAttention { dim, window, .. } => {
            pairs([1, 1, *dim], *window, scope, cost);
            // x W, values, and the result.
            cost.activations += 3 * *dim as u64;
        }
        Mixer::LatentAttention(_)
        | Mixer::GatedDeltaNet(_)
        | Mixer::Mamba2(_)
        | Mixer::Mamba(_)
        | Mixer::ShortConv { .. }
        | Mixer::GatedFeedForward { .. }
        | Mixer::FeedForward { .. }
        | Mixer::Experts(_)
        | Mixer::LayerInput { .. }
        | Mixer::User(_) => {}
    }
}

pub(super) fn pairs([heads, kv_heads, head_dim]: [usize; 3], window: Option<usize>, scope: CostScope, cost: &mut Cost) {
    let (queries, keys) = ((heads * head_dim) as u64, (kv_heads * head_dim) as u64);
    // The sum over the positions i = 1 … sequence of min(i, window), twice.
    let (sequence, seen) = (scope.sequence, CostScope::visible(window, scope.sequence));
    let twice_sum = seen * (seen + 1) + 2 * (sequence - seen) * seen;
    cost.scores += heads as u64;
    cost.largest_scores = cost.largest_scores.max(heads as u64);
    // q·k and weights·v: two operations each for every head dimension.
    cost.attention_flops += 2 * queries * twice_sum / sequence.max(1);
    cost.kv_elements += 2 * keys;
    cost.kv_full_context += 2 * keys * CostScope::visible(window, scope.context);
}
