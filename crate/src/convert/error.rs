//! Why a conversion, a comparison or a model folder failed.

use std::path::PathBuf;

use super::FamilyError;
use crate::checkpoint::CheckpointError;
use crate::model::ModelError;
use crate::spec::ConfigError;

/// Why a model folder could not be opened, converted or compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The weights.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The family: its file, its rules, or a configuration that it does not cover.
    #[error(transparent)]
    Family(#[from] FamilyError),
    /// The sources that go with it.
    #[error(transparent)]
    Export(#[from] crate::export::ExportError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A model that does not fit into memory.
    #[error(transparent)]
    Memory(#[from] crate::device::NotEnoughMemory),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] crate::tokenizer::TokenizerError),
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
    /// Names or shapes that do not fit; the message lists all of them.
    #[error("{0}")]
    Incomplete(String),
    /// Options that contradict each other or the folder.
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
