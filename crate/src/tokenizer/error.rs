//! What can be wrong with a tokenizer, a list of tokens to add, a chat template or a generation preset.

use std::path::PathBuf;

/// Why a tokenizer could not be read, used, changed or trained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// No tokenizer.json.
    #[error("there is no tokenizer here\n  where: {folder}\n  do: put tokenizer.json into the folder, or give token ids (--input-ids)", folder = folder.display())]
    Missing {
        /// The folder.
        folder: PathBuf,
    },
    /// Files of a tokenizer in Python (tokenizer.model, vocab.json), without tokenizer.json.
    #[error("the tokenizer has no tokenizer.json, only {found}\n  where: {folder}\n  do: let transformers write it once: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)", folder = folder.display())]
    SlowOnly {
        /// The folder.
        folder: PathBuf,
        /// The files that are there.
        found: String,
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
    /// Tokens to add, a chat template, a conversation or a generation preset that cannot be used.
    #[error("{what}\n  where: {place}\n  do: {advice}")]
    Refused {
        /// What is wrong.
        what: String,
        /// The file, the line and its text, as far as they are known.
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

impl TokenizerError {
    /// What is wrong, where, and what to do about it.
    pub(super) fn refused(what: impl Into<String>, place: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), place: place.into(), advice: advice.into() }
    }
}

/// ` (is ... meant?)` with the name of `known` that looks most like `name`, or nothing.
pub(super) fn meant(name: &str, known: &[&str]) -> String {
    let likeness = |candidate: &&&str| strsim::jaro_winkler(name, candidate);
    let hint = known.iter().filter(|candidate| likeness(candidate) > 0.75);
    let hint = hint.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    hint.map_or_else(String::new, |hint| format!(" (is `{hint}` meant?)"))
}
