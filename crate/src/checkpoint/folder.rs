//! Destinations that appear whole or not at all.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::CheckpointError;

/// A folder built beside its destination under a temporary name, and renamed into place when it is complete.
///
/// Dropped without [`commit`](Self::commit), it removes what was built; killed, it leaves only a hidden folder whose
/// name says that it is partial.
#[derive(Debug)]
pub struct AtomicFolder {
    stage: PathBuf,
    destination: PathBuf,
    committed: bool,
}

impl AtomicFolder {
    /// Starts a folder that will appear at `destination`.
    ///
    /// # Errors
    /// [`CheckpointError::DestinationExists`], [`CheckpointError::NoParent`], or the file system's refusal.
    pub fn create(destination: &Path) -> Result<Self, CheckpointError> {
        refuse_existing(destination)?;
        let name = destination
            .file_name()
            .ok_or_else(|| CheckpointError::DestinationExists { path: destination.to_owned() })?;
        let parent = match destination.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if !parent.is_dir() {
            return Err(CheckpointError::NoParent { path: parent.to_owned() });
        }
        let stage = parent.join(format!(".{}.partial-{}", name.to_string_lossy(), std::process::id()));
        // A leftover of a killed process that had our number.
        if stage.exists() {
            std::fs::remove_dir_all(&stage).map_err(CheckpointError::io("removing a leftover", &stage))?;
        }
        std::fs::create_dir(&stage).map_err(CheckpointError::io("creating", &stage))?;
        Ok(Self { stage, destination: destination.to_owned(), committed: false })
    }

    /// Where to build.
    pub fn path(&self) -> &Path {
        &self.stage
    }

    /// Where it will appear.
    pub fn destination(&self) -> &Path {
        &self.destination
    }

    /// Writes a small file inside; `name` may lead into folders, which are made.
    ///
    /// # Errors
    /// The file system's refusal.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> Result<(), CheckpointError> {
        let path = self.stage.join(name);
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            std::fs::create_dir_all(folder).map_err(CheckpointError::io("creating", folder))?;
        }
        std::fs::write(&path, contents).map_err(CheckpointError::io("writing", &path))?;
        let file = File::open(&path).map_err(CheckpointError::io("opening", &path))?;
        file.sync_all().map_err(CheckpointError::io("syncing", &path))
    }

    /// Writes a JSON file inside, indented by two spaces, with a final newline.
    ///
    /// # Errors
    /// The file system's refusal.
    pub fn write_json(&self, name: &str, value: &serde_json::Value) -> Result<(), CheckpointError> {
        self.write(name, format!("{value:#}\n"))
    }

    /// Writes one file outside of any staged folder, whole or not at all.
    ///
    /// # Errors
    /// The file system's refusal.
    pub fn write_file(path: &Path, contents: &[u8]) -> Result<(), CheckpointError> {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let stage = path.with_file_name(format!(".{name}.partial-{}", std::process::id()));
        let write = || {
            std::fs::write(&stage, contents)?;
            File::open(&stage)?.sync_all()?;
            std::fs::rename(&stage, path)
        };
        write().map_err(|error| {
            let _ = std::fs::remove_file(&stage);
            CheckpointError::io("writing", path)(error)
        })
    }

    /// Makes the folder appear at its destination.
    ///
    /// # Errors
    /// [`CheckpointError::DestinationExists`] if something appeared there meanwhile, or the file system's refusal.
    pub fn commit(mut self) -> Result<PathBuf, CheckpointError> {
        sync_folder(&self.stage)?;
        refuse_existing(&self.destination)?;
        std::fs::rename(&self.stage, &self.destination)
            .map_err(CheckpointError::io("moving into place", &self.destination))?;
        self.committed = true;
        if let Some(parent) = self.destination.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_folder(parent)?;
        }
        Ok(self.destination.clone())
    }
}

impl Drop for AtomicFolder {
    fn drop(&mut self) {
        if !self.committed {
            // Nothing more can be done about a refusal here; the name says that it is partial.
            let _ = std::fs::remove_dir_all(&self.stage);
        }
    }
}

fn refuse_existing(path: &Path) -> Result<(), CheckpointError> {
    // symlink_metadata: a dangling link is a destination that exists, too.
    match path.symlink_metadata() {
        Ok(_) => Err(CheckpointError::DestinationExists { path: path.to_owned() }),
        Err(_) => Ok(()),
    }
}

fn sync_folder(path: &Path) -> Result<(), CheckpointError> {
    let folder = File::open(path).map_err(CheckpointError::io("opening", path))?;
    folder.sync_all().map_err(CheckpointError::io("syncing", path))
}
