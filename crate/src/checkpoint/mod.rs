//! Weights on disk: headers first, tensors on demand, writing as a stream, folders that appear whole or not at all.

mod cast;
mod copy;
mod crc;
mod error;
mod folder;
mod gguf;
mod header;
mod layout;
mod links;
mod manifest;
mod open;
mod pickle;
mod pickle_write;
mod pieces;
mod placement;
mod timestamp;
mod unpickle;
mod weave;
mod writer;
mod zip_file;

pub(crate) use cast::{cast_floats, read_floats};
pub use copy::CheckpointCopy;
pub use error::CheckpointError;
pub use folder::AtomicFolder;
pub use gguf::{GgufArray, GgufMetadata, GgufValue, gguf_header};
pub use layout::{WEIGHTS_FILE, WEIGHTS_INDEX, WEIGHTS_NAMES, checkpoints_of, latest_checkpoint, step_of};
pub use links::inside;
pub use manifest::{Component, Manifest};
pub use open::{Blocks, Checkpoint, TensorData};
pub use pieces::Piece;
pub(crate) use pieces::Pieces;
pub use placement::Placement;
pub use timestamp::timestamp;
pub use weave::{Strand, Walk};
pub use writer::{DEFAULT_MAX_SHARD_SIZE, ShardPlan, TensorSource, WeightsFormat, Written, parse_size};
