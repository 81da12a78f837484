//! The files that make a tokenizer, and the tokenizer they make.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;
use tokenizers::Tokenizer;

/// The files of a Hugging Face tokenizer, those of older formats included; a folder holds some of them.
pub const TOKENIZER_FILES: &[&str] = &[
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
];

/// Why a tokenizer could not be read, used or trained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// No tokenizer.json.
    #[error("there is no tokenizer here\n  where: {folder}\n  do: put tokenizer.json into the folder, or give token ids (--input-ids)", folder = folder.display())]
    Missing {
        /// The folder.
        folder: PathBuf,
    },
    /// A file that cannot be read.
    #[error("the tokenizer cannot be read: {reason}\n  where: {path}\n  do: copy the file again from its source", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A text to train on that cannot be had.
    #[error("{what}\n  where: {place}\n  do: {advice}")]
    Text {
        /// What is wrong.
        what: String,
        /// The file, and the line where there is one.
        place: String,
        /// What to do.
        advice: String,
    },
    /// The folder of a trained tokenizer.
    #[error(transparent)]
    Folder(#[from] crate::checkpoint::CheckpointError),
    /// The user stopped it; nothing was left behind.
    #[error(transparent)]
    Interrupted(#[from] crate::interrupt::Interrupted),
    /// Text that cannot be encoded, or ids that cannot be decoded.
    #[error("the tokenizer failed: {reason}\n  where: {folder}\n  do: check that the tokenizer belongs to this model", folder = folder.display())]
    Failed {
        /// The folder.
        folder: PathBuf,
        /// What it says.
        reason: String,
    },
}

/// The contents of a folder's tokenizer files.
#[derive(Clone, Debug, Default)]
pub struct TokenizerFiles {
    folder: PathBuf,
    files: Vec<(String, Vec<u8>)>,
    /// tokenizer.json, parsed when it is first needed.
    parsed: OnceLock<Tokenizer>,
}

impl TokenizerFiles {
    /// Reads whichever of the files a folder has; none is an empty set, not an error.
    ///
    /// # Errors
    /// [`TokenizerError::Invalid`] if one is there and cannot be read.
    pub fn read(folder: &Path) -> Result<Self, TokenizerError> {
        let mut files = Vec::new();
        for name in TOKENIZER_FILES {
            let path = folder.join(name);
            if path.is_file() {
                let bytes = std::fs::read(&path)
                    .map_err(|error| TokenizerError::Invalid { path: path.clone(), reason: error.to_string() })?;
                files.push(((*name).to_owned(), bytes));
            }
        }
        Ok(Self { folder: folder.to_owned(), files, parsed: OnceLock::new() })
    }

    /// Files given by name and content; `folder` names their origin in errors.
    pub fn from_parts(folder: &str, files: Vec<(String, Vec<u8>)>) -> Self {
        Self { folder: folder.into(), files, parsed: OnceLock::new() }
    }

    /// Names and contents as they should be written: `tokenizer_class` is one that transformers 4.57 and 5.x both
    /// know; everything else is carried as it was.
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

    /// The names present.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(name, _)| name.as_str())
    }

    fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.files.iter().find(|(file, _)| file == name).map(|(_, bytes)| bytes.as_slice())
    }

    /// A file as JSON, if it is there and is JSON.
    pub(super) fn json(&self, name: &str) -> Option<Value> {
        serde_json::from_slice(self.bytes(name)?).ok()
    }

    /// The tokenizer itself.
    ///
    /// # Errors
    /// [`TokenizerError::Missing`] without tokenizer.json, [`TokenizerError::Invalid`] if it does not parse.
    pub fn tokenizer(&self) -> Result<&Tokenizer, TokenizerError> {
        if let Some(tokenizer) = self.parsed.get() {
            return Ok(tokenizer);
        }
        let bytes =
            self.bytes("tokenizer.json").ok_or_else(|| TokenizerError::Missing { folder: self.folder.clone() })?;
        let tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| TokenizerError::Invalid {
            path: self.folder.join("tokenizer.json"),
            reason: error.to_string(),
        })?;
        Ok(self.parsed.get_or_init(|| tokenizer))
    }

    /// Token ids of a text, with the special tokens that the tokenizer adds.
    ///
    /// # Errors
    /// [`TokenizerError`] if there is no tokenizer or it fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self
            .tokenizer()?
            .encode(text, true)
            .map_err(|error| TokenizerError::Failed { folder: self.folder.clone(), reason: error.to_string() })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// True if tokenizer_config.json holds a chat template, where older formats keep it.
    pub fn has_chat_template(&self) -> bool {
        let config = self.bytes("tokenizer_config.json").and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok());
        config.is_some_and(|config| config.get("chat_template").is_some_and(|template| !template.is_null()))
    }

    /// The id of each role in `tokenizer_config.json`: `bos_token`, `eos_token`, `pad_token`, `unk_token`.
    pub fn role(&self, role: &str) -> Option<u32> {
        let config: Value = serde_json::from_slice(self.bytes("tokenizer_config.json")?).ok()?;
        let token = config.get(role)?;
        let text = token.as_str().or_else(|| token.get("content").and_then(Value::as_str))?;
        self.tokenizer().ok()?.token_to_id(text)
    }
}
