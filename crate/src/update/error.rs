//! Why a model could not be updated.

use crate::checkpoint::CheckpointError;
use crate::model_folder::ModelFolderError;
use crate::tokenizer::TokenizerError;

/// Why a model could not be updated.
#[derive(Debug, thiserror::Error)]
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
    #[error("{what}\n  where: {origin}\n  do: {advice}")]
    Migrations {
        /// What is wrong.
        what: String,
        /// The file, and the line where it is known.
        origin: String,
        /// What to do.
        advice: String,
    },
    /// No chain of migrations leads where it should.
    #[error("{what}\n  where: {origin}\n  do: {advice}")]
    NoChain {
        /// Which steps are missing, or that the way would lead back.
        what: String,
        /// The source and its version.
        origin: String,
        /// What to do.
        advice: String,
    },
    /// Tensors that do not fit the model; the message lists all of them.
    #[error("{0}")]
    Incomplete(String),
    /// An option or a file that does not fit.
    #[error("{what}\n  where: {origin}\n  do: {advice}")]
    Refused {
        /// What is wrong.
        what: String,
        /// The option or file.
        origin: String,
        /// What to do.
        advice: String,
    },
}

impl UpdateError {
    pub(super) fn refused(what: impl Into<String>, origin: impl std::fmt::Display, advice: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), origin: origin.to_string(), advice: advice.into() }
    }

    pub(super) fn migrations(what: impl Into<String>, origin: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Migrations { what: what.into(), origin: origin.into(), advice: advice.into() }
    }
}
