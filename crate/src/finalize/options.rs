//! What may be asked of a finalization.

use std::path::{Path, PathBuf};

use super::plan::Prepared;
use super::{Finalization, FinalizeError, FinalizePlan};
use crate::checkpoint::{DEFAULT_MAX_SHARD_SIZE, WeightsFormat};
use crate::gguf::GgufType;
use crate::spec::DType;

/// A finalization to be planned or run; see [`finalize`].
#[derive(Clone, Debug)]
pub struct Finalize {
    pub(super) source: PathBuf,
    pub(super) destination: PathBuf,
    pub(super) checkpoint: Option<PathBuf>,
    pub(super) root_copy: bool,
    pub(super) keep_optimizer: bool,
    pub(super) generation_config: bool,
    pub(super) format: WeightsFormat,
    pub(super) gguf: Option<GgufType>,
    pub(super) dtype: Option<DType>,
    pub(super) max_shard_size: u64,
    pub(super) dry_run: bool,
}

/// Starts finalizing the model folder `source` into the new folder `destination`.
///
/// ```no_run
/// chandlery::finalize("output_models/llama_4m", "out/llama_4m_final").run()?;
/// # Ok::<(), chandlery::finalize::FinalizeError>(())
/// ```
pub fn finalize(source: impl AsRef<Path>, destination: impl AsRef<Path>) -> Finalize {
    finalize_paths(source.as_ref(), destination.as_ref())
}

fn finalize_paths(source: &Path, destination: &Path) -> Finalize {
    Finalize {
        source: source.to_owned(),
        destination: destination.to_owned(),
        checkpoint: None,
        root_copy: false,
        keep_optimizer: false,
        generation_config: true,
        format: WeightsFormat::default(),
        gguf: None,
        dtype: None,
        max_shard_size: DEFAULT_MAX_SHARD_SIZE,
        dry_run: false,
    }
}

impl Finalize {
    /// Takes the weights of this checkpoint folder instead of the latest.
    pub fn checkpoint(mut self, folder: Option<PathBuf>) -> Self {
        self.checkpoint = folder;
        self
    }

    /// Writes the weights at the root instead of into `checkpoints/checkpoint-N` with links at the root.
    pub fn root_copy(mut self, root_copy: bool) -> Self {
        self.root_copy = root_copy;
        self
    }

    /// Carries `optimizer_state.pt` of the checkpoint, so that training can go on from it.
    pub fn keep_optimizer(mut self, keep: bool) -> Self {
        self.keep_optimizer = keep;
        self
    }

    /// Whether to write generation_config.json: the source's, else a minimal one (default: yes).
    pub fn generation_config(mut self, write: bool) -> Self {
        self.generation_config = write;
        self
    }

    /// Stores the weights as safetensors (the default) or as PyTorch does.
    pub fn format(mut self, format: WeightsFormat) -> Self {
        self.format = format;
        self
    }

    /// Stores the weights as one GGUF file at the root instead, matrices in this type.
    pub fn gguf(mut self, kind: Option<GgufType>) -> Self {
        self.gguf = kind;
        self
    }

    /// Casts the weights; without it their element type stays.
    pub fn dtype(mut self, dtype: Option<DType>) -> Self {
        self.dtype = dtype;
        self
    }

    /// Closes a shard before it exceeds this many bytes.
    pub fn max_shard_size(mut self, bytes: u64) -> Self {
        self.max_shard_size = bytes;
        self
    }

    /// Says what would be written, from headers only.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Says what would be written, from headers only.
    ///
    /// # Errors
    /// As [`run`](Self::run), except for what only writing can fail with.
    pub fn plan(&self) -> Result<FinalizePlan, FinalizeError> {
        Ok(Prepared::new(self)?.plan)
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`FinalizeError`]; the destination appears whole or not at all.
    pub fn run(&self) -> Result<Finalization, FinalizeError> {
        let prepared = Prepared::new(self)?;
        if !self.dry_run {
            prepared.write()?;
        }
        Ok(Finalization::new(prepared.plan, self.dry_run))
    }
}
