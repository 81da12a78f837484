//! Why a model could not be written as GGUF.

use std::path::PathBuf;

use crate::checkpoint::CheckpointError;
use crate::diagnostic::{Diagnose, Diagnostic};
use crate::model_folder::ModelFolderError;
use crate::naming::{FamilyError, IncompleteError};
use crate::tokenizer::TokenizerError;

/// Why a model could not be written as GGUF.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum GgufError {
    /// A model for which the file's readers have no architecture.
    Beyond {
        /// What it has that none of the architectures has.
        what: String,
        /// The model's folder.
        origin: PathBuf,
    },
    /// A tokenizer that cannot be expressed.
    Tokenizer {
        /// What is wrong.
        what: String,
        /// What to do.
        advice: &'static str,
        /// The model's folder.
        origin: PathBuf,
    },
    /// Values that the chosen type cannot hold.
    Values {
        /// The tensor.
        tensor: String,
        /// What is wrong with its values.
        what: String,
        /// What to do.
        advice: &'static str,
        /// The weights.
        origin: PathBuf,
    },
    /// Reading the source or writing the file.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The model's folder.
    #[error(transparent)]
    Source(#[from] ModelFolderError),
    /// The family's rules.
    #[error(transparent)]
    Family(#[from] FamilyError),
    /// Tensors that do not fit the configuration.
    #[error(transparent)]
    Incomplete(#[from] IncompleteError),
    /// The tokenizer's files.
    #[error(transparent)]
    Files(#[from] TokenizerError),
}

impl Diagnose for GgufError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Beyond { what, origin } => Diagnostic::new(format!("GGUF cannot express this model: {what}"))
                .at(origin.display())
                .advise("write safetensors, whose folder carries the model's sources"),
            Self::Tokenizer { what, origin, advice } => {
                Diagnostic::new(format!("GGUF cannot express this tokenizer: {what}"))
                    .at(origin.display())
                    .advise(*advice)
            }
            Self::Values { tensor, what, origin, advice } => {
                Diagnostic::new(format!("tensor `{tensor}` {what}")).at(origin.display()).advise(*advice)
            }
            Self::Checkpoint(error) => error.diagnostic(),
            Self::Source(error) => error.diagnostic(),
            Self::Family(error) => error.diagnostic(),
            Self::Incomplete(error) => error.diagnostic(),
            Self::Files(error) => error.diagnostic(),
        }
    }
}
