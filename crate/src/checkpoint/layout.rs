//! Where a model folder keeps its weights, and which of its checkpoints is the latest.

use std::path::{Path, PathBuf};

use super::{Checkpoint, CheckpointError};

/// The weights file of a model that fits one shard.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// The index of a sharded model.
pub const WEIGHTS_INDEX: &str = "model.safetensors.index.json";
/// The same files as PyTorch writes them.
const PYTORCH_FILE: &str = "pytorch_model.bin";
const PYTORCH_INDEX: &str = "pytorch_model.bin.index.json";
/// The files that open a folder's weights, in the order in which they are looked for.
pub const WEIGHTS_NAMES: &[&str] = &[WEIGHTS_FILE, WEIGHTS_INDEX, PYTORCH_FILE, PYTORCH_INDEX];
/// The folder of numbered checkpoints inside a model folder.
const CHECKPOINTS: &str = "checkpoints";

/// The file that opens a folder's weights: safetensors before PyTorch, a single file before an index, as Hugging Face
/// loaders choose.
pub(super) fn weights_in(folder: &Path) -> Option<PathBuf> {
    WEIGHTS_NAMES.iter().map(|name| folder.join(name)).find(|path| path.exists())
}

/// The step number in a folder name such as `checkpoint-1200`.
pub fn step_of(checkpoint: &Path) -> Option<u64> {
    checkpoint.file_name()?.to_str()?.strip_prefix("checkpoint-")?.parse().ok()
}

/// The folders `checkpoints/checkpoint-*` of a model folder, oldest first: by step, then name, then modification time.
///
/// # Errors
/// [`CheckpointError::Io`] if the folder cannot be listed.
pub fn checkpoints_of(model: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let folder = model.join(CHECKPOINTS);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(CheckpointError::io("listing", &folder))? {
        let path = entry.map_err(CheckpointError::io("listing", &folder))?.path();
        let named = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("checkpoint-"));
        if named && path.is_dir() {
            let modified = path.metadata().and_then(|status| status.modified()).ok();
            found.push((step_of(&path), path.file_name().map(ToOwned::to_owned), modified, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(.., path)| path).collect())
}

/// The latest complete checkpoint of a model folder: the highest step all of whose shards are there and valid.
///
/// # Errors
/// What is wrong with the newest checkpoint, if none of them is complete; [`CheckpointError::Io`] if they cannot be listed.
pub fn latest_checkpoint(model: &Path) -> Result<Option<PathBuf>, CheckpointError> {
    let mut newest_fault = None;
    for path in checkpoints_of(model)?.into_iter().rev() {
        match Checkpoint::open(&path) {
            Ok(_) => return Ok(Some(path)),
            Err(fault) => newest_fault = newest_fault.or(Some(fault)),
        }
    }
    newest_fault.map_or(Ok(None), Err)
}
