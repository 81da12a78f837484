//! Removes the folders of earlier installations that are no longer needed.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Places, RECORD};
use crate::system;

/// The prefix of the name of a folder that is being filled; the process id follows.
pub(super) const PART: &str = ".part-";

/// Marks the installation that this process runs from as in use for the life of the process, so that upgrades leave it in place.
/// Does nothing in a build folder.
pub fn stay_in_use() {
    let record = std::env::current_exe().ok().and_then(|command| Some(command.parent()?.join(RECORD)));
    // Left open, because the system releases the lock when the process ends. Without locks, upgrades remove the folder, and the
    // kernel runs on until it needs a new worker.
    if let Some(record) = record.and_then(|path| File::open(path).ok())
        && record.lock_shared().is_ok()
    {
        std::mem::forget(record);
    }
}

/// An installed folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// Where it is.
    pub folder: PathBuf,
    /// Whether a kernel runs from it.
    pub running: bool,
}

impl Places {
    /// Returns the folders of complete installations that no kernelspec names anymore.
    pub fn unused(&self) -> Vec<Earlier> {
        let named = self.commands();
        let unused = self.folders().into_iter().filter(|folder| {
            folder.join(RECORD).is_file()
                && !is_part(folder)
                && !named.iter().any(|command| command.starts_with(folder))
        });
        unused.map(|folder| Earlier { running: is_running(&folder), folder }).collect()
    }

    /// Removes unused installations and the leftovers of killed ones; returns the former.
    pub(super) fn sweep(&self) -> Vec<PathBuf> {
        for part in self.folders().into_iter().filter(|folder| is_part(folder)) {
            let process = part.to_string_lossy().rsplit_once(PART).and_then(|(_, process)| process.parse().ok());
            if process.is_some_and(|process| !system::is_alive(process)) {
                let _ = std::fs::remove_dir_all(part);
            }
        }
        let idle = self.unused().into_iter().filter(|earlier| !earlier.running).map(|earlier| earlier.folder);
        idle.filter(|folder| std::fs::remove_dir_all(folder).is_ok()).collect()
    }

    /// Returns the folders of this command beside that of the next installation.
    fn folders(&self) -> Vec<PathBuf> {
        let library = self.library();
        let entries = library.parent().and_then(|beside| std::fs::read_dir(beside).ok());
        let mut folders: Vec<PathBuf> = entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        let ours = |folder: &PathBuf| {
            folder.is_dir() && folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("chandlery-"))
        };
        folders.retain(ours);
        folders.sort();
        folders
    }

    /// Returns the commands that kernelspecs start: those in this place, and all that Jupyter finds.
    fn commands(&self) -> Vec<PathBuf> {
        let mut kernels = Self::searched();
        kernels.push(self.kernels());
        let specs = kernels.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
        specs.filter_map(|spec| command_of(&spec.path())).collect()
    }
}

/// Returns the command that a kernelspec starts.
pub(crate) fn command_of(spec: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(spec.join("kernel.json")).ok()?;
    let spec: Value = serde_json::from_str(&text).ok()?;
    Some(PathBuf::from(spec.get("argv")?.get(0)?.as_str()?))
}

fn is_part(folder: &Path) -> bool {
    folder.to_string_lossy().contains(PART)
}

fn is_running(folder: &Path) -> bool {
    let Ok(record) = File::open(folder.join(RECORD)) else { return false };
    matches!(record.try_lock(), Err(std::fs::TryLockError::WouldBlock))
}
