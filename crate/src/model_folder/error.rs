//! Why a model folder could not be opened or its model not be loaded.

use std::path::PathBuf;

use crate::checkpoint::CheckpointError;
use crate::device::NotEnoughMemory;
use crate::diagnostic::{Diagnose, Diagnostic};
use crate::model::ModelError;
use crate::naming::{FamilyError, IncompleteError};
use crate::spec::ConfigError;

/// Makes what [`ModelFolderError`] wraps an error of another type as well, by the latter's variant `Folder`.
macro_rules! wrap_through_folder {
    ($error:ident: $($wrapped:ty),+ $(,)?) => {
        $(impl From<$wrapped> for $error {
            fn from(error: $wrapped) -> Self {
                Self::Folder(error.into())
            }
        })+
    };
}
pub(crate) use wrap_through_folder;

/// Why a model folder could not be opened, or its model not be loaded.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum ModelFolderError {
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
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A model that does not fit into memory.
    #[error(transparent)]
    Memory(#[from] NotEnoughMemory),
    /// A file of the folder that is missing or not JSON.
    Folder {
        /// What is wrong.
        what: String,
        /// The file or folder.
        path: PathBuf,
        /// What to do.
        advice: String,
    },
    /// Options that the folder contradicts.
    Options {
        /// What is wrong.
        what: String,
        /// Which option.
        origin: String,
        /// What to do.
        advice: String,
    },
}

impl Diagnose for ModelFolderError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Checkpoint(error) => error.diagnostic(),
            Self::Config(error) => error.diagnostic(),
            Self::Family(error) => error.diagnostic(),
            Self::Incomplete(error) => error.diagnostic(),
            Self::Model(error) => error.diagnostic(),
            Self::Memory(error) => error.diagnostic(),
            Self::Folder { what, path, advice } => Diagnostic::new(what).at(path.display()).advise(advice),
            Self::Options { what, origin, advice } => Diagnostic::new(what).at(origin).advise(advice),
        }
    }
}
