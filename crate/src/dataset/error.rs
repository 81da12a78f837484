//! Errors on the way from a folder of files to token ids. Each names the file, and the column and row if there are any.

use std::path::PathBuf;

use crate::diagnostic::{Diagnose, Diagnostic};
use crate::interrupt::Interrupted;
use crate::sealed::Sealed;
use crate::tokenizer::TokenizerError;

/// Why a dataset could not be opened or loaded.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum DatasetError {
    /// An unknown name.
    Unknown {
        /// Dataset project or configuration.
        kind: &'static str,
        /// The name that was given.
        name: String,
        /// The closest name there is.
        hint: Option<String>,
        /// Where it was searched for.
        place: String,
        /// The known names.
        known: String,
    },
    /// A column that is missing from a file.
    Column {
        /// The column that `text` names.
        column: String,
        /// The file.
        file: String,
        /// The closest column there is.
        hint: Option<String>,
        /// The file's columns.
        known: String,
    },
    /// dataset.yaml is wrong.
    Declaration {
        /// What is wrong.
        reason: String,
        /// The file and the configuration.
        place: String,
        /// What to do.
        advice: String,
    },
    /// Files that are missing, or that hold something else than declared.
    Content {
        /// What is wrong.
        what: String,
        /// The file, with column and row where they are known.
        place: String,
        /// What to do.
        advice: String,
    },
    /// A file system error.
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's message.
        source: Sealed<std::io::Error>,
    },
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The user stopped it.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl Diagnose for DatasetError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Unknown { kind, name, hint, place, known } => {
                Diagnostic::new(format!("there is no {kind} `{name}`{}", meant(hint)))
                    .at(place)
                    .advise(format!("use one of: {known}"))
            }
            Self::Column { column, hint, file, known } => {
                Diagnostic::new(format!("there is no column `{column}`{}", meant(hint)))
                    .at(file)
                    .advise(format!("use one of: {known}"))
            }
            Self::Declaration { reason, place, advice } => {
                Diagnostic::new(format!("the dataset's declaration cannot be used: {reason}")).at(place).advise(advice)
            }
            Self::Content { what, place, advice } => Diagnostic::new(what).at(place).advise(advice),
            Self::Io { action, source, path } => Diagnostic::new(format!("{action} failed: {source}"))
                .at(path.display())
                .advise("check that the file is there and may be read"),
            Self::Tokenizer(error) => error.diagnostic(),
            Self::Interrupted(error) => error.diagnostic(),
        }
    }
}

fn meant(hint: &Option<String>) -> String {
    hint.as_ref().map_or_else(String::new, |hint| format!("; did you mean `{hint}`?"))
}

impl DatasetError {
    pub(super) fn io(action: &'static str, path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source: Sealed::new(source) }
    }
}

/// Returns the known name that is most similar to `name`, if there is one.
pub(super) fn closest(name: &str, known: &[String]) -> Option<String> {
    let likeness = |candidate: &String| strsim::jaro_winkler(&name.to_lowercase(), &candidate.to_lowercase());
    let alike = known.iter().filter(|candidate| likeness(candidate) > 0.75);
    alike.max_by(|a, b| likeness(a).total_cmp(&likeness(b))).cloned()
}
