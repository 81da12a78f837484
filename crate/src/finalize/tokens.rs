//! The tokenizer of the new folder, and the rows of the embedding that belong to it.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{Finalize, FinalizeError};
use crate::checkpoint::CheckpointError;
use crate::diagnostic::Diagnose;
use crate::spec::parse_json;
use crate::tokenizer::{GenerationConfig, TokenPlan, TokenizerFiles};

/// The tokenizer of the new folder, and what changed in it.
pub(super) struct Tokens {
    /// Its files as they will be written.
    pub(super) files: TokenizerFiles,
    /// Files that differ from the source's, and why.
    pub(super) changed: HashMap<String, String>,
    /// What is added to it; none where there is no tokenizer to add to.
    pub(super) plan: Option<TokenPlan>,
    /// What a person should know.
    pub(super) warnings: Vec<String>,
}

impl Tokens {
    /// Plans them for a model whose embedding has `vocab_size` rows.
    pub(super) fn new(asked: &Finalize, vocab_size: usize) -> Result<Self, FinalizeError> {
        let source = TokenizerFiles::read(&asked.source)?;
        let mut warnings = Vec::new();
        let plan = match asked.tokens.tokens()?.plan(&source, vocab_size, asked.tokens.pad_to_multiple) {
            Ok(plan) => Some(plan),
            // If the tokenizer cannot be read, only what was asked for is an error.
            Err(error) if asked.tokens.changes_rows() => return Err(error.into()),
            Err(error) => {
                let what = error.diagnostic().what;
                warnings.push(format!("the tokenizer is copied unread, and its roles are not checked: {what}"));
                None
            }
        };
        let mut changed = HashMap::new();
        let mut files = source.clone();
        if let Some(plan) = &plan {
            files = plan.tokenizer().clone();
            note_changes(&source, &files, "tokens added", &mut changed);
        }
        if let Some(template) = asked.tokens.template()? {
            let given = files.with_chat_template(&template);
            note_changes(&files, &given, &format!("chat template: {}", template.origin()), &mut changed);
            files = given;
        }
        if !files.has_chat_template() {
            warnings.push("the tokenizer has no chat template; give one with -t".to_owned());
        }
        Ok(Self { files, changed, plan, warnings })
    }

    /// Returns config.json with the ids of the tokenizer's roles and the number of rows.
    pub(super) fn sync(&self, config: &mut Value) {
        if let Some(plan) = &self.plan {
            plan.sync_config(config);
        }
    }

    /// Where a file of the tokenizer comes from.
    pub(super) fn origin(&self, file: &str) -> String {
        self.changed.get(file).cloned().unwrap_or_else(|| "carried".to_owned())
    }

    /// Makes generation_config.json from the source's config.json.
    pub(super) fn generation(&self, asked: &Finalize, config: &Value) -> Result<GenerationConfig, FinalizeError> {
        let path = asked.source.join("generation_config.json");
        let source: Option<Map<String, Value>> = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(CheckpointError::io("reading", &path)(error).into()),
            Ok(text) => {
                Some(serde_json::from_str(&text).or_else(|error| object_of(&text).ok_or(error)).map_err(|error| {
                    let what = format!("generation_config.json is not a JSON object: {error}");
                    FinalizeError::refused(what, path.display(), "correct it, or remove it")
                })?)
            }
        };
        Ok(asked.generation.make(source.as_ref(), config, &self.files, self.plan.as_ref())?)
    }
}

/// Reads a JSON object that may contain Python's words for numbers.
fn object_of(text: &str) -> Option<Map<String, Value>> {
    match parse_json(text) {
        Ok(Value::Object(fields)) => Some(fields),
        _ => None,
    }
}

/// Adds what happened to the files that differ.
fn note_changes(before: &TokenizerFiles, after: &TokenizerFiles, what: &str, changed: &mut HashMap<String, String>) {
    let old: HashMap<String, Vec<u8>> = before.to_write().into_iter().collect();
    for (name, bytes) in after.to_write() {
        if old.get(&name) != Some(&bytes) {
            let note = changed.entry(name).or_default();
            note.push_str(if note.is_empty() { "" } else { "; " });
            note.push_str(what);
        }
    }
}
