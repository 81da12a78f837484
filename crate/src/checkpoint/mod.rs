//! Weights on disk: headers first, tensors on demand, writing as a stream, folders that appear whole or not at all.

mod cast;
mod copy;
mod crc;
mod error;
mod folder;
mod gguf;
mod header;
mod layout;
mod open;
mod pickle;
mod pickle_write;
mod pieces;
mod unpickle;
mod writer;
mod zip_file;

pub use copy::CheckpointCopy;
pub use error::CheckpointError;
pub use folder::AtomicFolder;
pub use gguf::{GgufArray, GgufMetadata, GgufValue, gguf_header};
pub use layout::{WEIGHTS_FILE, WEIGHTS_INDEX, WEIGHTS_NAMES, checkpoints_of, latest_checkpoint, step_of};
pub use open::{Blocks, Checkpoint, TensorData};
pub use pieces::Piece;
pub(crate) use pieces::Pieces;
pub use writer::{DEFAULT_MAX_SHARD_SIZE, ShardPlan, TensorSource, WeightsFormat, Written, parse_size};
