//! The files that make a tokenizer, and the tokenizer they make.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Map, Value};
use tokenizers::Tokenizer;

use super::outline::{self, Outline};
use super::{ROLES, TokenizerError};
use crate::checkpoint::{FolderChanges, inside, settle};

/// The files of a Hugging Face tokenizer, those of older formats included; a folder holds some of them, and perhaps
/// templates with names in `additional_chat_templates`.
pub const TOKENIZER_FILES: &[&str] = &[
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
];

/// Vocabulary files that need Python.
const SLOW_FILES: &[&str] =
    &["tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tekken.json"];

/// Where transformers stores templates other than the default one.
pub(super) const NAMED_TEMPLATES: &str = "additional_chat_templates";

/// The contents of a folder's tokenizer files.
#[derive(Clone, Debug, Default)]
pub struct TokenizerFiles {
    folder: PathBuf,
    files: Vec<(String, Vec<u8>)>,
    /// tokenizer.json, parsed when it is first needed.
    parsed: OnceLock<Tokenizer>,
    /// Its added tokens and those with a role, when they are first needed.
    outline: OnceLock<Outline>,
}

impl TokenizerFiles {
    /// Reads the files that a folder has. A folder without any gives an empty set, not an error.
    ///
    /// # Errors
    /// [`TokenizerError::Invalid`] if one is there and cannot be read.
    pub fn read(folder: &Path) -> Result<Self, TokenizerError> {
        settle(folder)?;
        let mut names: Vec<String> = TOKENIZER_FILES.iter().map(|name| (*name).to_owned()).collect();
        let named = std::fs::read_dir(folder.join(NAMED_TEMPLATES)).into_iter().flatten().flatten();
        let named = named.filter_map(|entry| entry.file_name().into_string().ok());
        let templates = named.filter(|name| name.ends_with(".jinja")).map(|name| format!("{NAMED_TEMPLATES}/{name}"));
        let mut templates: Vec<String> = templates.collect();
        templates.sort();
        names.extend(templates);
        let mut files = Vec::new();
        for name in names {
            let path = folder.join(&name);
            if path.is_file() {
                inside(folder, &path)?;
                let bytes = std::fs::read(&path)
                    .map_err(|error| TokenizerError::Invalid { path: path.clone(), reason: error.to_string() })?;
                files.push((name, bytes));
            }
        }
        Ok(Self { folder: folder.to_owned(), files, parsed: OnceLock::new(), outline: OnceLock::new() })
    }

    /// Files given by name and content; `folder` names their origin in errors.
    pub fn from_parts(folder: &str, files: Vec<(String, Vec<u8>)>) -> Self {
        Self { folder: folder.into(), files, parsed: OnceLock::new(), outline: OnceLock::new() }
    }

    /// Returns the names and contents as they should be written: `tokenizer_class` is one that transformers 4.57 and 5.x
    /// both know; everything else is carried as it was.
    pub fn to_write(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = self.files.clone();
        for (name, bytes) in &mut files {
            if name != "tokenizer_config.json" {
                continue;
            }
            if let Ok(Value::Object(mut config)) = serde_json::from_slice(bytes)
                && config.get("tokenizer_class").and_then(Value::as_str) == Some("TokenizersBackend")
            {
                config.insert("tokenizer_class".to_owned(), Value::String("PreTrainedTokenizerFast".to_owned()));
                *bytes = format!("{:#}\n", Value::Object(config)).into_bytes();
            }
        }
        files
    }

    /// The same files with this `model_max_length`, in tokens, where tokenizer_config.json is among them.
    pub fn with_max_length(&self, tokens: usize) -> Self {
        let mut files = self.clone();
        let config = files.files.iter_mut().find(|(name, _)| name == "tokenizer_config.json");
        if let Some((_, bytes)) = config
            && let Ok(Value::Object(mut config)) = serde_json::from_slice(bytes)
        {
            config.insert("model_max_length".to_owned(), Value::from(tokens));
            *bytes = format!("{:#}\n", Value::Object(config)).into_bytes();
        }
        files
    }

    /// Writes them into a new or an empty folder, all of them or none.
    ///
    /// # Errors
    /// [`TokenizerError::Folder`] if the folder holds something or cannot be written.
    pub fn write(&self, folder: impl AsRef<Path>) -> Result<(), TokenizerError> {
        self.write_into(folder.as_ref(), false)
    }

