//! Why a model could not be quantized.

use crate::convert::ConvertError;
use crate::spec::RecipeMisfit;

/// Why a model could not be quantized.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// The recipe does not fit a linear layer.
    #[error(transparent)]
    Misfit(#[from] RecipeMisfit),
    /// The model folder.
    #[error(transparent)]
    Folder(#[from] ConvertError),
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
