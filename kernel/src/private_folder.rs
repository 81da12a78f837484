//! A folder of this process's own, such as that in which cells are compiled: private, locked while the process lives, and
//! removed by the next kernel when it was killed.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::system;

/// How the names begin; the process id and a number follow.
const PREFIX: &str = "chandlery-";

/// A folder that only this user can enter, because files in it are executed. Dropping it removes it.
pub(crate) struct PrivateFolder {
    path: PathBuf,
    /// The lock, which the system releases when the process ends. `None` on file systems without locks.
    _lock: Option<File>,
}

impl PrivateFolder {
    /// Creates a folder in `base`, after removing the leftovers of killed kernels.
    pub(crate) fn fresh(base: &Path) -> Result<Self> {
        remove_leftovers(base);
        for attempt in 0..1000 {
            let path = base.join(format!("{PREFIX}{}-{attempt}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
                Ok(()) => {}
            }
            let lock = File::open(&path).and_then(|folder| folder.lock().map(|()| folder)).ok();
            // A kernel in another container, which cannot see this process, may have considered it a leftover until now.
            if path.is_dir() {
                return Ok(Self { path, _lock: lock });
            }
        }
        Err(Error::other(format!("{} is full of old chandlery folders", base.display())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Removes folders whose process is gone and whose lock is free.
fn remove_leftovers(base: &Path) {
    let Ok(entries) = std::fs::read_dir(base) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        let Some(process) = process_of(&entry.file_name()) else { continue };
        // A process that has not locked its new folder yet is alive.
        if system::is_alive(process) {
            continue;
        }
        // Folders of other users cannot be opened.
        let Ok(folder) = File::open(entry.path()) else { continue };
        if folder.try_lock().is_ok() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn process_of(name: &OsStr) -> Option<u32> {
    let (process, number) = name.to_str()?.strip_prefix(PREFIX)?.split_once('-')?;
    number.parse::<u32>().ok()?;
    process.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_kernel_removes_leftovers_and_nothing_else() {
        let base = std::env::temp_dir().join(format!("folders-{}", std::process::id()));
        std::fs::create_dir(&base).unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = child.id();
        child.wait().unwrap();
        let make = |name: String| {
            let path = base.join(name);
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("u1.rs.o"), "").unwrap();
            path
        };
        let leftover = make(format!("chandlery-{gone}-0"));
        let elsewhere = make(format!("chandlery-{gone}-1"));
        let lock = File::open(&elsewhere).unwrap();
        lock.lock().unwrap();
        let foreign = [make(format!("chandlery-install-{gone}")), make("chandlery-notes-1".to_owned())];

        let ours = PrivateFolder::fresh(&base).unwrap();
        assert!(!leftover.exists());
        assert!(elsewhere.exists(), "its lock says that a kernel of another container lives");
        assert!(foreign.iter().all(|path| path.exists()));
        let second = PrivateFolder::fresh(&base).unwrap();
        assert!(ours.path().is_dir() && second.path() != ours.path());
        let path = ours.path().to_owned();
        drop(ours);
        assert!(!path.exists());
        std::fs::remove_dir_all(base).unwrap();
    }
}
