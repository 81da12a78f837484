//! The choices of parts in a config.json: read with the family's defaults.

use serde_json::{Map, Value, json};

use super::architecture::Defaults;
use super::choices::{
    AlibiConfig, AlibiSlopes, Dropouts, NormConfig, NormKind, NormPlacement, PositionEmbedding, RopeConfig, RopeScaling,
};
use super::config::{ConfigError, LayerRun, ModelConfig};
use super::config_json::Side;
use super::fields::Fields;
use super::{Activation, Architecture, Initialization};

/// A choice among values that know their names; nothing if the file makes no choices or not this one.
pub(super) fn choice<T: Copy>(
    part: Option<&Fields<'_>>,
    field: &str,
    values: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<Option<T>, ConfigError> {
    let words: Vec<(&str, T)> = values.iter().map(|&value| (name(value), value)).collect();
    part.map_or(Ok(None), |part| part.word(field, &words))
}

pub(super) fn norm_from(
    fields: &Fields<'_>,
    part: Option<&Fields<'_>>,
    usual: &Defaults,
) -> Result<NormConfig, ConfigError> {
    let kinds = [NormKind::RmsNorm, NormKind::LayerNorm];
    let kind = choice(part, "norm_type", &kinds, NormKind::name)?.unwrap_or(usual.norm.kind);
    let eps = fields.number(kind.eps_field())?.unwrap_or(usual.norm.eps);
    Ok(NormConfig { kind, eps })
}

pub(super) fn placement_from(part: Option<&Fields<'_>>, usual: &Defaults) -> Result<NormPlacement, ConfigError> {
    let Some(part) = part else { return Ok(usual.placement) };
    let alpha = part.number("deepnet_alpha")?;
    let placements = [NormPlacement::Pre, NormPlacement::Post, NormPlacement::DeepNet { alpha }];
    match choice(Some(part), "norm_placement", &placements, NormPlacement::name)?.unwrap_or(usual.placement) {
        NormPlacement::DeepNet { .. } => Ok(NormPlacement::DeepNet { alpha }),
        other => Ok(other),
    }
}

pub(super) fn position_from(
    fields: &Fields<'_>,
    part: Option<&Fields<'_>>,
    usual: &Defaults,
) -> Result<PositionEmbedding, ConfigError> {
    let names = ["rope", "alibi", "sinusoidal", "learned", "none"];
    match choice(part, "position_embedding", &names, |name| name)?.unwrap_or(usual.position.name()) {
        "rope" => Ok(PositionEmbedding::Rope(rope_from(fields)?)),
        "alibi" => {
            let usual = match &usual.position {
                PositionEmbedding::Alibi(alibi) => *alibi,
                _ => AlibiConfig { slopes: AlibiSlopes::Standard, trainable: false },
            };
            let slopes = [AlibiSlopes::Standard, AlibiSlopes::Alternate, AlibiSlopes::Half];
            let slopes = choice(part, "alibi_slopes", &slopes, AlibiSlopes::name)?.unwrap_or(usual.slopes);
            Ok(PositionEmbedding::Alibi(AlibiConfig {
                slopes,
                trainable: fields.flag("alibi_trainable", usual.trainable)?,
            }))
        }
        "sinusoidal" => Ok(PositionEmbedding::Sinusoidal),
        "learned" => Ok(PositionEmbedding::Learned),
        _ => Ok(PositionEmbedding::None),
    }
}

/// The families of transformers are only built with the activation they were published with.
pub(super) fn activation_from(fields: &Fields<'_>, side: Side) -> Result<Option<Activation>, ConfigError> {
    let known = match side {
        Side::HuggingFace => &[Activation::Silu],
        Side::Native => Activation::ALL,
    };
    choice(Some(fields), "hidden_act", known, Activation::name)
}

/// The window that all layers share. Qwen3 has one only where `use_sliding_window` says so, and may give it to some
/// layers only, which is refused.
pub(super) fn window_from(
    fields: &Fields<'_>,
    side: Side,
    architecture: Architecture,
) -> Result<Option<usize>, ConfigError> {
    let window = fields.size("sliding_window")?;
    match (architecture, side) {
        (Architecture::Qwen3, _) if !fields.flag("use_sliding_window", side == Side::Native)? => Ok(None),
        (Architecture::Qwen3, Side::HuggingFace) => {
            let full = fields.size("max_window_layers")?.unwrap_or(28).min(fields.required("num_hidden_layers")?);
            if full > 0 && window.is_some() {
                let supported = "0 (a window in every layer), or use_sliding_window false";
                return Err(fields.unsupported("max_window_layers", full, supported));
            }
            Ok(window)
        }
        (Architecture::Llama, Side::HuggingFace) => Ok(None),
        _ => Ok(window),
    }
}

pub(super) fn dropout_from(
    fields: &Fields<'_>,
    part: Option<&Fields<'_>>,
    usual: &Defaults,
) -> Result<Dropouts, ConfigError> {
    let of = |field: &str, usual: f64| part.map_or(Ok(usual), |part| Ok(part.number(field)?.unwrap_or(usual)));
    Ok(Dropouts {
        embedding: of("embedding_dropout", usual.dropout.embedding)?,
        layer: of("layer_dropout", usual.dropout.layer)?,
        residual: of("residual_dropout", usual.dropout.residual)?,
        attention: fields.number("attention_dropout")?.unwrap_or(usual.dropout.attention),
        activation: of("activation_dropout", usual.dropout.activation)?,
    })
}

/// A recipe's name, or a list of `{match: REGEX, init: DISTRIBUTION}`.
pub(super) fn initialization_from(part: Option<&Fields<'_>>, usual: &Defaults) -> Result<Initialization, ConfigError> {
    let value = part.and_then(|part| Some((part, part.get("initialization")?)));
    let Some((part, value)) = value else { return Ok(usual.initialization.clone()) };
    let expected = "llama, deepnet, scaled_embedding, pytorch, or a list such as \
                    [{match: 'attn\\.query', init: {normal: {std: 0.02}}}]";
    let read = match value {
        Value::Array(_) => serde_json::from_value(value.clone()).map(Initialization::Rules),
        _ => serde_json::from_value(value.clone()),
    };
    read.map_err(|error| part.invalid("initialization", &json!(format!("{value} ({error})")), expected))
}

/// Fields that layers of a stack may set on their own.
const LAYER_FIELDS: &[&str] = &[
    "activation_dropout",
    "alibi_slopes",
    "alibi_trainable",
    "attention_bias",
    "attention_dropout",
    "attention_type",
    "feedforward",
    "gated_mlp",
    "head_dim",
    "hidden_act",
    "intermediate_size",
    "layer_dropout",
    "mlp_bias",
    "norm_placement",
    "norm_type",
    "num_attention_heads",
    "num_key_value_heads",
    "position_embedding",
    "qk_norm",
    "residual_dropout",
    "rope_parameters",
    "sliding_window",
];

/// `layers: [{count: 2, sliding_window: 512}, {feedforward: false}]`: each entry is the model with some fields set otherwise.
pub(super) fn layers_from(fields: &Fields<'_>, architecture: Architecture) -> Result<Vec<LayerRun>, ConfigError> {
    let Some(value) = fields.get("layers") else { return Ok(Vec::new()) };
    let list = value.as_array().ok_or_else(|| fields.invalid("layers", value, "a list of layers"))?;
    let mut runs = Vec::with_capacity(list.len());
    for (index, entry) in list.iter().enumerate() {
        let Some(entry) = entry.as_object() else {
            return Err(fields.invalid("layers", entry, "a list of objects such as {count: 2, sliding_window: 512}"));
        };
        let origin = format!("{}, layers, entry {index}", fields.origin);
        let own = Fields { object: entry, origin: &origin, family: fields.family };
        let count = own.size("count")?.unwrap_or(1);
        let mut set = entry.clone();
        set.remove("count");
        if let Some(unknown) = set.keys().find(|key| !LAYER_FIELDS.contains(&key.as_str())) {
            return Err(own.unsupported("layer field", unknown, &LAYER_FIELDS.join(", ")));
        }
        if count == 0 || count > 10_000 {
            return Err(own.invalid("count", &json!(count), "a number from 1 to 10000"));
        }
        let mut object = fields.object.clone();
        object.remove("layers");
        if set.contains_key("num_attention_heads") {
            // What follows from the number of heads is the model's only as long as the number is.
            object.remove("head_dim");
            object.remove("num_key_value_heads");
        }
        object.extend(set.clone());
        let whole = Fields { object: &object, origin: &origin, family: fields.family };
        let config = Box::new(ModelConfig::from_fields(&whole, Side::Native, architecture)?);
        // Sizes of heads that follow from a run's other fields are set too: the model's own would hold otherwise when the
        // configuration is written whole and read again.
        if ["attention_type", "num_attention_heads"].iter().any(|field| set.contains_key(*field)) {
            for (field, size) in [
                ("head_dim", config.head_dim),
                ("num_attention_heads", config.num_attention_heads),
                ("num_key_value_heads", config.num_key_value_heads),
            ] {
                set.insert(field.to_owned(), json!(size));
            }
        }
        if let (PositionEmbedding::Rope(rope), true) = (&config.position, set.contains_key("position_embedding")) {
            set.extend(rope_fields(rope).into_iter().filter(|(field, _)| field == "rope_parameters"));
        }
        runs.push(LayerRun { count, set, config });
    }
    Ok(runs)
}

/// Rotary parameters in the 5.x place (`rope_parameters`), else in the 4.x places (`rope_theta`, `rope_scaling`).
fn rope_from(fields: &Fields<'_>) -> Result<RopeConfig, ConfigError> {
    let parameters = fields.object("rope_parameters")?;
    let scaling = fields.object("rope_scaling")?;
    let place = if parameters.is_some() { "rope_parameters" } else { "rope_scaling" };
    let origin = format!("{}, {place}", fields.origin);
    let empty = Map::new();
    let rope = Fields { object: parameters.or(scaling).unwrap_or(&empty), origin: &origin, family: fields.family };
    let partial = rope.number("partial_rotary_factor")?.or(fields.number("partial_rotary_factor")?).unwrap_or(1.0);
    if partial != 1.0 {
        return Err(rope.unsupported("partial_rotary_factor", partial, "1.0"));
    }
    let theta = rope.number("rope_theta")?.or(fields.number("rope_theta")?).unwrap_or(10_000.0);
    let scaling = match rope.text("rope_type")?.or(rope.text("type")?).unwrap_or("default") {
        "default" => None,
        "llama3" => {
            let number = |field| rope.number(field)?.ok_or_else(|| rope.missing(field));
            Some(RopeScaling::Llama3 {
                factor: number("factor")?,
                low_freq_factor: number("low_freq_factor")?,
                high_freq_factor: number("high_freq_factor")?,
                original_max_position_embeddings: rope.required("original_max_position_embeddings")?,
            })
        }
        other => {
            return Err(rope.unsupported("rope_type", other, "default, llama3"));
        }
    };
    Ok(RopeConfig { theta, scaling })
}

/// Rotary parameters as both generations of transformers read them.
pub(super) fn rope_fields(rope: &RopeConfig) -> Map<String, Value> {
    let mut parameters = json!({ "rope_theta": rope.theta, "rope_type": "default" });
    let mut scaling = Value::Null;
    if let Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings }) =
        &rope.scaling
    {
        scaling = json!({
            "factor": factor,
            "high_freq_factor": high_freq_factor,
            "low_freq_factor": low_freq_factor,
            "original_max_position_embeddings": original_max_position_embeddings,
            "rope_type": "llama3",
        });
        parameters = scaling.clone();
        parameters["rope_theta"] = json!(rope.theta);
    }
    let fields =
        [("rope_parameters", parameters), ("rope_scaling", scaling), ("rope_theta", json!(rope.theta))].into_iter();
    fields.map(|(field, value)| (field.to_owned(), value)).collect()
}
