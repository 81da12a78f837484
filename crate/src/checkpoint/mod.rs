//! Weights on disk: headers first, tensors on demand, writing as a stream, folders that appear whole or not at all.

mod cast;
mod choice;
mod copy;
mod crc;
mod destination;
mod error;
mod folder;
mod gather;
mod gguf;
mod header;
mod layout;
mod links;
mod manifest;
mod open;
mod output_file;
mod pickle;
mod pickle_write;
mod pieces;
mod placement;
mod replacing;
mod timestamp;
mod unpickle;
mod writer;
mod zip_file;

pub(crate) use cast::{cast_floats, read_floats};
pub use choice::{CheckpointChoice, ChoiceReason, PassedOver};
pub use copy::CheckpointCopy;
pub use destination::{DestinationState, FolderChanges, listed};
pub use error::CheckpointError;
pub use folder::AtomicFolder;
pub use gather::{IndexBox, Strides};
pub use gguf::{GgufArray, GgufMetadata, GgufValue, gguf_header};
pub use layout::{
    CHECKPOINTS, GGUF_FILE, WEIGHTS_FILE, WEIGHTS_INDEX, WEIGHTS_NAMES, checkpoints_of, step_of, weights_entries,
};
pub use links::inside;
pub use manifest::{Component, Manifest};
pub use open::{Blocks, Checkpoint, TensorData};
pub use output_file::OutputFile;
pub use pieces::Piece;
pub(crate) use pieces::Pieces;
pub use placement::Placement;
pub(crate) use replacing::settle;
pub use timestamp::timestamp;
pub use writer::{DEFAULT_MAX_SHARD_SIZE, ShardPlan, TensorSource, WeightsFormat, WrittenFiles, parse_size};
