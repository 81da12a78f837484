//! Errors about a tokenizer, a list of tokens to add, a chat template or a generation preset.

use std::path::PathBuf;

use crate::diagnostic::{Diagnose, Diagnostic};

/// Why a tokenizer could not be read, used, changed or trained.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum TokenizerError {
    /// A folder without a tokenizer.
    Missing {
        /// The folder.
        folder: PathBuf,
    },
    /// Files of a tokenizer in Python (tokenizer.model, vocab.json), without tokenizer.json.
    SlowOnly {
        /// The folder.
        folder: PathBuf,
        /// The files that are there.
        found: String,
    },
    /// A file that cannot be read.
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A training text that cannot be read.
    Text {
        /// What is wrong.
        what: String,
        /// The file, and the line where there is one.
        place: String,
        /// What to do.
        advice: String,
    },
    /// Tokens to add, a chat template, a conversation or a generation preset that cannot be used.
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
    Failed {
        /// The folder.
        folder: PathBuf,
        /// What the tokenizer says.
        reason: String,
    },
}

impl Diagnose for TokenizerError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Missing { folder } => Diagnostic::new("there is no tokenizer here")
                .at(folder.display())
                .advise("put tokenizer.json into the folder, or give token ids (--input-ids)"),
            Self::SlowOnly { found, folder } => {
                Diagnostic::new(format!("the tokenizer has no tokenizer.json, only {found}"))
                    .at(folder.display())
                    .advise(
                        "let transformers write it once: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
                    )
            }
            Self::Invalid { reason, path } => Diagnostic::new(format!("the tokenizer cannot be read: {reason}"))
                .at(path.display())
                .advise("copy the file again from its source"),
            Self::Text { what, place, advice } => Diagnostic::new(what).at(place).advise(advice),
            Self::Refused { what, place, advice } => Diagnostic::new(what).at(place).advise(advice),
            Self::Folder(error) => error.diagnostic(),
            Self::Interrupted(error) => error.diagnostic(),
            Self::Failed { reason, folder } => Diagnostic::new(format!("the tokenizer failed: {reason}"))
                .at(folder.display())
                .advise("check that the tokenizer belongs to this model"),
        }
    }
}

impl TokenizerError {
    /// What is wrong, where, and what to do about it.
    pub(super) fn refused(what: impl Into<String>, place: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), place: place.into(), advice: advice.into() }
    }
}

/// Returns `; did you mean …?` with the name of `known` that looks most like `name`, or nothing.
pub(super) fn meant(name: &str, known: &[&str]) -> String {
    let likeness = |candidate: &&&str| strsim::jaro_winkler(name, candidate);
    let hint = known.iter().filter(|candidate| likeness(candidate) > 0.75);
    let hint = hint.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    hint.map_or_else(String::new, |hint| format!("; did you mean `{hint}`?"))
}
