//! One file of weights: the validated positions of its tensors, without their data, read from a safetensors header.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::tensor::Metadata;

use super::derived::Compute;
use super::{CheckpointError, GgufMetadata};
use crate::spec::DType;

/// Headers beyond this are refused, as in the reference implementation.
const MAX_HEADER: u64 = 100_000_000;

/// The position of one tensor in a file.
#[derive(Clone, Debug)]
pub(super) struct Extent {
    pub(super) name: String,
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    /// Absolute position of the first byte in the file.
    pub(super) start: u64,
    pub(super) len: u64,
    /// How its bytes are computed, if the file does not hold them as they are.
    pub(super) derived: Option<Arc<dyn Compute>>,
}

impl Extent {
    /// Returns the bytes of one index of the first dimension.
    pub(super) fn row_bytes(&self) -> u64 {
        self.len / self.shape.first().map_or(1, |&rows| rows.max(1)) as u64
    }
}

/// An open file with its tensors in order of position.
#[derive(Debug)]
pub(super) struct WeightsFile {
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    pub(super) tensors: Vec<Extent>,
    pub(super) metadata: HashMap<String, String>,
    /// What a person should know: entries that are not tensors, for instance.
    pub(super) notes: Vec<String>,
    /// The typed metadata of a GGUF file.
    pub(super) gguf: Option<GgufMetadata>,
}

impl WeightsFile {
    /// Opens a safetensors file and checks its header against the file's size: lengths, offsets, overlaps and element types.
    pub(super) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let invalid = |reason: String| CheckpointError::Header { path: path.to_owned(), reason };
        let mut file = File::open(path).map_err(CheckpointError::io("opening", path))?;
        let status = file.metadata().map_err(CheckpointError::io("reading the size", path))?;
        if !status.is_file() {
            return Err(invalid("it is not a regular file".to_owned()));
        }
        let size = status.len();
        if size < 8 {
            return Err(invalid(format!("{size} bytes are too few for a header")));
        }
        let mut length = [0u8; 8];
        file.read_exact(&mut length).map_err(CheckpointError::io("reading the header", path))?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER || length > size - 8 {
            return Err(invalid(format!(
                "the header claims {length} bytes, the file has {} after its length",
                size - 8
            )));
        }
        let mut header = vec![0u8; length as usize];
        file.read_exact(&mut header).map_err(CheckpointError::io("reading the header", path))?;
        let parsed: Metadata = serde_json::from_slice(&header).map_err(|error| invalid(format!("header: {error}")))?;
        let data = size - 8 - length;
        let expected = parsed.data_len() as u64;
        if expected != data {
            let verb = if expected > data { "truncated" } else { "longer than its header says" };
            return Err(invalid(format!("it is {verb}: tensors take {expected} bytes, the file holds {data}")));
        }
        let mut tensors = Vec::new();
        for name in parsed.offset_keys() {
            let info = parsed.info(&name).ok_or_else(|| invalid(format!("tensor `{name}` has no entry")))?;
            let dtype = serde_json::to_value(info.dtype).ok();
            let dtype = dtype.as_ref().and_then(|dtype| dtype.as_str()).and_then(DType::parse).ok_or_else(|| {
                invalid(format!("tensor `{name}` has element type {:?}, which this crate does not read", info.dtype))
            })?;
            let (start, end) = info.data_offsets;
            let shape = info.shape.clone();
            tensors.push(Extent {
                name,
                dtype,
                shape,
                start: 8 + length + start as u64,
                len: (end - start) as u64,
                derived: None,
            });
        }
        tensors.sort_by_key(|extent| extent.start);
        let metadata = parsed.metadata().clone().unwrap_or_default();
        Ok(Self { path: path.to_owned(), file: Arc::new(file), tensors, metadata, notes: Vec::new(), gguf: None })
    }
}
