//! Presets of an inference server's settings, translated to transformers' names.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::tokenizer::TokenizerError;
use crate::tokenizer::error::meant;
use crate::tokenizer::small_file;

/// The settings that have the same name in transformers.
const KEPT: &[&str] = &[
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "epsilon_cutoff",
    "eta_cutoff",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size",
    "renormalize_logits",
    "num_beams",
    "num_beam_groups",
    "diversity_penalty",
    "early_stopping",
    "length_penalty",
    "penalty_alpha",
    "do_sample",
    "min_new_tokens",
    "max_new_tokens",
    "max_length",
    "guidance_scale",
    "presence_penalty",
    "frequency_penalty",
];

/// Any of these means sampling, where the preset does not say.
const SAMPLING: &[&str] = &["temperature", "top_p", "top_k", "min_p"];

/// Reads a preset by path, or by name from the user's folders, and translates it.
pub(super) fn open(name_or_path: &str, warnings: &mut Vec<String>) -> Result<Map<String, Value>, TokenizerError> {
    let path = find(name_or_path, &folders(std::env::var_os("XDG_CONFIG_HOME"), std::env::var_os("HOME")))?;
    let text = small_file::read(&path, "preset")?;
    let origin = path.display().to_string();
    let preset: Map<String, Value> = serde_json::from_str(&text).map_err(|error| {
        let place = small_file::place(&origin, &text, Some(error.line()));
        TokenizerError::refused(format!("the preset is not a JSON object: {error}"), place, "correct that line")
    })?;
    translate(&preset, &origin, warnings)
}

/// Returns the folders that are searched for presets by name: ours, then Forgather's.
fn folders(config_home: Option<OsString>, home: Option<OsString>) -> Vec<PathBuf> {
    let config = config_home.map(PathBuf::from).filter(|path| path.is_absolute());
    let config = config.or_else(|| Some(Path::new(&home?).join(".config")));
    let programs = ["chandlery", "forgather"].iter();
    programs.filter_map(|program| Some(config.as_ref()?.join(program).join("generation_config"))).collect()
}

fn find(name_or_path: &str, folders: &[PathBuf]) -> Result<PathBuf, TokenizerError> {
    let path = Path::new(name_or_path);
    if path.is_file() {
        return Ok(path.to_owned());
    }
    let is_name = !name_or_path.is_empty()
        && !name_or_path.starts_with('.')
        && name_or_path.chars().all(|character| character.is_alphanumeric() || "-_.+ ".contains(character));
    if !is_name {
        let place = std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
        let advice = "name a JSON file, a preset without its folder, carry or none";
        return Err(TokenizerError::refused(format!("there is no preset `{name_or_path}`"), place, advice));
    }
    let candidates = folders.iter().map(|folder| folder.join(format!("{name_or_path}.json")));
    let candidates: Vec<PathBuf> = candidates.collect();
    if let Some(found) = candidates.iter().find(|candidate| candidate.is_file()) {
        return Ok(found.clone());
    }
    let names: Vec<String> = folders.iter().flat_map(|folder| names_in(folder)).collect();
    let known: Vec<&str> = names.iter().map(String::as_str).chain(["carry", "none"]).collect();
    let place: Vec<String> = candidates.iter().map(|candidate| candidate.display().to_string()).collect();
    Err(TokenizerError::refused(
        format!("there is no preset `{name_or_path}`{}", meant(name_or_path, &known)),
        place.join(", "),
        format!("put the file there, name its path, or use one of: {}", known.join(", ")),
    ))
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".json").map(str::to_owned));
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn translate(
    preset: &Map<String, Value>,
    origin: &str,
    warnings: &mut Vec<String>,
) -> Result<Map<String, Value>, TokenizerError> {
    let mut fields = Map::new();
    let mut left_out = Vec::new();
    for (key, value) in preset {
        let plain = value.is_number() || value.is_boolean() || value.is_string();
        match key.as_str() {
            _ if value.is_null() => {}
            "max_tokens" => match value.as_u64() {
                Some(tokens) => drop(fields.insert("max_new_tokens".to_owned(), json!(tokens))),
                None => {
                    let what = format!("`max_tokens` is {value}, not a number of tokens");
                    return Err(TokenizerError::refused(what, origin, "write a whole number"));
                }
            },
            known if KEPT.contains(&known) && plain => drop(fields.insert(key.clone(), value.clone())),
            known if KEPT.contains(&known) => {
                let what = format!("`{key}` is {value}, not a number, a text, true or false");
                return Err(TokenizerError::refused(what, origin, "correct the value"));
            }
            _ => left_out.push(key.as_str()),
        }
    }
    plain_for_transformers(&mut fields, warnings);
    if !fields.contains_key("do_sample") {
        if SAMPLING.iter().any(|key| fields.contains_key(*key)) {
            fields.insert("do_sample".to_owned(), json!(true));
        } else if fields.get("num_beams").and_then(Value::as_u64).is_some_and(|beams| beams > 1) {
            fields.insert("do_sample".to_owned(), json!(false));
        }
    }
    if !left_out.is_empty() {
        warnings.push(format!("the preset's {} mean nothing to transformers and were left out", left_out.join(", ")));
    }
    Ok(fields)
}

