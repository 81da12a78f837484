//! Folders that appear complete or not at all.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::checkpoint::CheckpointError;
use crate::checkpoint::files::destination::{DestinationState, FolderChanges, listed};
use crate::checkpoint::files::replacing::{JOURNAL, NEW, replace};
use crate::interrupt;

/// Bytes between two checks of the interrupt flag.
const BLOCK: u64 = 64 << 20;

/// Prefix of the hidden folders in which new content of an existing folder is staged; the process id follows.
const STAGE_INSIDE: &str = ".chandlery.partial-";

/// A folder built under a temporary name, whose content appears when it is complete.
///
/// A folder that does not exist is built beside its destination and renamed. One that exists keeps what it holds: the
/// new files are built in a hidden folder inside and then moved into place; if that is interrupted, the old content
/// is restored, at once or when the folder is next opened.
///
/// Dropped without [`commit`](Self::commit), it removes what was built; killed, it leaves only a hidden folder whose
/// name says that it is partial, and which the next run with this destination removes.
#[derive(Debug)]
#[must_use = "a staged folder is removed when it is dropped; commit it"]
pub struct AtomicFolder {
    /// The hidden folder of this run.
    stage: PathBuf,
    /// Where to build: the stage itself, or a folder in it.
    new: PathBuf,
    destination: PathBuf,
    /// The folder that exists, links followed, and what may change in it.
    within: Option<(PathBuf, FolderChanges)>,
    committed: bool,
    /// Held while the process lives: a folder without a lock is a leftover. `None` on file systems without locks.
    _lock: Option<File>,
}

/// True for the name of a stage inside its destination.
pub(in crate::checkpoint) fn is_stage(name: &str) -> bool {
    name.starts_with(STAGE_INSIDE)
}

impl AtomicFolder {
    /// Starts a folder that will appear at `destination`, where nothing or an empty folder is. A link to an empty folder
    /// is followed.
    ///
    /// # Errors
    /// [`CheckpointError::DestinationExists`], [`CheckpointError::NoParent`], or the file system's refusal.
    pub fn create(destination: &Path) -> Result<Self, CheckpointError> {
        Self::create_with(destination, None)
    }

    /// As [`create`](Self::create); with changes, also in a folder that holds something, of which only what the changes
    /// name may be written over or removed, and nothing may be written that they do not name.
    pub(in crate::checkpoint) fn create_with(
        destination: &Path,
        changes: Option<FolderChanges>,
    ) -> Result<Self, CheckpointError> {
        let found = DestinationState::at(destination)?;
        if changes.is_none() && !found.entries().is_empty() {
            return Err(CheckpointError::DestinationExists {
                path: destination.to_owned(),
                advice: format!("name a new folder, or empty this one first of {}", listed(found.entries())),
            });
        }
        let (room, prefix, within) = match found {
            DestinationState::Nothing => {
                let (parent, name) = place(destination);
                (parent.to_owned(), format!(".{}.partial-", name.to_string_lossy()), None)
            }
            DestinationState::Folder(_) => {
                let real = destination.canonicalize();
                let real = real.map_err(CheckpointError::io("following a link", destination))?;
                (real.clone(), STAGE_INSIDE.to_owned(), Some((real, changes.unwrap_or_default())))
            }
        };
        remove_leftovers(&room, &prefix);
        let stage = room.join(format!("{prefix}{}", std::process::id()));
        std::fs::create_dir(&stage).map_err(|error| match error.kind() {
            // It is not a leftover: another thread of this process is building it.
            ErrorKind::AlreadyExists => CheckpointError::DestinationExists {
                path: destination.to_owned(),
                advice: "wait for the run that builds it, or name another folder".to_owned(),
            },
            _ => CheckpointError::io("creating", &stage)(error),
        })?;
        let lock = lock(&stage).ok().flatten();
        let new = if within.is_some() { stage.join(NEW) } else { stage.clone() };
        let made = Self { stage, new, destination: destination.to_owned(), within, committed: false, _lock: lock };
        if made.within.is_some() {
            std::fs::create_dir(&made.new).map_err(CheckpointError::io("creating", &made.new))?;
        }
        Ok(made)
    }

    /// Returns the folder to build in.
    pub fn path(&self) -> &Path {
        &self.new
    }

