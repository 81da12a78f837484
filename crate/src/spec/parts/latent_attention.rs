//! Latent attention (DeepSeek-AI 2024): keys and values of all heads are made of one compressed vector for each token.

use serde_json::json;

use super::attention::AttentionKind;
use super::field::{Field, FieldKind};
use super::{RopeScaling, linear, norm};
use crate::spec::config::{ConfigError, ModelConfig};
use crate::spec::initialization::InitRules;
use crate::spec::{Cost, CostScope, LatentForm, Leaf, Mixer, Node, NormForm, Part, PositionEmbedding, Role};

pub(super) fn used(config: &ModelConfig) -> bool {
    config.attention == AttentionKind::Latent
}

pub(super) const LATENT: &str = "attention_type: latent";

/// Declares the fields.
macro_rules! latent_attention_fields {
    ($next:ident $($rest:tt)*) => { $next! { $($rest)*
        part "latent_attention" "Attention whose keys and values are made of one compressed vector for each token" {
            /// Width of the compressed queries; null if queries are made of the token itself.
            q_lora_rank: Option<usize> = None => [latent_attention::QUERY_RANK];
            /// Width of the compressed keys and values.
            kv_lora_rank: usize = 512, {
                .by_layer().needs(latent_attention::LATENT, latent_attention::used).exported(latent_attention::used)
            };
            /// Width of the part of a query and key that is not rotated.
            qk_nope_head_dim: usize = 128, {
                .by_layer().needs(latent_attention::LATENT, latent_attention::used).exported(latent_attention::used)
            };
            /// Width of the part of a query and key that is rotated; all heads share that part of a key.
            qk_rope_head_dim: usize = 64, {
                .by_layer().needs(latent_attention::LATENT, latent_attention::used).exported(latent_attention::used)
            };
            /// Width of a head's values.
            v_head_dim: usize = 128, {
                .by_layer().needs(latent_attention::LATENT, latent_attention::used).exported(latent_attention::used)
            };
            /// Whether neighbors rotate together, instead of halves.
            rope_interleaved: bool = true, { .by_layer().needs(latent_attention::LATENT, latent_attention::used) };
            /// Added to the mean square inside the norms of compressed vectors.
            latent_norm_eps: f64 = 1e-6, {
                .by_layer().positive().needs(latent_attention::LATENT, latent_attention::used)
                .exported(latent_attention::used)
            };
        }
    } };
}
pub(super) use latent_attention_fields;

pub(super) const QUERY_RANK: Field = Field::new(
    "q_lora_rank",
    "Width of the compressed queries; null if queries are made of the token itself",
    FieldKind::OptionalSize,
    |reading, config| {
        config.q_lora_rank = reading.fields.size("q_lora_rank")?;
        Ok(())
    },
    |config| Some(json!(config.q_lora_rank)),
)
.by_layer()
.needs(LATENT, used)
.exported(|config| used(config) && config.q_lora_rank.is_some());

/// Checks that the part has what it needs.
pub(super) fn validate(config: &ModelConfig, fault: super::Fault<'_>) -> Result<(), ConfigError> {
    if !used(config) {
        return Ok(());
    }
    if !matches!(config.position, PositionEmbedding::Rope(_)) {
        return Err(fault("position_embedding", config.position.name().to_owned(), "rope (attention_type latent)"));
    }
    if config.num_key_value_heads != config.num_attention_heads {
        let expected = format!("num_attention_heads ({}), which share one vector", config.num_attention_heads);
        return Err(fault("num_key_value_heads", config.num_key_value_heads.to_string(), &expected));
    }
    if config.head_dim != config.qk_rope_head_dim {
        let expected = format!("qk_rope_head_dim ({}), the part that is rotated", config.qk_rope_head_dim);
        return Err(fault("head_dim", config.head_dim.to_string(), &expected));
    }
    Ok(())
}

/// The norm of a compressed vector.
pub(crate) fn latent_norm(config: &ModelConfig, dim: usize) -> NormForm {
    NormForm { eps: config.latent_norm_eps, ..norm::form(config, dim) }
}

/// YaRN's second factor on scores, by which DeepSeek's models multiply twice.
fn growth(config: &ModelConfig) -> f64 {
    let PositionEmbedding::Rope(rope) = &config.position else { return 1.0 };
    match &rope.scaling {
        Some(RopeScaling::Yarn(yarn)) => {
            let factor = yarn.factor.unwrap_or(1.0);
            let mscale = yarn.mscale_all_dim.unwrap_or(0.0);
            if factor > 1.0 && mscale != 0.0 { 0.1 * mscale * factor.ln() + 1.0 } else { 1.0 }
        }
        _ => 1.0,
    }
}

/// Returns the factor on the products of queries and keys.
pub(crate) fn scale(config: &ModelConfig) -> f64 {
    let width = config.qk_nope_head_dim + config.qk_rope_head_dim;
    config.attention_scale.unwrap_or_else(|| (width as f64).powf(-0.5) * growth(config).powi(2))
}

pub(super) fn node(config: &ModelConfig, rules: &InitRules) -> Node {
    let (hidden, heads, bias) = (config.hidden_size, config.num_attention_heads, config.attention_bias);
    let (nope, rope, value) = (config.qk_nope_head_dim, config.qk_rope_head_dim, config.v_head_dim);
    let rank = config.kv_lora_rank;
    let queries = heads * (nope + rope);
    let norm = |name, role, dim| Node::leaf(name, role, Leaf::Norm(latent_norm(config, dim)));
    let mut children = match config.q_lora_rank {
        Some(rank) => vec![
            linear("query_a_linear", Role::QueryDown, (hidden, rank), bias, rules),
            norm("query_a_norm", Role::QueryLatentNorm, rank),
            linear("query_b_linear", Role::QueryUp, (rank, queries), false, rules),
        ],
        None => vec![linear("query_linear", Role::QueryUp, (hidden, queries), false, rules)],
    };
    children.extend([
        linear("key_value_a_linear", Role::LatentDown, (hidden, rank + rope), bias, rules),
        norm("key_value_a_norm", Role::LatentNorm, rank),
        linear("key_value_b_linear", Role::LatentUp, (rank, heads * (nope + value)), false, rules),
        linear(
            "output_linear",
            Role::Output,
            (heads * value, hidden),
            config.attention_output_bias.unwrap_or(bias),
            rules,
        ),
    ]);
    let form = LatentForm {
        heads,
        nope,
        rope,
        value,
        rank,
        position: config.position.clone(),
        interleaved: config.rope_interleaved,
        scale: scale(config),
        window: config.sliding_window,
        dropout: config.dropout.attention,
    };
    Node::new("attention", Part::Mixer(Mixer::LatentAttention(form)), children)
}

/// Adds the pairs of tokens, what a cache keeps, and what attention leaves for backward.
pub(in crate::spec) fn cost(form: &LatentForm, scope: CostScope, cost: &mut Cost) {
    let heads = form.heads as u64;
    let width = (form.nope + form.rope) as u64;
    super::attention::pairs([form.heads, form.heads, form.nope + form.rope], form.window, scope, cost);
    // A cache keeps compressed vectors and the rotated part of keys.
    let (kept, seen) = ((form.rank + form.rope) as u64, 2 * heads * width);
    let visible = CostScope::visible(form.window, scope.context);
    cost.kv_elements = cost.kv_elements + kept - seen;
    cost.kv_full_context = cost.kv_full_context + kept * visible - seen * visible;
    cost.activations += 6 * heads * width + 2 * heads * form.value as u64 + 2 * kept + scope.hidden;
}
