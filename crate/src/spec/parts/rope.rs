//! Rotary parameters, read and written in the styles of transformers 4 and 5.

use serde_json::{Map, Value, json};

use super::Fault;
use super::position::{LongRopeScaling, RopeConfig, RopeScaling, YarnScaling};
use crate::spec::config::ConfigError;
use crate::spec::fields::Fields;

/// Keys that have a meaning whatever the type.
const COMMON: &[&str] = &["rope_theta", "rope_type", "type", "partial_rotary_factor"];

/// The types of transformers, each with the keys that it reads.
const TYPES: &[(&str, &[&str])] = &[
    ("default", &[]),
    ("linear", &["factor"]),
    ("dynamic", &["factor"]),
    (
        "yarn",
        &[
            "factor",
            "original_max_position_embeddings",
            "attention_factor",
            "beta_fast",
            "beta_slow",
            "mscale",
            "mscale_all_dim",
            "truncate",
            "llama_4_scaling_beta",
        ],
    ),
    ("proportional", &["factor"]),
    ("longrope", &["short_factor", "long_factor", "factor", "original_max_position_embeddings", "attention_factor"]),
    ("llama3", &["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]),
];

/// Rotary parameters in the 5.x place (`rope_parameters`) or the 4.x places (`rope_theta`, `rope_scaling`). A file has both with
/// the same meaning, unless the newer one was edited. `max_positions` is the model's `max_position_embeddings`.
pub(super) fn rope_from(fields: &Fields<'_>, max_positions: usize) -> Result<RopeConfig, ConfigError> {
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
    if fields.strict && parameters.is_some() && scaling.is_some() {
        return Err(fields.no_effect("rope_scaling", "remove it, or remove rope_parameters"));
    }
    let kind = rope.text("rope_type")?.or(rope.text("type")?).unwrap_or("default");
    // "su" is what the first files of Phi-3 call it.
    let kind = if kind == "su" { "longrope" } else { kind };
    let Some((kind, own)) = TYPES.iter().find(|(name, _)| *name == kind) else {
        let supported: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
        return Err(rope.unsupported("rope_type", kind, &supported.join(", ")));
    };
    if fields.strict {
        refuse_unread(&rope, kind, own)?;
    }
    let stated = rope.number("partial_rotary_factor")?.or(fields.number("partial_rotary_factor")?).unwrap_or(1.0);
    if *kind == "proportional" {
        let scaling = RopeScaling::Proportional { share: stated, factor: rope.number("factor")?.unwrap_or(1.0) };
        let theta = rope.number("rope_theta")?.or(fields.number("rope_theta")?).unwrap_or(RopeConfig::PLAIN.theta);
        return Ok(RopeConfig { theta, partial: 1.0, scaling: Some(scaling), query_scaling_beta: None });
    }
    let partial = stated;
    let (inner, outer) = (rope.number("rope_theta")?, fields.number("rope_theta")?);
    if fields.strict && inner.is_some() && outer.is_some() && inner != outer {
        return Err(fields.no_effect("rope_theta", &format!("remove it, or the rope_theta in {place}")));
    }
    let theta = inner.or(outer).unwrap_or(RopeConfig::PLAIN.theta);
    let query_scaling_beta = rope.number("llama_4_scaling_beta")?;
    Ok(RopeConfig { theta, partial, scaling: scaling_from(&rope, kind, max_positions)?, query_scaling_beta })
}

/// Refuses keys that do not exist, and those that another type reads.
fn refuse_unread(rope: &Fields<'_>, kind: &str, own: &[&str]) -> Result<(), ConfigError> {
    let known: Vec<&str> = COMMON.iter().chain(TYPES.iter().flat_map(|(_, keys)| *keys)).copied().collect();
    for key in rope.object.keys().map(String::as_str) {
        if !known.contains(&key) {
            let mut distinct = known.clone();
            distinct.sort_unstable();
            distinct.dedup();
            return Err(rope.unknown("rotary parameter", key, &known, &format!("use {}", distinct.join(", "))));
        }
        if !COMMON.contains(&key) && !own.contains(&key) && rope.get(key).is_some() {
            let mut readers = TYPES.iter().filter(|(_, keys)| keys.contains(&key)).map(|(name, _)| *name);
            // The type that most configurations mean.
            let reader = readers.next_back().unwrap_or(kind);
            return Err(rope.no_effect(key, &format!("add rope_type: {reader}, or remove it")));
        }
    }
    Ok(())
}

fn scaling_from(rope: &Fields<'_>, kind: &str, max_positions: usize) -> Result<Option<RopeScaling>, ConfigError> {
    let number = |field| rope.number(field)?.ok_or_else(|| rope.missing(field));
    let original = || Ok(rope.size("original_max_position_embeddings")?.unwrap_or(max_positions));
    let list = |field| {
        let value = rope.get(field).ok_or_else(|| rope.missing(field))?;
        let numbers = value.as_array().and_then(|list| list.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>());
        numbers.ok_or_else(|| rope.invalid(field, value, "a list of numbers"))
    };
    Ok(match kind {
        "linear" => Some(RopeScaling::Linear { factor: number("factor")? }),
        "dynamic" => Some(RopeScaling::Dynamic { factor: number("factor")?, max_positions }),
        "llama3" => Some(RopeScaling::Llama3 {
            factor: number("factor")?,
            low_freq_factor: number("low_freq_factor")?,
            high_freq_factor: number("high_freq_factor")?,
            original_max_position_embeddings: rope.required("original_max_position_embeddings")?,
        }),
        "yarn" => Some(RopeScaling::Yarn(YarnScaling {
            factor: rope.number("factor")?,
            original_max_position_embeddings: original()?,
            beta_fast: rope.number("beta_fast")?,
            beta_slow: rope.number("beta_slow")?,
            attention_factor: rope.number("attention_factor")?,
            mscale: rope.number("mscale")?,
            mscale_all_dim: rope.number("mscale_all_dim")?,
            truncate: rope.truth("truncate")?,
            max_positions,
        })),
        "longrope" => Some(RopeScaling::LongRope(LongRopeScaling {
            short_factor: list("short_factor")?,
            long_factor: list("long_factor")?,
            original_max_position_embeddings: original()?,
            factor: rope.number("factor")?,
            attention_factor: rope.number("attention_factor")?,
            max_positions,
        })),
        _ => None,
    })
}

/// Checks the parameters of a way to stretch frequencies; `rotated` dimensions of a head turn.
pub(super) fn validate(rope: &RopeConfig, rotated: usize, fault: Fault<'_>) -> Result<(), ConfigError> {
    let wrong = |found: String, expected: &str| Err(fault("rope_parameters", found, expected));
    let positive = |name: &str, value: f64| {
        if value.is_finite() && value > 0.0 {
            return Ok(());
        }
        Err(fault("rope_parameters", format!("{name} {value}"), "a positive number"))
    };
    match &rope.scaling {
        None => {}
        Some(RopeScaling::Linear { factor }) => positive("factor", *factor)?,
        Some(RopeScaling::Dynamic { factor, max_positions: _ }) => {
            positive("factor", *factor)?;
            if rotated < 4 {
                return wrong(format!("dynamic over {rotated} dimensions"), "at least 4 rotated dimensions");
            }
        }
        Some(RopeScaling::Proportional { share, factor }) => {
            positive("factor", *factor)?;
            if !(*share > 0.0 && *share <= 1.0) {
                return wrong(format!("partial_rotary_factor {share}"), "a share above 0 and up to 1");
            }
        }
        Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, .. }) => {
            // Llama 4 Scout has the same number twice: no frequency is between the two.
            let fits = *factor >= 1.0 && *low_freq_factor > 0.0 && high_freq_factor >= low_freq_factor;
            if !fits {
                let found =
                    format!("factor {factor}, low_freq_factor {low_freq_factor}, high_freq_factor {high_freq_factor}");
                return wrong(found, "factor ≥ 1 and 0 < low_freq_factor ≤ high_freq_factor");
            }
        }
        Some(RopeScaling::Yarn(yarn)) => {
            if yarn.original_max_position_embeddings == 0 || rope.theta == 1.0 {
                return wrong(format!("{yarn:?}"), "an original context length, and a rope_theta other than 1");
            }
            positive("factor", yarn.factor())?;
            positive("attention_factor", yarn.attention_factor())?;
        }
        Some(RopeScaling::LongRope(long)) => {
            for (name, list) in [("short_factor", &long.short_factor), ("long_factor", &long.long_factor)] {
                if list.len() != rotated / 2 {
                    let expected = format!("{} numbers, one for each pair of rotated dimensions", rotated / 2);
                    return wrong(format!("{name} of {} numbers", list.len()), &expected);
                }
                list.iter().try_for_each(|factor| positive(name, *factor))?;
            }
            if long.original_max_position_embeddings < 2 {
                let found = long.original_max_position_embeddings.to_string();
                return wrong(format!("original_max_position_embeddings {found}"), "a number of at least 2");
            }
            positive("attention_factor", long.attention_factor())?;
        }
    }
    if rope.query_scaling_beta.is_some() && rope.query_scale(0).is_none() {
        return wrong("llama_4_scaling_beta without yarn".to_owned(), "rope_type yarn beside it");
    }
    Ok(())
}

