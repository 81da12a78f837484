//! Models in GGUF files, as llama.cpp and others run them: what a model's tensors and settings are called there, how
//! its weights are quantized in blocks, and how such a file is computed with.

mod error;
mod metadata;
mod model;
mod names;
mod plan;
mod storage;
mod vocabulary;
mod write;

pub use crate::checkpoint::GGUF_FILE;
pub use error::GgufError;
pub use model::{GgufModel, gguf_in};
pub use plan::{GgufPlan, GgufTensor};
pub use storage::GgufType;
pub use write::GgufWritten;
