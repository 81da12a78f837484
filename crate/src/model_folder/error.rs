//! Why a model folder could not be opened or its model not be loaded.

use std::path::PathBuf;

use crate::checkpoint::CheckpointError;
use crate::device::NotEnoughMemory;
use crate::model::ModelError;
use crate::naming::{FamilyError, IncompleteError};
use crate::spec::ConfigError;

/// Why a model folder could not be opened, or its model not be loaded.
#[derive(Debug, thiserror::Error)]
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
    #[error("{what}\n  where: {path}\n  do: {advice}", path = path.display())]
    Folder {
        /// What is wrong.
        what: String,
        /// The file or folder.
        path: PathBuf,
        /// What to do.
        advice: String,
    },
    /// Options that the folder contradicts.
    #[error("{what}\n  where: {origin}\n  do: {advice}")]
    Options {
        /// What is wrong.
        what: String,
        /// Which option.
        origin: String,
        /// What to do.
        advice: String,
    },
}
