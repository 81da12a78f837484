//! PyTorch `.bin` files: a zip of stored tensors and a pickle that says what they are.
//!
//! The pickle is read by candle's interpreter, which builds values and calls nothing. The zip stores without
//! compression, so every tensor is a run of bytes of the file, and is read and copied like those of safetensors.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use candle_core::pickle::{Object, Stack, TensorInfo};
use zip::{CompressionMethod, ZipArchive};

use super::CheckpointError;
use super::header::{Extent, WeightsFile};
use crate::spec::DType;

/// The description in a file of this format; a model of a million tensors stays far below.
const MAX_PICKLE: u64 = 100_000_000;

impl WeightsFile {
    /// Opens a `.bin` file that torch 1.6 or later wrote from a state dict.
    pub(super) fn open_pickle(path: &Path) -> Result<Self, CheckpointError> {
        let invalid = |reason: String| CheckpointError::Pickle { path: path.to_owned(), reason };
        let file = File::open(path).map_err(CheckpointError::io("opening", path))?;
        let reader = file.try_clone().map_err(CheckpointError::io("opening", path))?;
        let mut zip = ZipArchive::new(BufReader::new(reader))
            .map_err(|error| invalid(format!("it is no zip of tensors, as torch 1.6 and later write ({error})")))?;
        let infos = describe(&mut zip).map_err(invalid)?;
        let mut tensors = Vec::with_capacity(infos.len());
        for info in infos {
            tensors
                .push(extent(&mut zip, &info).map_err(|reason| invalid(format!("tensor `{}`: {reason}", info.name)))?);
        }
        tensors.sort_by(|a, b| (a.start, &a.name).cmp(&(b.start, &b.name)));
        Ok(Self { path: path.to_owned(), file, tensors, metadata: HashMap::new() })
    }
}

/// What the pickle says: every entry of its dictionary has to be a tensor.
fn describe(zip: &mut ZipArchive<BufReader<File>>) -> Result<Vec<TensorInfo>, String> {
    let names: Vec<String> =
        (0..zip.len()).filter_map(|index| Some(zip.by_index(index).ok()?.name().ok()?.to_string())).collect();
    let name = names.iter().find(|name| name.ends_with("data.pkl")).ok_or("it holds no data.pkl")?;
    let folder = name.trim_end_matches(".pkl").to_owned();
    let entry = zip.by_name(name).map_err(|error| error.to_string())?;
    if entry.size() > MAX_PICKLE {
        return Err(format!("its data.pkl has {} bytes", entry.size()));
    }
    let mut reader = BufReader::new(entry);
    // candle's interpreter takes arguments off lists that a forged file may leave empty.
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut stack = Stack::empty();
        stack.read_loop(&mut reader).map_err(|error| error.to_string())?;
        let Object::Dict(entries) = stack.finalize().map_err(|error| error.to_string())? else {
            return Err("its pickle is no dictionary of tensors".to_owned());
        };
        let infos = entries.into_iter().map(|(key, value)| {
            let shown = match &key {
                Object::Unicode(text) => text.clone(),
                other => format!("{other:?}"),
            };
            match value.into_tensor_info(key, Path::new(&folder)) {
                Ok(Some(info)) => Ok(info),
                Ok(None) => Err(format!("`{shown}` is no tensor; save the model's state_dict alone")),
                Err(error) => Err(format!("`{shown}`: {error}")),
            }
        });
        infos.collect::<Result<Vec<_>, String>>()
    }));
    read.unwrap_or_else(|_| Err("its pickle is malformed".to_owned()))
}

/// Where a tensor's bytes are.
fn extent(zip: &mut ZipArchive<BufReader<File>>, info: &TensorInfo) -> Result<Extent, String> {
    let dtype = DType::parse(info.dtype.as_str().to_uppercase().as_str())
        .ok_or_else(|| format!("element type {} is not read", info.dtype.as_str()))?;
    if !info.layout.is_contiguous() {
        return Err("it is not stored row by row; call .contiguous() before saving".to_owned());
    }
    let entry = zip.by_name(&info.path).map_err(|error| format!("{}: {error}", info.path))?;
    if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
        return Err("its bytes are compressed or encrypted".to_owned());
    }
    let width = dtype.bytes() as u64;
    let elements = info.layout.dims().iter().try_fold(1u64, |all, &dim| all.checked_mul(dim as u64));
    let len = elements.and_then(|elements| elements.checked_mul(width)).ok_or("its shape overflows")?;
    let offset = (info.layout.start_offset() as u64).checked_mul(width).ok_or("its offset overflows")?;
    if offset.checked_add(len).is_none_or(|end| end > entry.size()) {
        return Err(format!("it needs {len} bytes at {offset}, its storage has {}", entry.size()));
    }
    let start = entry.data_start().ok_or("the zip does not say where its bytes are")?;
    Ok(Extent { name: info.name.clone(), dtype, shape: info.layout.dims().to_vec(), start: start + offset, len })
}
