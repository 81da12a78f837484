//! Errors about weights on disk. Each names the file, and the tensor if there is one.

use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnose, Diagnostic};
use crate::sealed::Sealed;

/// Why a checkpoint could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum CheckpointError {
    /// There is nothing at this path, or nothing that holds weights.
    NotFound {
        /// Where it was searched for.
        path: PathBuf,
        /// What to name instead.
        advice: String,
    },
    /// A file system error.
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's message.
        source: Sealed<std::io::Error>,
    },
    /// A safetensors header that is inconsistent or cannot be parsed.
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A PyTorch file that is not a zip of plain tensors.
    Pickle {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A GGUF file whose header is inconsistent or cannot be read.
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An index that cannot be parsed, or that disagrees with its shards.
    Index {
        /// The index file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Shards that an index names and that are not there.
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
    /// A requested tensor that the checkpoint does not have.
    NoTensor {
        /// The name.
        tensor: String,
        /// The checkpoint.
        path: PathBuf,
    },
    /// A part of a tensor that lies beyond its end.
    Part {
        /// The tensor.
        tensor: String,
        /// Its file.
        path: PathBuf,
    },
    /// An embedding or head that does not have one row for each token.
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
    Cast {
        /// The tensor.
        tensor: String,
        /// Its element type.
        dtype: String,
        /// The checkpoint.
        path: PathBuf,
    },
    /// A sum that would lose bits that the reverse conversion needs.
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
    Scale {
        /// The tensor.
        tensor: String,
        /// The element type of its scales.
        dtype: String,
        /// The checkpoint.
        path: PathBuf,
    },
    /// A weight that would become infinite in a cast.
    TooLarge {
        /// The tensor.
        tensor: String,
        /// The element type that was asked for.
        dtype: String,
        /// The checkpoint.
        path: PathBuf,
    },
    /// A weight that cannot be rounded to a low-bit type.
    NotFinite {
        /// The tensor.
        tensor: String,
        /// The checkpoint.
        path: PathBuf,
    },
    /// A quantized weight that cannot be read.
    Quantized {
        /// The tensor.
        tensor: String,
        /// What is wrong.
        what: String,
        /// The file.
        path: PathBuf,
    },
    /// An adapter that cannot be merged.
    Adapter {
        /// What is wrong.
        what: String,
        /// Its description.
        path: PathBuf,
        /// What to do.
        advice: String,
    },
    /// An element type that the chosen format cannot store.
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
    DestinationExists {
        /// The destination.
        path: PathBuf,
        /// What to do, and what that would change.
        advice: String,
    },
    /// A folder in which another run is replacing files, or was interrupted and cannot be undone.
    HalfReplaced {
        /// The folder.
        path: PathBuf,
        /// What to do.
        advice: String,
    },
    /// A named checkpoint that is not a folder.
    NotACheckpoint {
        /// What is wrong with it.
        what: &'static str,
        /// What was named.
        path: PathBuf,
    },
    /// A link in a folder that points outside of it.
    LeavesFolder {
        /// The entry, below the folder.
        link: String,
        /// What it points to.
        target: PathBuf,
        /// The folder.
        folder: PathBuf,
    },
    /// A destination in a folder that does not exist.
    NoParent {
        /// The missing folder.
        path: PathBuf,
    },
    /// The user stopped it; nothing was left behind.
    #[error(transparent)]
    Interrupted(#[from] crate::interrupt::Interrupted),
}

impl Diagnose for CheckpointError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::NotFound { path, advice } => Diagnostic::new("no weights found").at(path.display()).advise(advice),
            Self::Io { action, path, source } => {
                Diagnostic::new(format!("{action} failed: {source}")).at(path.display()).advise(advice_for(source))
            }
            Self::Header { reason, path } => Diagnostic::new(format!("not a valid safetensors file: {reason}"))
                .at(path.display())
                .advise("download or copy the file again"),
            Self::Pickle { reason, path } => Diagnostic::new(format!("not a readable PyTorch file: {reason}"))
                .at(path.display())
                .advise("save the weights as safetensors, or copy the file again"),
            Self::Gguf { reason, path } => Diagnostic::new(format!("not a readable GGUF file: {reason}"))
                .at(path.display())
                .advise("download or copy the file again"),
            Self::Index { reason, path } => Diagnostic::new(format!("the index of the shards is wrong: {reason}"))
                .at(path.display())
                .advise("copy index and shards again, all from one source"),
            Self::MissingShards { count, total, names, folder } => {
                Diagnostic::new(format!("{count} of {total} shards missing: {names}"))
                    .at(folder.display())
                    .advise("copy the missing files into this folder")
            }
            Self::NoTensor { tensor, path } => Diagnostic::new(format!("tensor `{tensor}` is not in the checkpoint"))
                .at(path.display())
                .advise("run `chandlery inspect` to list the tensors"),
            Self::Part { tensor, path } => {
                Diagnostic::new(format!("tensor `{tensor}` is smaller than the requested part"))
                    .at(path.display())
                    .advise("check that config.json belongs to these weights")
            }
            Self::VocabularyRows { tensor, found, expected, path } => Diagnostic::new(format!(
                "tensor `{tensor}` has {found} rows, but the configuration says vocab_size {expected}"
            ))
            .at(path.display())
            .advise("check that weights and config.json belong together"),
            Self::Cast { tensor, dtype, path } => {
                Diagnostic::new(format!("tensor `{tensor}` is {dtype}, which cannot be cast"))
                    .at(path.display())
                    .advise("convert without --dtype")
            }
            Self::Inexact { by, tensor, dtype, path } => Diagnostic::new(format!(
                "adding {by} to tensor `{tensor}` in {dtype} loses bits of some of its numbers"
            ))
            .at(path.display())
            .advise("describe the tensor without `add` in the file of the family"),
            Self::Scale { tensor, dtype, path } => {
                Diagnostic::new(format!("tensor `{tensor}` holds numbers whose scales are infinite as {dtype}"))
                    .at(path.display())
                    .advise("quantize weights of bfloat16 or float32: `finalize --dtype bfloat16` makes them")
            }
            Self::TooLarge { tensor, dtype, path } => {
                Diagnostic::new(format!("tensor `{tensor}` holds numbers that are infinite as {dtype}"))
                    .at(path.display())
                    .advise("cast to bfloat16 or float32, or leave the type as it is")
            }
            Self::NotFinite { tensor, path } => {
                Diagnostic::new(format!("tensor `{tensor}` holds NaN or infinity, which a low-bit type cannot hold"))
                    .at(path.display())
                    .advise("train from an earlier checkpoint; `model test` finds the step that broke it")
            }
            Self::Quantized { tensor, what, path } => {
                Diagnostic::new(format!("the quantized weight `{tensor}` cannot be read: {what}"))
                    .at(path.display())
                    .advise("dequantize it with the tool that made it, and take what comes out of it")
            }
            Self::Adapter { what, path, advice } => Diagnostic::new(what).at(path.display()).advise(advice),
            Self::Unwritable { tensor, dtype, path, advice } => {
                Diagnostic::new(format!("tensor `{tensor}` is {dtype}, which files of this kind do not hold"))
                    .at(path.display())
                    .advise(*advice)
            }
            Self::DestinationExists { path, advice } => {
                Diagnostic::new("the destination exists").at(path.display()).advise(advice)
            }
            Self::HalfReplaced { path, advice } => {
                Diagnostic::new("a run that replaces files in this folder did not finish")
                    .at(path.display())
                    .advise(advice)
            }
            Self::NotACheckpoint { what, path } => Diagnostic::new(format!("the checkpoint {what}"))
                .at(format_args!("--checkpoint {}", path.display()))
                .advise("name a checkpoint's folder, such as SRC/checkpoints/checkpoint-1200"),
            Self::LeavesFolder { link, target, folder } => {
                Diagnostic::new(format!("`{link}` points outside the folder, to {}", target.display()))
                    .at(folder.display())
                    .advise("copy the file itself into the folder if it belongs there, or remove the link")
            }
            Self::NoParent { path } => Diagnostic::new("the folder that should hold the destination does not exist")
                .at(path.display())
                .advise("create it first (mkdir -p)"),
            Self::Interrupted(error) => error.diagnostic(),
        }
    }
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
        std::io::ErrorKind::UnexpectedEof => "copy the file again; it is shorter than its header says",
        std::io::ErrorKind::IsADirectory => "name a file",
        std::io::ErrorKind::OutOfMemory => "free memory, or raise the limit of this process",
        _ => "check the disk and the path",
    }
}
