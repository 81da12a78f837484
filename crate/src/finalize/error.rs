//! Why a model could not be finalized.

use crate::checkpoint::CheckpointError;
use crate::diagnostic::{Diagnose, Diagnostic};
use crate::gguf::GgufError;
use crate::model_folder::ModelFolderError;
use crate::quantize::QuantizeError;
use crate::tokenizer::TokenizerError;

/// Why a model could not be finalized.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum FinalizeError {
    /// The source folder.
    #[error(transparent)]
    Source(#[from] ModelFolderError),
    /// The sources that go with it.
    #[error(transparent)]
    Export(#[from] crate::export::ExportError),
    /// Its weights, or the destination.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its tokenizer, or what was asked of it.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The GGUF file that was asked for.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The quantization that was asked for.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// A file that is not what it should be, or an option that does not fit.
    Refused {
        /// What is wrong.
        what: String,
        /// The file or option.
        origin: String,
        /// What to do.
        advice: String,
    },
}

impl Diagnose for FinalizeError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Source(error) => error.diagnostic(),
            Self::Export(error) => error.diagnostic(),
            Self::Checkpoint(error) => error.diagnostic(),
            Self::Tokenizer(error) => error.diagnostic(),
            Self::Gguf(error) => error.diagnostic(),
            Self::Quantize(error) => error.diagnostic(),
            Self::Refused { what, origin, advice } => Diagnostic::new(what).at(origin).advise(advice),
        }
    }
}

impl FinalizeError {
    /// Refuses an option or a file.
    pub(super) fn refused(what: impl Into<String>, origin: impl std::fmt::Display, advice: &str) -> Self {
        Self::Refused { what: what.into(), origin: origin.to_string(), advice: advice.to_owned() }
    }
}
