//! What may be asked of an update.

use std::path::{Path, PathBuf};

use super::plan::Prepared;
use super::{UpdateError, UpdatePlan, Updated, Version};
use crate::checkpoint::{DEFAULT_MAX_SHARD_SIZE, WeightsFormat};
use crate::spec::DType;

/// An update to be planned or run; see [`update`].
#[derive(Clone, Debug)]
#[must_use = "an update does nothing until it is planned or run"]
pub struct Update {
    pub(super) source: PathBuf,
    pub(super) destination: PathBuf,
    pub(super) checkpoint: Option<PathBuf>,
    pub(super) architecture: Option<String>,
    pub(super) from_version: Option<Version>,
    pub(super) to_version: Option<Version>,
    pub(super) migrations: Vec<PathBuf>,
    pub(super) strict: bool,
    pub(super) format: WeightsFormat,
    pub(super) dtype: Option<DType>,
    pub(super) max_shard_size: u64,
    pub(super) force: bool,
    pub(super) dry_run: bool,
}

/// Starts updating the native model folder `source` into the new folder `destination`.
///
/// ```no_run
/// chandlery::update("output_models/made_by_forgather", "out/updated").run()?;
/// # Ok::<(), chandlery::update::UpdateError>(())
/// ```
pub fn update(source: impl AsRef<Path>, destination: impl AsRef<Path>) -> Update {
    update_paths(source.as_ref(), destination.as_ref())
}

fn update_paths(source: &Path, destination: &Path) -> Update {
    Update {
        source: source.to_owned(),
        destination: destination.to_owned(),
        checkpoint: None,
        architecture: None,
        from_version: None,
        to_version: None,
        migrations: Vec::new(),
        strict: true,
        format: WeightsFormat::default(),
        dtype: None,
        max_shard_size: DEFAULT_MAX_SHARD_SIZE,
        force: false,
        dry_run: false,
    }
}

impl Update {
    /// Takes the weights of this checkpoint folder instead of the newest complete one.
    pub fn checkpoint(mut self, folder: Option<PathBuf>) -> Self {
        self.checkpoint = folder;
        self
    }

    /// The architecture, where config.json does not say the right one.
    pub fn architecture(mut self, name: Option<String>) -> Self {
        self.architecture = name;
        self
    }

    /// The version of the source, where config.json does not say the right one.
    pub fn from_version(mut self, version: Option<Version>) -> Self {
        self.from_version = version;
        self
    }

    /// The version to stop at; without it the newest that is known.
    pub fn to_version(mut self, version: Option<Version>) -> Self {
        self.to_version = version;
        self
    }

    /// More migrations: YAML files, or folders of them.
    pub fn migrations(mut self, paths: Vec<PathBuf>) -> Self {
        self.migrations = paths;
        self
    }

    /// Whether parameters that are missing or that the model has no place for are errors (default: yes).
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Stores the weights as safetensors (the default) or as PyTorch does.
    pub fn format(mut self, format: WeightsFormat) -> Self {
        self.format = format;
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

    /// Writes also into a folder that holds something: over the files of the same names, and in place of the model that it
    /// holds. Everything else there stays.
    pub fn force(mut self, force: bool) -> Self {
        self.force = force;
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
    pub fn plan(&self) -> Result<UpdatePlan, UpdateError> {
        Ok(Prepared::new(self)?.plan)
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`UpdateError`]; the destination appears whole or not at all.
    pub fn run(&self) -> Result<Updated, UpdateError> {
        let prepared = Prepared::new(self)?;
        if !self.dry_run {
            prepared.write()?;
        }
        Ok(Updated::new(prepared.plan, self.dry_run))
    }
}
