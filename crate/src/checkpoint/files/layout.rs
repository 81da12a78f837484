//! Where a model folder keeps its weights.

use std::path::{Path, PathBuf};

use crate::checkpoint::CheckpointError;

/// The weights file of a model that fits one shard.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// The index of a sharded model.
pub const WEIGHTS_INDEX: &str = "model.safetensors.index.json";
/// The same files as written by PyTorch.
const PYTORCH_FILE: &str = "pytorch_model.bin";
const PYTORCH_INDEX: &str = "pytorch_model.bin.index.json";
/// The files that open a folder's weights, in the order of precedence.
pub const WEIGHTS_NAMES: &[&str] = &[WEIGHTS_FILE, WEIGHTS_INDEX, PYTORCH_FILE, PYTORCH_INDEX];
/// The folder of numbered checkpoints inside a model folder.
pub const CHECKPOINTS: &str = "checkpoints";
/// The weights of a model folder in the GGUF format.
pub const GGUF_FILE: &str = "model.gguf";

/// Returns the file that opens a folder's weights: safetensors before PyTorch, a single file before an index, as Hugging
/// Face loaders choose.
pub(in crate::checkpoint) fn weights_in(folder: &Path) -> Option<PathBuf> {
    WEIGHTS_NAMES.iter().map(|name| folder.join(name)).find(|path| path.exists())
}

/// Returns the step number in a folder name such as `checkpoint-1200`.
pub fn step_of(checkpoint: &Path) -> Option<u64> {
    checkpoint.file_name()?.to_str()?.strip_prefix("checkpoint-")?.parse().ok()
}

/// Returns the folders `checkpoints/checkpoint-*` of a model folder, oldest first: by step, then name, then modification
/// time.
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

/// Returns the entries of a model folder that are weights or point to them: the files of its own weights, the numbered
/// checkpoints, a GGUF file of the name that this crate writes. New weights contradict them.
pub fn weights_entries(model: &Path) -> Vec<String> {
    let mut found: Vec<String> = std::fs::read_dir(model)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| {
            WEIGHTS_NAMES.contains(&name.as_str()) || is_shard(name) || [CHECKPOINTS, GGUF_FILE].contains(&&**name)
        })
        .collect();
    // In the order of precedence, shards after their index.
    found
        .sort_by_key(|name| (WEIGHTS_NAMES.iter().position(|known| known == name).unwrap_or(usize::MAX), name.clone()));
    found
}

/// True for names such as `model-00001-of-00003.safetensors`.
fn is_shard(name: &str) -> bool {
    let numbers = |stem: &str, ending: &str| {
        let (number, of) = name.strip_prefix(stem)?.strip_suffix(ending)?.split_once("-of-")?;
        let plain = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        Some(plain(number) && plain(of))
    };
    [("model-", ".safetensors"), ("pytorch_model-", ".bin")].iter().any(|(stem, end)| numbers(stem, end) == Some(true))
}
