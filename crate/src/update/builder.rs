//! The options of an update.

use std::path::{Path, PathBuf};

use super::plan::Prepared;
use super::{UpdateError, UpdatePlan, Updated, Version};
use crate::Setting;
use crate::checkpoint::{WriteOptions, write_setters};

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
    pub(super) write: WriteOptions,
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
        write: WriteOptions::default(),
    }
}

impl Update {
    write_setters!();

    /// Takes the weights of this checkpoint folder instead of the newest complete one.
    pub fn checkpoint(mut self, folder: impl Setting<PathBuf>) -> Self {
        self.checkpoint = folder.into_setting();
        self
    }

    /// Sets the architecture, if that of config.json is wrong.
    pub fn architecture(mut self, name: impl Setting<String>) -> Self {
        self.architecture = name.into_setting();
        self
    }

    /// Sets the version of the source, if that of config.json is wrong.
    pub fn from_version(mut self, version: impl Setting<Version>) -> Self {
        self.from_version = version.into_setting();
        self
    }

    /// Sets the version to stop at (default: the newest).
    pub fn to_version(mut self, version: impl Setting<Version>) -> Self {
        self.to_version = version.into_setting();
        self
    }

    /// Adds migrations: YAML files, or folders of them.
    pub fn migrations(mut self, paths: Vec<PathBuf>) -> Self {
        self.migrations = paths;
        self
    }

    /// Sets whether parameters that are missing or that the model has no place for are errors (default: yes).
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Only plans, from headers, and writes nothing.
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
        if !self.write.dry_run {
            prepared.write()?;
        }
        Ok(Updated::new(prepared.plan, self.write.dry_run))
    }
}