    /// As [`write`](Self::write), with `force` also over the tokenizer of a folder that holds one; everything else there
    /// stays.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_into(&self, folder: &Path, force: bool) -> Result<(), TokenizerError> {
        let stage = self.changes(folder, force)?.stage(folder)?;
        for (name, bytes) in self.to_write() {
            stage.write(&name, bytes)?;
        }
        stage.commit()?;
        Ok(())
    }

    /// Returns what writing them into a folder does to it.
    ///
    /// # Errors
    /// [`TokenizerError::Folder`] if the folder holds something, unless `force` is given.
    pub fn changes(&self, folder: &Path, force: bool) -> Result<FolderChanges, TokenizerError> {
        let writes = self.names().map(str::to_owned);
        Ok(FolderChanges::of_whole_folder(folder, writes, &Self::all_names(), &[], force)?)
    }

    /// Returns every entry of a folder that belongs to its tokenizer, there or not.
    pub(crate) fn all_names() -> Vec<String> {
        TOKENIZER_FILES.iter().chain([&NAMED_TEMPLATES]).map(|name| (*name).to_owned()).collect()
    }

    /// Returns the names present.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(name, _)| name.as_str())
    }

    fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.files.iter().find(|(file, _)| file == name).map(|(_, bytes)| bytes.as_slice())
    }

    /// Returns a file as JSON, if it is there and is JSON.
    pub(super) fn json(&self, name: &str) -> Option<Value> {
        serde_json::from_slice(self.bytes(name)?).ok()
    }

    /// Returns a file as a JSON object, `None` if it is not there.
    pub(super) fn object(&self, name: &str) -> Result<Option<Map<String, Value>>, TokenizerError> {
        let Some(bytes) = self.bytes(name) else { return Ok(None) };
        serde_json::from_slice(bytes).map(Some).map_err(|error| TokenizerError::Invalid {
            path: self.folder.join(name),
            reason: format!("it is not a JSON object: {error}"),
        })
    }

    /// Returns a file as text.
    pub(super) fn text(&self, name: &str) -> Result<&str, TokenizerError> {
        std::str::from_utf8(self.bytes(name).unwrap_or_default())
            .map_err(|error| TokenizerError::Invalid { path: self.folder.join(name), reason: error.to_string() })
    }

    /// The same with some files replaced or added.
    pub(super) fn with(&self, changed: Vec<(String, Vec<u8>)>) -> Self {
        let mut files = self.files.clone();
        for (name, bytes) in changed {
            match files.iter_mut().find(|(known, _)| *known == name) {
                Some((_, old)) => *old = bytes,
                None => files.push((name, bytes)),
            }
        }
        Self { folder: self.folder.clone(), files, parsed: OnceLock::new(), outline: OnceLock::new() }
    }

    /// Returns the folder or built-in name they are from.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn failed(&self, reason: impl std::fmt::Display) -> TokenizerError {
        TokenizerError::Failed { folder: self.folder.clone(), reason: reason.to_string() }
    }

    /// Returns the tokenizer itself.
    ///
    /// # Errors
    /// [`TokenizerError::Missing`] without a tokenizer, [`TokenizerError::SlowOnly`] if its files are of a kind that only
    /// Python reads, [`TokenizerError::Invalid`] if tokenizer.json does not parse.
    pub fn tokenizer(&self) -> Result<&Tokenizer, TokenizerError> {
        if let Some(tokenizer) = self.parsed.get() {
            return Ok(tokenizer);
        }
        let bytes = self.bytes("tokenizer.json").ok_or_else(|| self.without_definition())?;
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| self.invalid_definition(&error))?;
        // Settings of some trainer's last call, which transformers does not use either.
        tokenizer.with_truncation(None).map_err(|error| self.failed(error))?;
        tokenizer.with_padding(None);
        Ok(self.parsed.get_or_init(|| tokenizer))
    }

    fn without_definition(&self) -> TokenizerError {
        let folder = self.folder.clone();
        let slow: Vec<&str> = self.names().filter(|name| SLOW_FILES.contains(name)).collect();
        if slow.is_empty() {
            TokenizerError::Missing { folder }
        } else {
            TokenizerError::SlowOnly { folder, found: slow.join(", ") }
        }
    }

    /// Returns the added tokens, and those that have a role.
    pub(super) fn outline(&self) -> Result<&Outline, TokenizerError> {
        if let Some(outline) = self.outline.get() {
            return Ok(outline);
        }
        let bytes = self.bytes("tokenizer.json").ok_or_else(|| self.without_definition())?;
        let roles: Vec<String> = ROLES.iter().filter_map(|role| self.role_text(role)).collect();
        let outline = Outline::read(bytes, &roles).map_err(|error| self.invalid_definition(&error))?;
        Ok(self.outline.get_or_init(|| outline))
    }

    fn invalid_definition(&self, reason: &dyn std::fmt::Display) -> TokenizerError {
        TokenizerError::Invalid { path: self.folder.join("tokenizer.json"), reason: reason.to_string() }
    }

    /// Returns the rows that an embedding needs: one more than the largest id.
    ///
    /// # Errors
    /// [`TokenizerError`] if there is no tokenizer, or its file cannot be read.
    pub fn rows(&self) -> Result<usize, TokenizerError> {
        Ok(self.outline()?.rows as usize)
    }

    /// Returns the ids of tokens by their texts, `None` for unknown ones. The tokenizer is not built for it.
    ///
    /// # Errors
    /// [`TokenizerError`] if there is no tokenizer, or its file cannot be read.
    pub fn token_ids(&self, tokens: &[&str]) -> Result<Vec<Option<u32>>, TokenizerError> {
        let outline = self.outline()?;
        let unknown: HashSet<&str> = tokens.iter().copied().filter(|token| outline.id(token).is_none()).collect();
        let bytes = self.bytes("tokenizer.json").unwrap_or_default();
        let found = match unknown.is_empty() {
            true => HashMap::new(),
            false => outline::vocabulary(bytes, unknown).map_err(|error| self.invalid_definition(&error))?.ids,
        };
        Ok(tokens.iter().map(|token| outline.id(token).or(found.get(*token).copied())).collect())
    }

    /// Token ids of a text, with the special tokens that the tokenizer adds.
    ///
    /// # Errors
    /// [`TokenizerError`] if there is no tokenizer or it fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.tokenizer()?.encode(text, true).map_err(|error| self.failed(error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Token ids of a text that holds its special tokens already, as a rendered chat does.
    ///
    /// # Errors
    /// [`TokenizerError`] if there is no tokenizer or it fails.
    pub fn encode_rendered(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.tokenizer()?.encode(text, false).map_err(|error| self.failed(error))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Returns the token of each role, such as `bos_token`: that of tokenizer_config.json or special_tokens_map.json, where
    /// older formats keep it. It may be missing from the vocabulary.
    ///
    /// As in transformers, the older file comes first where the newer one does not list the added tokens.
    pub fn role_text(&self, role: &str) -> Option<String> {
        let mut files = [self.json("special_tokens_map.json"), self.json("tokenizer_config.json")];
        if files[1].as_ref().is_some_and(|config| config.get("added_tokens_decoder").is_some()) {
            files.swap(0, 1);
        }
        files.iter().flatten().find_map(|file| token_text(file.get(role)?).map(str::to_owned))
    }

    /// Returns the tokens that chat templates find by their names: those with a role, and others that the files name, such
    /// as `image_token`.
    pub(super) fn named_tokens(&self) -> Vec<(String, String)> {
        let role = |role: &&str| Some(((*role).to_owned(), self.role_text(role)?));
        let mut named: Vec<(String, String)> = ROLES.iter().filter_map(role).collect();
        let config = self.json("tokenizer_config.json").unwrap_or_default();
        let map = self.json("special_tokens_map.json").filter(|_| config.get("added_tokens_decoder").is_none());
        let mut add = |name: &str, token: &Value| {
            if let Some(text) = token_text(token) {
                match named.iter_mut().find(|(known, _)| known == name) {
                    Some((_, known)) if !ROLES.contains(&name) => text.clone_into(known),
                    Some(_) => {}
                    None => named.push((name.to_owned(), text.to_owned())),
                }
            }
        };
        for file in [Some(&config), map.as_ref()].into_iter().flatten() {
            let fields = file.as_object().into_iter().flatten();
            fields.filter(|(name, _)| name.ends_with("_token")).for_each(|(name, token)| add(name, token));
            for field in ["extra_special_tokens", "model_specific_special_tokens"] {
                let fields = file.get(field).and_then(Value::as_object).into_iter().flatten();
                fields.for_each(|(name, token)| add(name, token));
            }
        }
        named
    }

    /// Returns the id of a role's token: `bos_token`, `eos_token`, `pad_token`, `unk_token`, ...
    pub fn role(&self, role: &str) -> Option<u32> {
        self.outline().ok()?.id(&self.role_text(role)?)
    }
}

/// Returns the text of a token: written as such, or with its flags.
fn token_text(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content").and_then(Value::as_str))
}
