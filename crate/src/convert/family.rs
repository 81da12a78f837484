//! Families as data: the rules that turn one side's names into the other's.

use std::sync::OnceLock;

use regex::Regex;
use serde::Deserialize;

use super::{Remap, RemapError};
use crate::spec::{Architecture, ParamPath, Side};

/// What conversion knows about one family.
#[derive(Clone, Debug)]
pub struct Family {
    to_native: Remap,
    to_hf: Remap,
    skip: Vec<Regex>,
}

/// Every name of a model as it is.
const NATIVE_NAMES: &str = r"family: native
to_native:
  - { match: 'causal_lm\.', replace: 'causal_lm.' }
  - { match: 'lm_head\.', replace: 'lm_head.' }
";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    family: String,
    to_native: serde_yaml::Value,
    #[serde(default)]
    skip: Vec<String>,
}

impl Family {
    /// The built-in rules of an architecture.
    ///
    /// # Errors
    /// [`RemapError`] if the rules cannot be read or inverted, which a test rules out for the built-in ones.
    pub fn of(architecture: Architecture) -> Result<Self, RemapError> {
        // Preparing the rules takes milliseconds, so it is done once.
        static LLAMA: OnceLock<Result<Family, RemapError>> = OnceLock::new();
        static NATIVE: OnceLock<Result<Family, RemapError>> = OnceLock::new();
        match architecture {
            // Nobody else has these families, so there are no other names.
            Architecture::CausalLm | Architecture::DeepOne | Architecture::SingleHead => {
                NATIVE.get_or_init(|| Self::from_yaml(NATIVE_NAMES, "the native names")).clone()
            }
            // The same names: what Qwen3 adds, q_norm and k_norm, is called so on both sides.
            Architecture::Llama | Architecture::Mistral | Architecture::Qwen3 => LLAMA
                .get_or_init(|| Self::from_yaml(include_str!("families/llama.yaml"), "families/llama.yaml"))
                .clone(),
        }
    }

    /// Reads a family's YAML; `origin` names the file in errors.
    ///
    /// # Errors
    /// [`RemapError`] for YAML, patterns or rules that cannot be read or inverted.
    pub fn from_yaml(yaml: &str, origin: &str) -> Result<Self, RemapError> {
        let syntax = |reason: String| RemapError::Syntax { reason, origin: origin.to_owned() };
        let written: Written = serde_yaml::from_str(yaml).map_err(|error| syntax(error.to_string()))?;
        let to_native = Remap::from_yaml(&written.to_native, &format!("{origin}, family {}", written.family))?;
        let skip = written
            .skip
            .iter()
            .map(|pattern| {
                Regex::new(&format!("^(?:{pattern})$")).map_err(|error| RemapError::Pattern {
                    pattern: pattern.clone(),
                    reason: error.to_string(),
                    origin: origin.to_owned(),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { to_hf: to_native.inverse()?, to_native, skip })
    }

    /// The rules that lead to `side`.
    pub fn rules_to(&self, side: Side) -> &Remap {
        match side {
            Side::Native => &self.to_native,
            Side::HuggingFace => &self.to_hf,
        }
    }

    /// A native name as `side` writes it.
    pub fn name_on(&self, side: Side, native: &ParamPath) -> ParamPath {
        match side {
            Side::Native => native.clone(),
            Side::HuggingFace => self.to_hf.rename(native).map_or_else(|| native.clone(), |renamed| renamed.to),
        }
    }

    /// True for names that files may hold and models do not need, such as rotary buffers.
    pub fn skips(&self, name: &ParamPath) -> bool {
        self.skip.iter().any(|pattern| pattern.is_match(name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_rules_are_those_of_the_contract_and_invert() {
        let family = Family::of(Architecture::Llama).unwrap();
        for (hf, native) in [
            ("model.layers.0.self_attn.q_proj.weight", "causal_lm.layer_stack.layers.0.attention.query_linear.weight"),
            ("model.layers.0.mlp.gate_proj.weight", "causal_lm.layer_stack.layers.0.feedforward.gate_proj.weight"),
            ("model.embed_tokens.weight", "causal_lm.input_encoder.embedding.weight"),
            ("model.norm.weight", "causal_lm.layer_norm.weight"),
            ("model.layers.31.post_attention_layernorm.weight", "causal_lm.layer_stack.layers.31.norm2.weight"),
            ("model.layers.7.self_attn.o_proj.bias", "causal_lm.layer_stack.layers.7.attention.output_linear.bias"),
            ("lm_head.weight", "lm_head.weight"),
        ] {
            assert_eq!(family.rules_to(Side::Native).rename(&hf.into()).unwrap().to.as_str(), native);
            assert_eq!(family.name_on(Side::HuggingFace, &native.into()).as_str(), hf);
        }
    }

    #[test]
    fn families_that_nobody_else_has_keep_their_names_both_ways() {
        let family = Family::of(Architecture::SingleHead).unwrap();
        for name in ["lm_head.weight", "causal_lm.layer_stack.layers.3.attention.alibi_slope"] {
            for side in [Side::Native, Side::HuggingFace] {
                assert_eq!(family.rules_to(side).rename(&name.into()).unwrap().to.as_str(), name);
            }
        }
    }
}
