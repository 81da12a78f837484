//! generation_config.json: how transformers samples, and at which tokens it stops.

mod preset;

use serde_json::{Map, Value, json};

use super::{TokenPlan, TokenizerError, TokenizerFiles};
use crate::sealed::Sealed;

/// Tokens that end a turn: where a file of tokens to add names one, generation stops at it.
const TURN_ENDS: &[&str] = &["<|im_end|>", "<|eot|>", "<|eot_id|>", "<|end_of_turn|>", "<end_of_turn>"];

/// Where a generation_config.json comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum GenerationMode {
    /// The source's, else one with the token ids only.
    #[default]
    Carry,
    /// No file is written.
    None,
    /// A preset: a JSON file by path, or by its name in the user's folder.
    Preset(String),
}

impl GenerationMode {
    /// `carry`, `none`, or a preset's path or name.
    pub fn from_word(word: &str) -> Self {
        match word {
            "carry" => GenerationMode::Carry,
            "none" => GenerationMode::None,
            preset => GenerationMode::Preset(preset.to_owned()),
        }
    }
}

/// How a generation_config.json is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Where it comes from.
    pub mode: GenerationMode,
    /// Whether ends of turns that the file of tokens names, and the tokenizer's own end of sequence, stop generation.
    pub auto_stop_tokens: bool,
    /// More tokens that stop it.
    pub stop_tokens: Vec<String>,
}

impl Default for Generation {
    fn default() -> Self {
        Self { mode: GenerationMode::Carry, auto_stop_tokens: true, stop_tokens: Vec::new() }
    }
}

/// A generation_config.json, and what there is to say about it.
#[derive(Clone, Debug)]
pub struct GenerationConfig {
    /// The file's content; none if none is written.
    pub json: Option<Sealed<Value>>,
    /// The ids at which generation stops: those of the source first.
    pub stop_ids: Vec<u64>,
    /// What a person should know: a stop token that there is not, a preset's keys that were left out.
    pub warnings: Vec<String>,
}

impl Generation {
    /// Returns the tokens of a comma-separated list.
    pub fn stop_token_list(list: &str) -> Vec<String> {
        list.split(',').map(str::trim).filter(|token| !token.is_empty()).map(str::to_owned).collect()
    }

    /// Makes the file. `source` is the source's generation_config.json, `config` its config.json as it was, `tokenizer` the
    /// tokenizer as it will be, `plan` the tokens added to it.
    ///
    /// Stop tokens are a union: those of the source first, in their order, then ends of turns, then those named. Other
    /// fields are the source's or the preset's; the ids of tokens are the tokenizer's.
    ///
    /// # Errors
    /// [`TokenizerError::Refused`] for a preset that is not there or cannot be used; stop tokens without a tokenizer.
    pub fn make(
        &self,
        source: Option<&Map<String, Value>>,
        config: &Value,
        tokenizer: &TokenizerFiles,
        plan: Option<&TokenPlan>,
    ) -> Result<GenerationConfig, TokenizerError> {
        let mut warnings = Vec::new();
        let before = source.map(|source| ids(source.get("eos_token_id"))).unwrap_or_default();
        let mut stop_ids = before.clone();
        let mut stop = |id: u64| {
            if !stop_ids.contains(&id) {
                stop_ids.push(id);
            }
        };
        ids(config.get("eos_token_id")).into_iter().for_each(&mut stop);
        if self.auto_stop_tokens {
            let mentioned = plan.into_iter().flat_map(TokenPlan::mentioned);
            mentioned.filter(|(token, _)| TURN_ENDS.contains(token)).for_each(|(_, id)| stop(id.into()));
            tokenizer.role("eos_token").into_iter().for_each(|id| stop(id.into()));
        }
        let named: Vec<&str> = self.stop_tokens.iter().map(String::as_str).collect();
        let known = if named.is_empty() { Vec::new() } else { tokenizer.token_ids(&named)? };
        for (token, id) in named.iter().zip(known) {
            match id {
                Some(id) => stop(id.into()),
                None => warnings.push(format!("the stop token `{token}` is not in the vocabulary and was left out")),
            }
        }
        let mut fields = match &self.mode {
            GenerationMode::None => return Ok(GenerationConfig { json: None, stop_ids, warnings }),
            GenerationMode::Carry => source.cloned().unwrap_or_default(),
            GenerationMode::Preset(name) => preset::open(name, &mut warnings)?,
        };
        // What `generate` refuses; settings that it only does not read are carried.
        let refused =
            |key: &str, limit: f64| fields.get(key).and_then(Value::as_f64).is_some_and(|value| value < limit);
        if refused("top_k", 0.0)
            || (refused("temperature", f64::MIN_POSITIVE) && fields.get("do_sample") == Some(&json!(true)))
        {
            preset::plain_for_transformers(&mut fields, &mut warnings);
        }
        for role in ["bos_token", "pad_token"] {
            let key = format!("{role}_id");
            let known = tokenizer.role(role).map(Value::from);
            if let Some(id) = known.or_else(|| config.get(&key).filter(|id| !id.is_null()).cloned()) {
                fields.insert(key, id);
            }
        }
        match stop_ids.as_slice() {
            [] => {}
            [one] => drop(fields.insert("eos_token_id".to_owned(), json!(one))),
            several => drop(fields.insert("eos_token_id".to_owned(), json!(several))),
        }
        if stop_ids != before {
            // It says that the file repeats config.json, by which older readers would replace it.
            fields.remove("_from_model_config");
        }
        Ok(GenerationConfig { json: Some(Sealed::new(Value::Object(fields))), stop_ids, warnings })
    }
}

/// One id or a list of them.
fn ids(value: Option<&Value>) -> Vec<u64> {
    match value {
        Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_u64).collect(),
        Some(id) => id.as_u64().into_iter().collect(),
        None => Vec::new(),
    }
}
