//! What can be wrong with weights on disk: always which file, and which tensor where there is one.

use std::path::{Path, PathBuf};

use crate::sealed::Sealed;

/// Why a checkpoint could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Nothing at this path, or nothing there that holds weights.
    #[error("no weights found\n  where: {path}\n  do: {advice}", path = path.display())]
    NotFound {
        /// Where it was looked for.
        path: PathBuf,
        /// What would be found.
        advice: String,
    },
    /// The file system refused.
    #[error("{action} failed: {source}\n  where: {path}\n  do: {advice}", path = path.display(), advice = advice_for(source))]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's word.
        source: Sealed<std::io::Error>,
    },
    /// A safetensors header that lies or cannot be parsed.
    #[error("not a valid safetensors file: {reason}\n  where: {path}\n  do: download or copy the file again", path = path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A PyTorch file that is not a zip of plain tensors.
    #[error("not a readable PyTorch file: {reason}\n  where: {path}\n  do: save the weights as safetensors, or copy the file again", path = path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A GGUF file whose header lies or cannot be read.
    #[error("not a readable GGUF file: {reason}\n  where: {path}\n  do: download or copy the file again", path = path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An index that cannot be parsed, or that disagrees with its shards.
    #[error("the index of the shards is wrong: {reason}\n  where: {path}\n  do: copy index and shards again, all from one source", path = path.display())]
    Index {
        /// The index file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Shards that an index names and that are not there.
    #[error("{count} of {total} shards missing: {names}\n  where: {folder}\n  do: copy the missing files into this folder", folder = folder.display())]
    MissingShards {
        /// The folder.
        folder: PathBuf,
        /// How many are missing.
        count: usize,
        /// Of how many.
        total: usize,
        /// Their names, the first few.
        names: String,
    },
    /// A tensor asked for by a name that the checkpoint does not have.
    #[error("tensor `{tensor}` is not in the checkpoint\n  where: {path}\n  do: `chandlery inspect` lists what is there", path = path.display())]
    NoTensor {
        /// The name.
        tensor: String,
        /// The checkpoint.
        path: PathBuf,
    },
    /// A part of a tensor that lies beyond its end.
    #[error("tensor `{tensor}` is smaller than the part that is asked of it\n  where: {path}\n  do: check that config.json belongs to these weights", path = path.display())]
    Part {
        /// The tensor.
        tensor: String,
        /// Its file.
        path: PathBuf,
    },
    /// An embedding or head that does not have one row for each token.
    #[error("tensor `{tensor}` has {found} rows, and the configuration says vocab_size {expected}\n  where: {path}\n  do: check that weights and config.json belong together", path = path.display())]
    VocabularyRows {
        /// The tensor.
        tensor: String,
        /// How many it has.
        found: usize,
        /// How many the vocabulary has.
        expected: usize,
        /// The checkpoint.
        path: PathBuf,
    },
    /// An element type that weights cannot be cast from or to.
    #[error("tensor `{tensor}` is {dtype}, which cannot be cast\n  where: {path}\n  do: convert without --dtype", path = path.display())]
    Cast {
        /// The tensor.
        tensor: String,
        /// Its element type.
        dtype: String,
        /// The checkpoint.
        path: PathBuf,
    },
    /// A sum in which bits would be lost that the way back needs.
    #[error("adding {by} to tensor `{tensor}` in {dtype} loses bits of some of its numbers\n  where: {path}\n  do: describe the tensor without `add` in the file of the family", path = path.display())]
    Inexact {
        /// The tensor.
        tensor: String,
        /// What is added.
        by: f64,
        /// The element type of the sum.
        dtype: String,
        /// The checkpoint.
        path: PathBuf,
    },
    /// A weight whose scales are too large for their type.
    #[error("tensor `{tensor}` holds numbers whose scales are infinite as {dtype}\n  where: {path}\n  do: quantize weights of bfloat16 or float32: `finalize --dtype bfloat16` makes them", path = path.display())]
    Scale {
        /// The tensor.
        tensor: String,
        /// The element type of its scales.
        dtype: String,
        /// The checkpoint.
        path: PathBuf,
    },
    /// A weight that a cast would make infinite.
    #[error("tensor `{tensor}` holds numbers that are infinite as {dtype}\n  where: {path}\n  do: cast to bfloat16 or float32, or leave the type as it is", path = path.display())]
    TooLarge {
        /// The tensor.
        tensor: String,
        /// The element type that was asked for.
        dtype: String,
        /// The checkpoint.
        path: PathBuf,
    },
    /// A weight that cannot be rounded to a low-bit type.
    #[error("tensor `{tensor}` holds NaN or infinity, which a low-bit type cannot hold\n  where: {path}\n  do: train from an earlier checkpoint; `model test` finds the step that broke it", path = path.display())]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// The checkpoint.
        path: PathBuf,
    },
    /// An element type that the chosen format has no place for.
    #[error("tensor `{tensor}` is {dtype}, which files of this kind do not hold\n  where: {path}\n  do: {advice}", path = path.display())]
    Unwritable {
        /// The tensor.
        tensor: String,
        /// Its element type.
        dtype: String,
        /// The file.
        path: PathBuf,
        /// What to do.
        advice: &'static str,
    },
    /// A destination that is already there.
    #[error("the destination exists\n  where: {path}\n  do: {advice}", path = path.display())]
    DestinationExists {
        /// The destination.
        path: PathBuf,
        /// What to do, and what that would change.
        advice: String,
    },
    /// A folder in which another run is replacing files, or broke off and cannot be undone.
    #[error("a run that replaces files in this folder did not finish\n  where: {path}\n  do: {advice}", path = path.display())]
    HalfReplaced {
        /// The folder.
        path: PathBuf,
        /// What to do.
        advice: String,
    },
    /// A checkpoint that was named and is not a folder.
    #[error("the checkpoint {what}\n  where: --checkpoint {path}\n  do: name a checkpoint's folder, such as SRC/checkpoints/checkpoint-1200", path = path.display())]
    NotACheckpoint {
        /// What is wrong with it.
        what: &'static str,
        /// What was named.
        path: PathBuf,
    },
    /// A link in a folder to something that does not belong to it.
    #[error("`{link}` leads out of the folder, to {target}\n  where: {folder}\n  do: put the file itself into the folder if it belongs there, else remove the link", target = target.display(), folder = folder.display())]
    LeavesFolder {
        /// The entry, below the folder.
        link: String,
        /// What it leads to.
        target: PathBuf,
        /// The folder.
        folder: PathBuf,
    },
    /// A destination in a folder that does not exist.
    #[error("the folder that should hold the destination does not exist\n  where: {path}\n  do: create it first (mkdir -p)", path = path.display())]
    NoParent {
        /// The missing folder.
        path: PathBuf,
    },
    /// The user stopped it; nothing was left behind.
    #[error(transparent)]
    Interrupted(#[from] crate::interrupt::Interrupted),
}

impl CheckpointError {
    /// Wraps a file-system error with what was attempted and where.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source: Sealed::new(source) }
    }
}

fn advice_for(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::NotFound => "check the path",
        std::io::ErrorKind::PermissionDenied => "check the permissions of the file and its folder",
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            "free space on this disk, or write elsewhere"
        }
        std::io::ErrorKind::UnexpectedEof => "the file is shorter than its header says: copy it again",
        std::io::ErrorKind::IsADirectory => "name a file",
        std::io::ErrorKind::OutOfMemory => "free memory, or raise the limit of this process",
        _ => "check the disk and the path",
    }
}
