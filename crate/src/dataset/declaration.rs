//! `dataset.yaml`: the declaration of a dataset project.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Declaration {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) default_config: String,
    pub(super) configs: BTreeMap<String, Settings>,
}

/// One configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// Files relative to the project; `*`, `?` and `**` stand for names, parts of names and folders.
    pub(super) files: OneOrMany,
    /// Needed if the files' names do not say it.
    pub(super) format: Option<Format>,
    /// The column with the text, or a template of columns such as `{{ title }}: {{ body }}`.
    #[serde(default = "text_column")]
    pub(super) text: String,
    /// The column with a chat, a list of messages: the tokenizer's chat template makes the text of it, and only what the
    /// assistant says is learned. It takes the place of `text`.
    pub(super) messages: Option<String>,
    /// Of plain text files: `file`, `line`, `blank_line`, or the text between two documents.
    #[serde(default = "blank_line")]
    pub(super) separator: String,
    #[serde(default)]
    pub(super) tokenizer: TokenizerOptions,
    #[serde(default)]
    pub(super) packing: Packing,
    /// Tokens per block; the test's sequence length unless given.
    pub(super) block_length: Option<usize>,
    /// Shuffles the documents.
    pub(super) shuffle_seed: Option<u64>,
    /// The maximum number of documents.
    pub(super) limit: Option<usize>,
}

fn text_column() -> String {
    "text".to_owned()
}

fn blank_line() -> String {
    "blank_line".to_owned()
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(super) fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// `true` demands the token, `false` leaves it out; unless given, it is added if the tokenizer has it.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenizerOptions {
    pub(super) add_bos: Option<bool>,
    pub(super) add_eos: Option<bool>,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    Text,
    JsonLines,
    Json,
    Parquet,
    Csv,
    Tsv,
}

/// How the bytes of a file are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    /// By the last ending of the file's name.
    pub(super) fn of(name: &str) -> Option<Self> {
        match name.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
            "gz" | "gzip" => Some(Self::Gzip),
            "zst" | "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

impl Format {
    /// By the ending of the file's name, before that of its compression.
    pub(super) fn of(name: &str) -> Option<Self> {
        let name = if Compression::of(name).is_some() { name.rsplit_once('.')?.0 } else { name };
        match name.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
            "txt" | "text" | "md" => Some(Self::Text),
            "jsonl" | "ndjson" | "jsonlines" => Some(Self::JsonLines),
            "json" => Some(Self::Json),
            "parquet" => Some(Self::Parquet),
            "csv" => Some(Self::Csv),
            "tsv" | "tab" => Some(Self::Tsv),
            _ => None,
        }
    }
}

/// How documents become blocks of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// A block is a document; what is longer than a block is cut off.
    #[default]
    None,
    /// All documents in a row, cut at every block length.
    Greedy,
    /// Each document whole, into the first block with room; longer ones are split first.
    FirstFit,
    /// Each document whole, into the block with the least room that suffices; longer ones are split first.
    BestFit,
}

impl Packing {
    /// Returns the name in `dataset.yaml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Greedy => "greedy",
            Self::FirstFit => "first_fit",
            Self::BestFit => "best_fit",
        }
    }
}

impl std::fmt::Display for Packing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}
