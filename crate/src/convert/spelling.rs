//! Native names as others spell them: `families/forgather.yaml`, read once.

use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;

use super::Remap;
use super::family::{FamilyError, Marked, WrittenRule};
use super::remap;
use crate::spec::ParamPath;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    spellings: Vec<WrittenRule>,
    buffers: Vec<WrittenBuffer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenBuffer {
    #[serde(rename = "match")]
    pattern: Marked,
    why: String,
}

struct Spellings {
    names: Remap,
    buffers: Vec<(Regex, String)>,
}

static SPELLINGS: LazyLock<Result<Spellings, FamilyError>> = LazyLock::new(|| {
    let written: Written =
        serde_yaml::from_str(include_str!("families/forgather.yaml")).map_err(|error| FamilyError::Syntax {
            reason: error.to_string(),
            place: "families/forgather.yaml".to_owned(),
            advice: "correct the file".to_owned(),
        })?;
    let buffers = written.buffers.iter().map(|buffer| Ok((remap::whole(&buffer.pattern)?, buffer.why.clone())));
    Ok(Spellings { names: Remap::new(&written.spellings)?, buffers: buffers.collect::<Result<_, FamilyError>>()? })
});

/// The name that a tensor of a native file has here, where it is spelled otherwise.
pub(crate) fn native(name: &ParamPath) -> Option<ParamPath> {
    SPELLINGS.as_ref().ok()?.names.rename_one(name)
}

/// Why a tensor that is no parameter of the model is left out, if it is one that models compute themselves.
pub(crate) fn buffer(name: &ParamPath) -> Option<&'static str> {
    let buffers = &SPELLINGS.as_ref().ok()?.buffers;
    buffers.iter().find(|(pattern, _)| pattern.is_match(name.as_str())).map(|(_, why)| why.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgathers_final_norm_and_buffers_are_known() {
        let norm = native(&"causal_lm.layer_stack.layer_norm.weight".into()).unwrap();
        assert_eq!(norm.as_str(), "causal_lm.layer_norm.weight");
        assert_eq!(native(&"causal_lm.layer_norm.weight".into()), None);
        for name in [
            "causal_lm.layer_stack.layers.3.attention.rotary.cos_cached",
            "causal_lm.input_encoder.positional_encoder.weight",
            "causal_lm.layer_stack.layers.11.alpha",
        ] {
            assert!(buffer(&name.into()).is_some(), "{name}");
        }
        assert_eq!(buffer(&"causal_lm.layer_stack.layers.11.alpha.weight".into()), None);
    }
}
