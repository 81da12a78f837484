//! Why a model could not be quantized.

use crate::diagnostic::{Diagnose, Diagnostic};
use crate::model::ModelError;
use crate::model_folder::ModelFolderError;
use crate::spec::RecipeMisfit;
use crate::tokenizer::TokenizerError;

/// Why a model could not be quantized.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum QuantizeError {
    /// The recipe does not fit a linear layer.
    #[error(transparent)]
    Misfit(#[from] RecipeMisfit),
    /// The model folder.
    #[error(transparent)]
    Folder(#[from] ModelFolderError),
    /// The tokenizer, or a prompt that it cannot encode.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The model, while its logits are computed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A model that cannot be quantized, or is quantized already.
    Refused {
        /// What is wrong.
        what: String,
        /// The folder.
        origin: String,
        /// What to do.
        advice: String,
    },
}

impl Diagnose for QuantizeError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Misfit(error) => error.diagnostic(),
            Self::Folder(error) => error.diagnostic(),
            Self::Tokenizer(error) => error.diagnostic(),
            Self::Model(error) => error.diagnostic(),
            Self::Refused { what, origin, advice } => Diagnostic::new(what).at(origin).advise(advice),
        }
    }
}
