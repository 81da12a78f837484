//! Why a conversion failed.

use crate::checkpoint::CheckpointError;
use crate::device::{DeviceError, NotEnoughMemory};
use crate::diagnostic::{Diagnose, Diagnostic};
use crate::export::ExportError;
use crate::model::ModelError;
use crate::model_folder::{ModelFolderError, wrap_through_folder};
use crate::naming::{FamilyError, IncompleteError};
use crate::spec::ConfigError;
use crate::tokenizer::TokenizerError;

/// Why a model could not be converted.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum ConvertError {
    /// The source folder or the one that was written: their weights, configurations, families and models.
    #[error(transparent)]
    Folder(#[from] ModelFolderError),
    /// The sources that go with it.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The device to validate on.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Options that contradict each other or the folder.
    Options {
        /// What is wrong.
        what: String,
        /// Which option.
        origin: String,
        /// What to do.
        advice: String,
    },
}

wrap_through_folder!(ConvertError: CheckpointError, ConfigError, FamilyError, IncompleteError, ModelError, NotEnoughMemory);

impl Diagnose for ConvertError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Folder(error) => error.diagnostic(),
            Self::Export(error) => error.diagnostic(),
            Self::Device(error) => error.diagnostic(),
            Self::Tokenizer(error) => error.diagnostic(),
            Self::Options { what, origin, advice } => Diagnostic::new(what).at(origin).advise(advice),
        }
    }
}
