//! Why models could not be compared.

use std::path::PathBuf;

use crate::checkpoint::CheckpointError;
use crate::device::{DeviceError, NotEnoughMemory};
use crate::diagnostic::{Diagnose, Diagnostic};
use crate::model::ModelError;
use crate::model_folder::{ModelFolderError, wrap_through_folder};
use crate::naming::FamilyError;
use crate::tokenizer::TokenizerError;

/// Why models could not be compared, or logits not be computed.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum CompareError {
    /// A model's folder or file: its weights, configuration, family and model; or the file that logits are written to.
    #[error(transparent)]
    Folder(#[from] ModelFolderError),
    /// The device to compute on.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A file of token ids, of reference outputs or of a configuration that is missing or does not fit.
    File {
        /// What is wrong.
        what: String,
        /// The file.
        path: PathBuf,
        /// What to do.
        advice: String,
    },
}

wrap_through_folder!(CompareError: CheckpointError, FamilyError, ModelError, NotEnoughMemory);

impl Diagnose for CompareError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Folder(error) => error.diagnostic(),
            Self::Device(error) => error.diagnostic(),
            Self::Tokenizer(error) => error.diagnostic(),
            Self::File { what, path, advice } => Diagnostic::new(what).at(path.display()).advise(advice),
        }
    }
}