    /// Returns the destination.
    pub fn destination(&self) -> &Path {
        &self.destination
    }

    /// Writes a small file inside; `name` may lead into folders, which are made.
    ///
    /// # Errors
    /// The file system's refusal.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> Result<(), CheckpointError> {
        let path = self.path().join(name);
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

    /// Copies a file inside, by kernel copy, and calls `progress` with the number of bytes after each block. `name` may
    /// lead into folders, which are made.
    ///
    /// # Errors
    /// The file system's refusal, or an interrupt.
    pub fn copy(&self, name: &str, from: &Path, progress: &dyn Fn(u64)) -> Result<(), CheckpointError> {
        let path = self.path().join(name);
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            std::fs::create_dir_all(folder).map_err(CheckpointError::io("creating", folder))?;
        }
        let mut input = File::open(from).map_err(CheckpointError::io("opening", from))?;
        let mut output = File::create_new(&path).map_err(CheckpointError::io("creating", &path))?;
        loop {
            interrupt::check()?;
            let block = &mut (&mut input).take(BLOCK);
            let moved = std::io::copy(block, &mut output).map_err(CheckpointError::io("copying", &path))?;
            if moved == 0 {
                break;
            }
            progress(moved);
        }
        output.sync_all().map_err(CheckpointError::io("syncing", &path))
    }

    /// Makes the folder, or what was built for it, appear at its destination.
    ///
    /// # Errors
    /// [`CheckpointError::DestinationExists`] if something appeared there meanwhile, or the file system's error. What was
    /// there before is as it was.
    pub fn commit(mut self) -> Result<PathBuf, CheckpointError> {
        sync_folders(&self.new)?;
        if let Some((folder, changes)) = &self.within {
            let replaced = replace(folder, &self.stage, changes);
            // While there is a journal, the stage holds the old content, so this run must not remove it.
            self.committed = replaced.is_ok() || folder.join(JOURNAL).exists();
            replaced?;
            // It holds only what was replaced. What cannot be removed is a leftover for the next run.
            let _ = std::fs::remove_dir_all(&self.stage);
            return Ok(self.destination.clone());
        }
        if self.destination.symlink_metadata().is_ok() {
            return Err(CheckpointError::DestinationExists {
                path: self.destination.clone(),
                advice: "name another folder; this one appeared while the run worked".to_owned(),
            });
        }
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
            // An error here cannot be handled; the name says that the folder is partial.
            let _ = std::fs::remove_dir_all(&self.stage);
        }
    }
}

/// Holds the lock of a staged folder, which ends with the process however that ends; none if another holds it.
pub(in crate::checkpoint) fn lock(stage: &Path) -> std::io::Result<Option<File>> {
    let folder = File::open(stage)?;
    match folder.try_lock() {
        Ok(()) => Ok(Some(folder)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Removes what killed processes left of this destination: folders whose process is gone and whose lock is free. What
/// cannot be removed stays, and does no harm.
fn remove_leftovers(parent: &Path, prefix: &str) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(prefix)).and_then(|id| id.parse::<u32>().ok());
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let Some(process) = process.filter(|_| is_folder) else { continue };
        let alive = process != std::process::id() && Path::new("/proc").join(process.to_string()).exists();
        if !alive && matches!(lock(&entry.path()), Ok(Some(_))) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Returns the parent of a new folder, and its name.
fn place(destination: &Path) -> (&Path, &OsStr) {
    let parent = destination.parent().filter(|parent| !parent.as_os_str().is_empty());
    (parent.unwrap_or(Path::new(".")), destination.file_name().unwrap_or_default())
}

pub(in crate::checkpoint) fn sync_folder(path: &Path) -> Result<(), CheckpointError> {
    let folder = File::open(path).map_err(CheckpointError::io("opening", path))?;
    folder.sync_all().map_err(CheckpointError::io("syncing", path))
}

/// A folder and all folders in it: their lists of names reach the disk before the name that makes them visible.
fn sync_folders(path: &Path) -> Result<(), CheckpointError> {
    for entry in std::fs::read_dir(path).map_err(CheckpointError::io("listing", path))? {
        let entry = entry.map_err(CheckpointError::io("listing", path))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            sync_folders(&entry.path())?;
        }
    }
    sync_folder(path)
}
