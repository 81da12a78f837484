//! Destinations that appear whole or not at all.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::CheckpointError;
use crate::interrupt;

/// Between two looks at the interrupt flag.
const BLOCK: u64 = 64 << 20;

/// A folder built beside its destination under a temporary name, and renamed into place when it is complete.
///
/// Dropped without [`commit`](Self::commit), it removes what was built; killed, it leaves only a hidden folder whose
/// name says that it is partial, and which the next run with this destination removes.
#[derive(Debug)]
pub struct AtomicFolder {
    stage: PathBuf,
    destination: PathBuf,
    committed: bool,
    /// Held while the process lives: without it the folder is a leftover. File systems without locks give none.
    _lock: Option<File>,
}

impl AtomicFolder {
    /// Where a folder at `destination` would be: its parent and its name.
    ///
    /// # Errors
    /// [`CheckpointError::DestinationExists`] or [`CheckpointError::NoParent`].
    pub fn place(destination: &Path) -> Result<(&Path, &OsStr), CheckpointError> {
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
        Ok((parent, name))
    }

    /// Starts a folder that will appear at `destination`.
    ///
    /// # Errors
    /// [`CheckpointError::DestinationExists`], [`CheckpointError::NoParent`], or the file system's refusal.
    pub fn create(destination: &Path) -> Result<Self, CheckpointError> {
        let (parent, name) = Self::place(destination)?;
        let prefix = format!(".{}.partial-", name.to_string_lossy());
        remove_leftovers(parent, &prefix);
        let stage = parent.join(format!("{prefix}{}", std::process::id()));
        std::fs::create_dir(&stage).map_err(|error| match error.kind() {
            // What is not a leftover is being built, by another thread of this process.
            ErrorKind::AlreadyExists => CheckpointError::DestinationExists { path: destination.to_owned() },
            _ => CheckpointError::io("creating", &stage)(error),
        })?;
        let lock = lock(&stage).ok().flatten();
        Ok(Self { stage, destination: destination.to_owned(), committed: false, _lock: lock })
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

    /// Copies a file inside, by kernel copy, and calls `progress` with the number of bytes after each block. `name` may
    /// lead into folders, which are made.
    ///
    /// # Errors
    /// The file system's refusal, or an interrupt.
    pub fn copy(&self, name: &str, from: &Path, progress: &dyn Fn(u64)) -> Result<(), CheckpointError> {
        let path = self.stage.join(name);
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

    /// Makes the folder appear at its destination.
    ///
    /// # Errors
    /// [`CheckpointError::DestinationExists`] if something appeared there meanwhile, or the file system's refusal.
    pub fn commit(mut self) -> Result<PathBuf, CheckpointError> {
        sync_folders(&self.stage)?;
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

/// Holds the lock of a staged folder, which ends with the process however that ends; none if another holds it.
fn lock(stage: &Path) -> std::io::Result<Option<File>> {
    let folder = File::open(stage)?;
    match folder.try_lock() {
        Ok(()) => Ok(Some(folder)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Removes what killed processes left of this destination: folders whose process is gone and whose lock is free. What
/// cannot be removed stays, and is in nobody's way.
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
