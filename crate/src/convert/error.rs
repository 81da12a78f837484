//! Why a conversion failed.

use crate::checkpoint::CheckpointError;
use crate::device::{DeviceError, NotEnoughMemory};
use crate::diagnostic::{Diagnose, Diagnostic};
use crate::export::ExportError;
use crate::model::ModelError;
use crate::model_folder::ModelFolderError;
use crate::naming::{FamilyError, IncompleteError};
use crate::spec::ConfigError;
use crate::tokenizer::TokenizerError;

/// Why a model could not be converted.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum ConvertError {
    /// The source folder, or the one that was written.
    #[error(transparent)]
    Folder(#[from] ModelFolderError),
    /// The weights.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The family: its file, its rules, or a configuration that it does not cover.
    #[error(transparent)]
    Family(#[from] FamilyError),
    /// Names or shapes that do not fit the configuration.
    #[error(transparent)]
    Incomplete(#[from] IncompleteError),
    /// The sources that go with it.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A model that does not fit into memory.
    #[error(transparent)]
    Memory(#[from] NotEnoughMemory),
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

impl Diagnose for ConvertError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Folder(error) => error.diagnostic(),
            Self::Checkpoint(error) => error.diagnostic(),
            Self::Config(error) => error.diagnostic(),
            Self::Family(error) => error.diagnostic(),
            Self::Incomplete(error) => error.diagnostic(),
            Self::Export(error) => error.diagnostic(),
            Self::Model(error) => error.diagnostic(),
            Self::Memory(error) => error.diagnostic(),
            Self::Device(error) => error.diagnostic(),
            Self::Tokenizer(error) => error.diagnostic(),
            Self::Options { what, origin, advice } => Diagnostic::new(what).at(origin).advise(advice),
        }
    }
}
