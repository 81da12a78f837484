//! A model to compute with, by its path: a folder of either side, or a GGUF file.

use std::path::Path;

use crate::checkpoint::{CHECKPOINTS, CheckpointChoice};
use crate::gguf::{GgufModel, gguf_in};
use crate::model::StreamedLm;
use crate::model_folder::{ModelFolder, ModelFolderError, streamed_dtype};
use crate::naming::Families;
use crate::spec::{DType, ModelConfig};

/// Returns the model folder that a checkpoint's folder belongs to, if it has no configuration of its own.
fn model_of(checkpoint: &Path) -> Option<&Path> {
    let own = checkpoint.join("config.json").exists();
    let model = checkpoint.parent().filter(|parent| !own && parent.ends_with(CHECKPOINTS))?.parent()?;
    let model = if model.as_os_str().is_empty() { Path::new(".") } else { model };
    Some(model).filter(|model| model.join("config.json").exists())
}

/// A model whose weights were not read yet.
pub(super) enum Model {
    Folder(ModelFolder),
    Gguf(GgufModel),
}

impl Model {
    /// Opens a model, with the weights of the checkpoint `named` if there is one. A checkpoint's folder is its model
    /// folder with the weights of that checkpoint.
    pub(super) fn open(path: &Path, named: Option<&Path>, families: &Families) -> Result<Self, ModelFolderError> {
        match (gguf_in(path), named) {
            (Some(file), None) => GgufModel::open(&file).map(Self::Gguf),
            (_, Some(_)) => ModelFolder::open_as(path, named, families, None).map(Self::Folder),
            (None, None) => {
                let (folder, checkpoint) = match model_of(path) {
                    Some(model) => (model, Some(path)),
                    None => (path, None),
                };
                ModelFolder::open_as(folder, checkpoint, families, None).map(Self::Folder)
            }
        }
    }

    /// Returns which weights it has.
    pub(super) fn choice(&self) -> &CheckpointChoice {
        match self {
            Self::Folder(folder) => folder.checkpoint().choice(),
            Self::Gguf(file) => file.checkpoint().choice(),
        }
    }

    pub(super) fn config(&self) -> &ModelConfig {
        match self {
            Self::Folder(folder) => folder.config(),
            Self::Gguf(file) => file.config(),
        }
    }

    /// Returns the folder that may hold a tokenizer.
    pub(super) fn folder(&self) -> &Path {
        match self {
            Self::Folder(folder) => folder.path(),
            Self::Gguf(file) => file.folder(),
        }
    }

    /// Returns the model, to compute in float32, layer by layer.
    pub(super) fn stream(&self, device: &candle_core::Device) -> Result<StreamedLm<'_>, ModelFolderError> {
        match self {
            Self::Folder(folder) => folder.stream(device),
            Self::Gguf(file) => file.stream(device),
        }
    }

    /// Returns the type that its weights have in memory while they are streamed.
    pub(super) fn streamed_dtype(&self) -> DType {
        match self {
            Self::Folder(folder) => streamed_dtype(folder.checkpoint().table()),
            Self::Gguf(file) => streamed_dtype(file.checkpoint().table()),
        }
    }

    /// Fields of its config.json that nothing reads.
    pub(super) fn unread_fields(&self) -> Vec<String> {
        match self {
            Self::Folder(folder) => folder.unread_fields(),
            Self::Gguf(_) => Vec::new(),
        }
    }
}
