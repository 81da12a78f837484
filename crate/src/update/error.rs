//! Why a model could not be updated.

use super::ParameterMisfit;
use crate::checkpoint::CheckpointError;
use crate::diagnostic::{Diagnose, Diagnostic};
use crate::model_folder::ModelFolderError;
use crate::tokenizer::TokenizerError;

/// Why a model could not be updated.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum UpdateError {
    /// The source folder, or what its configuration became.
    #[error(transparent)]
    Source(#[from] ModelFolderError),
    /// The sources that go with it.
    #[error(transparent)]
    Export(#[from] crate::export::ExportError),
    /// Its weights, or the destination.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A file of migrations that cannot be used.
    Migrations {
        /// What is wrong.
        what: String,
        /// The file, and the line where it is known.
        origin: String,
        /// What to do.
        advice: String,
    },
    /// No chain of migrations leads to the version.
    NoChain {
        /// The missing steps, or that the version is older.
        what: String,
        /// The source and its version.
        origin: String,
        /// What to do.
        advice: String,
    },
    /// Tensors that do not fit the model.
    Incomplete {
        /// All of them.
        misfit: Box<ParameterMisfit>,
    },
    /// An option or a file that does not fit.
    Refused {
        /// What is wrong.
        what: String,
        /// The option or file.
        origin: String,
        /// What to do.
        advice: String,
    },
}

impl Diagnose for UpdateError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Source(error) => error.diagnostic(),
            Self::Export(error) => error.diagnostic(),
            Self::Checkpoint(error) => error.diagnostic(),
            Self::Tokenizer(error) => error.diagnostic(),
            Self::Migrations { what, origin, advice } => Diagnostic::new(what).at(origin).advise(advice),
            Self::NoChain { what, origin, advice } => Diagnostic::new(what).at(origin).advise(advice),
            Self::Incomplete { misfit } => misfit.diagnostic(),
            Self::Refused { what, origin, advice } => Diagnostic::new(what).at(origin).advise(advice),
        }
    }
}

impl UpdateError {
    pub(super) fn refused(what: impl Into<String>, origin: impl std::fmt::Display, advice: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), origin: origin.to_string(), advice: advice.into() }
    }

    pub(super) fn migrations(what: impl Into<String>, origin: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Migrations { what: what.into(), origin: origin.into(), advice: advice.into() }
    }
}
