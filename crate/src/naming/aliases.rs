//! Other names of native tensors: `forgather.yaml`, read once.

use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;

use super::Remap;
use super::family::{FamilyError, RawRule, Spanned};
use super::remap;
use crate::spec::{ModelConfig, ParamPath};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAliases {
    aliases: Vec<RawRule>,
    buffers: Vec<RawBuffer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBuffer {
    #[serde(rename = "match")]
    pattern: Spanned,
    why: String,
    /// Only in models of these positions.
    #[serde(default)]
    positions: Option<String>,
}

struct Aliases {
    names: Remap,
    buffers: Vec<(Regex, RawBuffer)>,
}

static ALIASES: LazyLock<Result<Aliases, FamilyError>> = LazyLock::new(|| {
    let written: RawAliases =
        serde_yaml::from_str(include_str!("forgather.yaml")).map_err(|error| FamilyError::Syntax {
            reason: error.to_string(),
            place: "forgather.yaml".to_owned(),
            advice: "correct the file".to_owned(),
        })?;
    let buffers = written.buffers.into_iter().map(|buffer| Ok((remap::whole(&buffer.pattern)?, buffer)));
    Ok(Aliases { names: Remap::new(&written.aliases)?, buffers: buffers.collect::<Result<_, FamilyError>>()? })
});

/// Returns the native name of a tensor that a file stores under an alias.
pub(crate) fn native(name: &ParamPath) -> Option<ParamPath> {
    ALIASES.as_ref().ok()?.names.rename_one(name)
}

/// Returns why a tensor that is not a parameter of the model is left out, if models compute it themselves.
pub(crate) fn buffer(name: &ParamPath, config: &ModelConfig) -> Option<&'static str> {
    let applies = |buffer: &RawBuffer| buffer.positions.as_deref().is_none_or(|one| one == config.position.name());
    let buffers = ALIASES.as_ref().ok()?.buffers.iter();
    let mut found = buffers.filter(|(pattern, buffer)| applies(buffer) && pattern.is_match(name.as_str()));
    found.next().map(|(_, buffer)| buffer.why.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgathers_final_norm_and_buffers_are_known() {
        let norm = native(&"causal_lm.layer_stack.layer_norm.weight".into()).unwrap();
        assert_eq!(norm.as_str(), "causal_lm.layer_norm.weight");
        assert_eq!(native(&"causal_lm.layer_norm.weight".into()), None);
        let config = |position: &str| {
            let json = serde_json::json!({
                "model_type": "chandlery-causal_lm", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8,
                "num_hidden_layers": 1, "num_attention_heads": 1, "position_embedding": position,
            });
            ModelConfig::from_json(&json, "test").unwrap()
        };
        let sines = config("sinusoidal");
        let table = "causal_lm.input_encoder.positional_encoder.weight";
        for name in [
            "causal_lm.layer_stack.layers.3.attention.rotary.cos_cached",
            "causal_lm.layer_stack.layers.11.alpha",
            table,
        ] {
            assert!(buffer(&name.into(), &sines).is_some(), "{name}");
        }
        assert_eq!(buffer(&"causal_lm.layer_stack.layers.11.alpha.weight".into(), &sines), None);
        assert_eq!(buffer(&table.into(), &config("rope")), None);
    }
}
