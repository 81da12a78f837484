//! Why a model could not be quantized.

use crate::model::ModelError;
use crate::model_folder::ModelFolderError;
use crate::spec::RecipeMisfit;
use crate::tokenizer::TokenizerError;

/// Why a model could not be quantized.
#[derive(Debug, thiserror::Error)]
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
    /// A model that cannot be quantized, or not again.
    #[error("{what}\n  where: {origin}\n  do: {advice}")]
    Refused {
        /// What is wrong.
        what: String,
        /// The folder.
        origin: String,
        /// What to do.
        advice: String,
    },
}
