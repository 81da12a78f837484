//! A model to compute with, by its path: a folder of either side, or a GGUF file.

use std::path::Path;

use crate::convert::{ConvertError, Families, ModelFolder};
use crate::gguf::{GgufModel, gguf_in};
use crate::model::CausalLm;
use crate::spec::{DType, ModelConfig};

/// A model whose weights were not read yet.
pub(super) enum Model {
    Folder(ModelFolder),
    Gguf(GgufModel),
}

impl Model {
    pub(super) fn open(path: &Path, families: &Families) -> Result<Self, ConvertError> {
        match gguf_in(path) {
            Some(file) => GgufModel::open(&file).map(Self::Gguf),
            None => ModelFolder::open_as(path, None, families, None).map(Self::Folder),
        }
    }

    pub(super) fn config(&self) -> &ModelConfig {
        match self {
            Self::Folder(folder) => folder.config(),
            Self::Gguf(file) => file.config(),
        }
    }

    /// The folder that may hold a tokenizer.
    pub(super) fn folder(&self) -> &Path {
        match self {
            Self::Folder(folder) => folder.path(),
            Self::Gguf(file) => file.folder(),
        }
    }

    /// The model, to compute in float32.
    pub(super) fn load(&self, device: &candle_core::Device) -> Result<CausalLm, ConvertError> {
        match self {
            Self::Folder(folder) => folder.load(DType::F32, device, false),
            Self::Gguf(file) => file.load(DType::F32, device),
        }
    }
}
