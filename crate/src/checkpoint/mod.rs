//! Weights on disk: headers first, tensors on demand, writing as a stream, folders that appear whole or not at all.

mod adapter;
mod dequantize;
mod derived;
mod elements;
mod error;
mod files;
mod gguf;
mod header;
mod open;
mod pytorch;
mod write_options;
mod writer;

pub(crate) use adapter::ADAPTER_CONFIG;
pub(crate) use elements::cast::{cast_floats, read_floats};
pub use elements::copy::CheckpointCopy;
pub use elements::gather::{IndexBox, Strides};
pub use elements::pieces::Piece;
pub(crate) use elements::pieces::Pieces;
pub use error::CheckpointError;
pub use files::choice::{CheckpointChoice, ChoiceReason, PassedOver};
pub use files::destination::{DestinationState, FolderChanges, listed};
pub use files::folder::AtomicFolder;
pub use files::layout::{
    CHECKPOINTS, GGUF_FILE, WEIGHTS_FILE, WEIGHTS_INDEX, WEIGHTS_NAMES, checkpoints_of, step_of, weights_entries,
};
pub use files::links::inside;
pub use files::manifest::{Component, Manifest};
pub use files::output_file::OutputFile;
pub use files::placement::Placement;
pub(crate) use files::replacing::settle;
pub use files::timestamp::timestamp;
pub use gguf::{GgufArray, GgufMetadata, GgufValue, gguf_header};
pub use open::{Blocks, Checkpoint, TensorData};
pub(crate) use write_options::write_setters;
pub use write_options::{SaveOptions, WriteOptions};
pub use writer::{DEFAULT_MAX_SHARD_SIZE, ShardPlan, TensorSource, WeightsFormat, WrittenFiles, parse_size};
