//! GGUF files: typed metadata, and tensors that may be quantized in blocks.
//!
//! Magic, version, counts, metadata, places of tensors, padding, data; all little endian. The layout is described at
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod read;
mod types;
mod value;
mod write;

pub use value::{GgufArray, GgufMetadata, GgufValue};
pub use write::gguf_header;

/// The four bytes a file begins with.
const MAGIC: &[u8; 4] = b"GGUF";
/// The version that is written. Version 2 has the same layout.
const VERSION: u32 = 3;
/// The alignment of tensors, in bytes, where `general.alignment` does not say otherwise.
const ALIGNMENT: u64 = 32;
