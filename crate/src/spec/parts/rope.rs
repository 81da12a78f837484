//! Rotary parameters, read and written in the styles of transformers 4 and 5.

use serde_json::{Map, Value, json};

use super::position::{RopeConfig, RopeScaling};
use crate::spec::config::ConfigError;
use crate::spec::fields::Fields;

/// Keys of rotary parameters, and whether they have a meaning without scaling.
const ROPE_KEYS: &[(&str, bool)] = &[
    ("rope_theta", true),
    ("rope_type", true),
    ("type", true),
    ("partial_rotary_factor", true),
    ("factor", false),
    ("low_freq_factor", false),
    ("high_freq_factor", false),
    ("original_max_position_embeddings", false),
];

/// Rotary parameters in the 5.x place (`rope_parameters`) or the 4.x places (`rope_theta`, `rope_scaling`). A file has both with
/// the same meaning, unless the newer one was edited.
pub(super) fn rope_from(fields: &Fields<'_>) -> Result<RopeConfig, ConfigError> {
    let parameters = fields.object("rope_parameters")?.filter(|rope| !rope.is_empty());
    let scaling = fields.object("rope_scaling")?.filter(|rope| !rope.is_empty());
    let older = scaling.is_some() && parameters.is_none();
    let (place, object) = if older { ("rope_scaling", scaling) } else { ("rope_parameters", parameters) };
    let origin = format!("{}, {place}", fields.origin);
    let empty = Map::new();
    let rope = Fields { object: object.unwrap_or(&empty), origin: &origin, ..*fields };
    if let Some((kind, _)) = rope.object.iter().find(|(_, value)| value.is_object()) {
        return Err(rope.unsupported("rotary parameters of their own for", kind, "one set for all layers"));
    }
    if fields.strict {
        if parameters.is_some() && scaling.is_some() {
            return Err(fields.no_effect("rope_scaling", "remove it, or remove rope_parameters"));
        }
        let known = |key: &str| ROPE_KEYS.iter().any(|(known, _)| *known == key);
        if let Some(unknown) = rope.object.keys().find(|key| !known(key)) {
            let known: Vec<&str> = ROPE_KEYS.iter().map(|(known, _)| *known).collect();
            return Err(rope.unknown("rotary parameter", unknown, &known, &format!("use {}", known.join(", "))));
        }
    }
    let partial = rope.number("partial_rotary_factor")?.or(fields.number("partial_rotary_factor")?).unwrap_or(1.0);
    if partial != 1.0 {
        return Err(rope.unsupported("partial_rotary_factor", partial, "1.0"));
    }
    let (inner, outer) = (rope.number("rope_theta")?, fields.number("rope_theta")?);
    if fields.strict && inner.is_some() && outer.is_some() && inner != outer {
        return Err(fields.no_effect("rope_theta", &format!("remove it, or the rope_theta in {place}")));
    }
    let theta = inner.or(outer).unwrap_or(RopeConfig::PLAIN.theta);
    let scaling = match rope.text("rope_type")?.or(rope.text("type")?).unwrap_or("default") {
        "default" => {
            let unused = ROPE_KEYS.iter().find(|(key, plain)| !plain && rope.get(key).is_some());
            if let (Some((key, _)), true) = (unused, fields.strict) {
                return Err(rope.no_effect(key, "add rope_type: llama3, or remove it"));
            }
            None
        }
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