/// Rotary parameters as both generations of transformers read them.
pub(crate) fn rope_fields(rope: &RopeConfig) -> Map<String, Value> {
    let own = scaling_fields(rope);
    let mut parameters = json!({ "rope_theta": rope.theta, "rope_type": "default" });
    let mut scaling = Value::Null;
    if let Some(own) = own {
        scaling = Value::Object(own.clone());
        parameters = Value::Object(own);
        parameters["rope_theta"] = json!(rope.theta);
    }
    let mut fields = Map::new();
    if rope.partial != 1.0 {
        parameters["partial_rotary_factor"] = json!(rope.partial);
        fields.insert("partial_rotary_factor".to_owned(), json!(rope.partial));
    }
    fields.insert("rope_parameters".to_owned(), parameters);
    fields.insert("rope_scaling".to_owned(), scaling);
    fields.insert("rope_theta".to_owned(), json!(rope.theta));
    fields
}

/// Returns the type and its parameters, without θ, if frequencies are stretched.
fn scaling_fields(rope: &RopeConfig) -> Option<Map<String, Value>> {
    let json = match rope.scaling.as_ref()? {
        RopeScaling::Linear { factor } => json!({ "factor": factor, "rope_type": "linear" }),
        RopeScaling::Dynamic { factor, max_positions: _ } => json!({ "factor": factor, "rope_type": "dynamic" }),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => json!({
            "factor": factor,
            "high_freq_factor": high_freq_factor,
            "low_freq_factor": low_freq_factor,
            "original_max_position_embeddings": original_max_position_embeddings,
            "rope_type": "llama3",
        }),
        RopeScaling::Yarn(yarn) => json!({
            "attention_factor": yarn.attention_factor,
            "beta_fast": yarn.beta_fast,
            "beta_slow": yarn.beta_slow,
            "factor": yarn.factor,
            "llama_4_scaling_beta": rope.query_scaling_beta,
            "mscale": yarn.mscale,
            "mscale_all_dim": yarn.mscale_all_dim,
            "original_max_position_embeddings": yarn.original_max_position_embeddings,
            "rope_type": "yarn",
            "truncate": yarn.truncate,
        }),
        RopeScaling::Proportional { share, factor } => json!({
            "factor": Some(factor).filter(|factor| **factor != 1.0),
            "partial_rotary_factor": share,
            "rope_type": "proportional",
        }),
        RopeScaling::LongRope(long) => json!({
            "attention_factor": long.attention_factor,
            "factor": long.factor,
            "long_factor": long.long_factor,
            "original_max_position_embeddings": long.original_max_position_embeddings,
            "rope_type": "longrope",
            "short_factor": long.short_factor,
        }),
    };
    match json {
        Value::Object(fields) => Some(fields.into_iter().filter(|(_, value)| !value.is_null()).collect()),
        _ => None,
    }
}
