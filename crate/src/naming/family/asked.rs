//! The parts that the config.json of an unknown type asks for, as far as its fields say so, and which of them some known
//! family has.

use serde_json::Value;

use super::{Families, Family, FieldTreatment};
use crate::spec::Activation;

/// Parts by the fields of config.json that ask for them.
const PARTS: &[(&str, &[&str])] = &[
    ("RMSNorm", &["rms_norm_eps", "norm_eps"]),
    ("LayerNorm", &["layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"]),
    ("grouped-query attention", &["num_key_value_heads"]),
    ("biases of attention", &["attention_bias", "use_qkv_bias", "qkv_bias"]),
    ("norms of queries and keys", &["use_qk_norm", "qk_norm", "qk_layernorm"]),
    ("windows", &["sliding_window"]),
    ("chunks of attention", &["attention_chunk_size"]),
    ("caps on attention scores", &["attn_logit_softcapping"]),
    ("caps on logits", &["final_logit_softcapping"]),
    ("a scale of queries", &["query_pre_attn_scalar"]),
    ("rotary positions", &["rope_theta", "rope_parameters", "rotary_emb_base"]),
    ("rotation of a part of each head", &["partial_rotary_factor", "rotary_pct", "rotary_dim"]),
    ("ALiBi", &["alibi", "use_alibi"]),
    ("parallel branches", &["use_parallel_residual", "parallel_attn", "parallel_residual"]),
    (
        "multipliers",
        &["embedding_multiplier", "residual_multiplier", "attention_multiplier", "logits_scaling", "logit_scale"],
    ),
    ("experts", &["num_experts", "num_local_experts", "n_routed_experts"]),
    ("shared experts", &["n_shared_experts", "shared_expert_intermediate_size"]),
    ("latent attention", &["kv_lora_rank"]),
    ("linear attention", &["linear_num_key_heads", "linear_conv_kernel_dim"]),
    ("state-space layers", &["mamba_d_state", "mamba_num_heads", "ssm_state_size", "state_size"]),
    ("short convolutions", &["conv_L_cache"]),
    ("heads for several tokens", &["num_nextn_predict_layers"]),
    ("a model for images", &["vision_config"]),
    ("a model for sound", &["audio_config"]),
];

/// Fields that name the activation.
const ACTIVATIONS: &[&str] = &["hidden_act", "activation_function", "hidden_activation", "ffn_act_fn"];

/// Other names of activations that are known.
const OTHER_ACTIVATIONS: &[&str] = &["swish", "gelu_new"];

/// A part that a config.json asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedPart {
    /// What it is.
    pub name: String,
    /// The field that asks for it, and its value.
    pub field: String,
    /// A family that has it.
    pub family: Option<String>,
}

impl AskedPart {
    /// Returns the part in a line.
    pub fn in_words(&self) -> String {
        match &self.family {
            Some(family) => format!("{} (`{}`; known from {family})", self.name, self.field),
            None => format!("{} (`{}`)", self.name, self.field),
        }
    }
}

/// Returns the parts that a config.json asks for; those of its text model, if it has others.
pub(super) fn asked_parts(json: &Value, families: &Families) -> Vec<AskedPart> {
    let text = json.get("text_config").filter(|text| text.is_object()).unwrap_or(json);
    let value = |field: &str| text.get(field).or_else(|| json.get(field)).filter(|value| says_something(value));
    let shown = |field: &str, value: &Value| match value {
        Value::Object(_) | Value::Array(_) => field.to_owned(),
        plain => format!("{field}: {plain}"),
    };
    let mut found: Vec<AskedPart> = PARTS
        .iter()
        .filter_map(|(name, fields)| {
            let (field, value) = fields.iter().find_map(|field| Some((field, value(field)?)))?;
            let known = families.of_type("llama").into_iter().chain(families.iter());
            let family = known.into_iter().find(|family| fields.iter().any(|field| maps(family, field)));
            let family = family.map(|family| family.model_type().to_owned());
            Some(AskedPart { name: (*name).to_owned(), field: shown(field, value), family })
        })
        .collect();
    if let Some((field, Value::String(word))) = ACTIVATIONS.iter().find_map(|field| Some((field, value(field)?))) {
        let known = Activation::from_name(word).is_some() || OTHER_ACTIVATIONS.contains(&word.as_str());
        found.push(AskedPart {
            name: "an activation".to_owned(),
            field: format!("{field}: {word}"),
            family: known.then(|| "several families".to_owned()),
        });
    }
    found
}

/// Whether a family says what becomes of a field, beyond values that it must have.
fn maps(family: &Family, field: &str) -> bool {
    let used = |treatment: &FieldTreatment| matches!(treatment, FieldTreatment::Mapped | FieldTreatment::Read);
    family.fields().iter().any(|known| known.name == field && used(&known.treatment))
}

/// Returns false for values that ask for nothing: null, false, an empty list, a factor of one.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0 && number != 1.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(true) => true,
    }
}