/// The settings of sampling, which a greedy choice does not read.
const ONLY_SAMPLING: &[&str] = &["temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"];

/// Brings settings that servers understand and transformers refuses into its form: a temperature of 0 is the greedy choice,
/// and a `top_k` below 1 is none.
pub(super) fn plain_for_transformers(fields: &mut Map<String, Value>, warnings: &mut Vec<String>) {
    let number = |fields: &Map<String, Value>, key: &str| fields.get(key).and_then(Value::as_f64);
    if number(fields, "temperature").is_some_and(|temperature| temperature <= 0.0) {
        fields.insert("do_sample".to_owned(), json!(false));
        warnings
            .push("a temperature of 0 is the greedy choice, which transformers calls `do_sample: false`".to_owned());
    }
    if let Some(top_k) = number(fields, "top_k").filter(|top_k| *top_k < 0.0) {
        fields.remove("top_k");
        warnings.push(format!(
            "`top_k` {top_k} was left out; transformers then considers 50 tokens, and all of them with `top_k` 0"
        ));
    }
    if fields.get("do_sample") == Some(&Value::Bool(false)) {
        for key in ONLY_SAMPLING {
            fields.remove(*key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(preset: Value) -> (Value, Vec<String>) {
        let mut warnings = Vec::new();
        let fields = translate(preset.as_object().unwrap(), "p.json", &mut warnings).unwrap();
        (Value::Object(fields), warnings)
    }

    #[test]
    fn a_servers_words_become_those_of_transformers() {
        let (fields, warnings) =
            translated(json!({ "max_tokens": 64, "temperature": 0.3, "stop": ["x"], "top_k": null }));
        assert_eq!(fields, json!({ "max_new_tokens": 64, "temperature": 0.3, "do_sample": true }));
        assert_eq!(warnings, ["the preset's stop mean nothing to transformers and were left out"]);
        assert_eq!(translated(json!({ "num_beams": 4 })).0, json!({ "num_beams": 4, "do_sample": false }));
        assert_eq!(translated(json!({ "do_sample": false, "top_p": 0.5 })).0, json!({ "do_sample": false }));
        assert_eq!(translated(json!({ "repetition_penalty": 1.1 })).0, json!({ "repetition_penalty": 1.1 }));
        let error = translate(json!({ "max_tokens": "many" }).as_object().unwrap(), "p.json", &mut Vec::new());
        assert!(error.unwrap_err().to_string().contains("not a number of tokens\n  where: p.json"));
    }

    #[test]
    fn names_are_looked_for_in_the_users_folders_and_nowhere_else() {
        let none = folders(None, Some("/home/a".into()));
        assert_eq!(none[0], Path::new("/home/a/.config/chandlery/generation_config"));
        assert_eq!(folders(Some("/x".into()), None)[1], Path::new("/x/forgather/generation_config"));
        assert_eq!(folders(Some("relative".into()), Some("/home/a".into())), none);
        for name in ["../secret", "a/b", "..", ".hidden", "a\\b", ""] {
            let error = find(name, &none).unwrap_err().to_string();
            assert!(!error.contains("generation_config"), "{error}");
        }
        let error = find("precise", &none).unwrap_err().to_string();
        assert!(error.contains("chandlery/generation_config/precise.json, /home/a/.config/forgather"), "{error}");
    }
}
