//! Replaces files of an existing folder, so that a kill at any moment leaves the old content or the new.
//!
//! A journal in the folder names every move before the first one is made. Each file that is written over, and each entry
//! that is removed, first moves into the stage, so the moves can be undone; removing the journal makes them final. While it
//! stands the folder has no config.json, so that nobody reads half of each as a model. Whoever opens the folder after a
//! kill finds the journal and undoes the moves.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::checkpoint::CheckpointError;
use crate::checkpoint::files::destination::FolderChanges;
use crate::checkpoint::files::folder::{is_stage, lock, sync_folder};
use crate::diagnostic::Diagnose;

/// The journal's name in the folder.
pub(in crate::checkpoint) const JOURNAL: &str = ".chandlery-replacing.json";
/// Where a stage holds what will be in the folder.
pub(in crate::checkpoint) const NEW: &str = "new";
/// Where it holds what was there.
const OLD: &str = "old";
/// Without it a folder is not a model.
const CONFIG: &str = "config.json";

/// The changes that are being made to a folder.
#[derive(Debug, Serialize, Deserialize)]
struct Journal {
    /// The stage's name in the folder.
    stage: String,
    /// Entries that are removed, before anything else.
    removes: Vec<String>,
    /// Folders that are made, outer ones first.
    folders: Vec<String>,
    /// Files that take their places, in this order.
    moves: Vec<String>,
}

/// Moves what a stage holds into the folder around it: all of it, or nothing.
///
/// # Errors
/// [`CheckpointError::DestinationExists`] for what is in the way and is not named by `changes`, or the file system's
/// error. What was there before is restored; if that failed too, the journal stays and says so.
pub(in crate::checkpoint) fn replace(
    folder: &Path,
    stage: &Path,
    changes: &FolderChanges,
) -> Result<(), CheckpointError> {
    let journal = Journal::of(folder, stage, changes)?;
    journal.make_room(stage)?;
    journal.write(folder)?;
    if let Err(fault) = journal.apply(folder, stage) {
        // What cannot be undone now is undone when the folder is next opened: the journal stays.
        journal.undo(folder, stage)?;
        finish(folder)?;
        return Err(fault);
    }
    finish(folder)
}

/// Undoes what a killed run left half done in a folder. Does nothing to a folder without a journal.
///
/// # Errors
/// [`CheckpointError::HalfReplaced`] if a run is working on it now, or if it cannot be undone.
pub(crate) fn settle(folder: &Path) -> Result<(), CheckpointError> {
    let path = folder.join(JOURNAL);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(CheckpointError::io("reading", &path)(error)),
    };
    let half = |advice: &str| CheckpointError::HalfReplaced { path: folder.to_owned(), advice: advice.to_owned() };
    let Ok(journal) = serde_json::from_str::<Journal>(&text) else {
        // It is written whole before the first move.
        return finish(folder);
    };
    let stage = folder.join(&journal.stage);
    let plain = stage.symlink_metadata().is_ok_and(|status| status.is_dir());
    if !journal.is_plain() || !plain {
        return Err(half(&format!("remove {JOURNAL} to use the folder as it is; the files of that run are gone")));
    }
    match lock(&stage) {
        Ok(Some(_lock)) => {
            let undone = journal.undo(folder, &stage).and_then(|()| finish(folder));
            undone.map_err(|fault| half(&format!("open it where it can be written: {}", fault.diagnostic().what)))?;
            // What is left in it is not needed. What cannot be removed is a leftover for the next run.
            let _ = std::fs::remove_dir_all(&stage);
            Ok(())
        }
        Ok(None) => Err(half("wait for the run that writes it")),
        Err(error) => Err(half(&format!("open it where files can be locked ({error})"))),
    }
}

impl Journal {
    /// Plans the moves, if nothing is in the way.
    fn of(folder: &Path, stage: &Path, changes: &FolderChanges) -> Result<Self, CheckpointError> {
        let mut moves = Vec::new();
        list(&stage.join(NEW), "", &mut moves)?;
        // Files behind links, files, what names files, and what makes it all a model.
        moves.sort_by_key(|name| (name == CONFIG, name.ends_with(".index.json"), !name.contains('/'), name.clone()));
        let removes: Vec<String> = changes.removes.iter().filter(|name| exists(&folder.join(name))).cloned().collect();
        for name in &moves {
            check_free(folder, name, &removes, changes)?;
        }
        let goes = |path: &str| removes.iter().any(|entry| path.split('/').next() == Some(entry));
        let mut folders = BTreeSet::new();
        for name in &moves {
            let parents = name.match_indices('/').map(|(end, _)| &name[..end]);
            folders.extend(parents.filter(|path| goes(path) || !folder.join(path).is_dir()).map(str::to_owned));
        }
        let name = stage.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Ok(Self { stage: name, removes, folders: folders.into_iter().collect(), moves })
    }

    /// Folders in the stage for what will leave the folder.
    fn make_room(&self, stage: &Path) -> Result<(), CheckpointError> {
        for name in self.moves.iter().filter(|name| !self.goes(name)).chain(&self.removes) {
            let path = stage.join(OLD).join(name);
            let parent = path.parent().unwrap_or(stage);
            std::fs::create_dir_all(parent).map_err(CheckpointError::io("creating", parent))?;
        }
        sync_folder(stage)
    }

    /// True for what lies in an entry that is removed as a whole.
    fn goes(&self, name: &str) -> bool {
        self.removes.iter().any(|entry| name.split('/').next() == Some(entry))
    }

    fn write(&self, folder: &Path) -> Result<(), CheckpointError> {
        let path = folder.join(JOURNAL);
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        let mut file = File::create_new(&path).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => CheckpointError::HalfReplaced {
                path: folder.to_owned(),
                advice: "wait for the other run that writes it, and start this one again".to_owned(),
            },
            _ => CheckpointError::io("creating", &path)(error),
        })?;
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        if let Err(error) = written {
            let _ = std::fs::remove_file(&path);
            return Err(CheckpointError::io("writing", &path)(error));
        }
        sync_folder(folder)
    }

    fn apply(&self, folder: &Path, stage: &Path) -> Result<(), CheckpointError> {
        let (old, new) = (stage.join(OLD), stage.join(NEW));
        let aside = |name: &str| match exists(&folder.join(name)) {
            true => rename(&folder.join(name), &old.join(name)),
            false => Ok(()),
        };
        self.moves.iter().try_for_each(|name| keep_mode(&folder.join(name), &new.join(name)))?;
        if self.moves.iter().any(|name| name == CONFIG) {
            aside(CONFIG)?;
        }
        for name in &self.removes {
            aside(name)?;
        }
        let mut touched = BTreeSet::from([folder.to_owned()]);
        for name in &self.folders {
            let path = folder.join(name);
            std::fs::create_dir(&path).map_err(CheckpointError::io("creating", &path))?;
        }
        for name in &self.moves {
            aside(name)?;
            rename(&new.join(name), &folder.join(name))?;
            touched.extend(folder.join(name).parent().map(Path::to_owned));
        }
        touched.iter().try_for_each(|path| sync_folder(path))
    }

    /// Puts everything back, from whatever point [`apply`](Self::apply) reached.
    fn undo(&self, folder: &Path, stage: &Path) -> Result<(), CheckpointError> {
        let (old, new) = (stage.join(OLD), stage.join(NEW));
        for name in self.moves.iter().rev() {
            let here = folder.join(name);
            if !exists(&new.join(name)) && exists(&here) && parents_are_plain(folder, name) {
                rename(&here, &new.join(name))?;
            }
            if exists(&old.join(name)) && name != CONFIG && !self.goes(name) && parents_are_plain(folder, name) {
                rename(&old.join(name), &here)?;
            }
        }
        for name in self.folders.iter().rev() {
            // A folder that is not empty holds files of others.
            let _ = std::fs::remove_dir(folder.join(name));
        }
        for name in self.removes.iter().filter(|name| exists(&old.join(name))) {
            rename(&old.join(name), &folder.join(name))?;
        }
        if exists(&old.join(CONFIG)) {
            rename(&old.join(CONFIG), &folder.join(CONFIG))?;
        }
        sync_folder(folder)
    }

    /// Returns whether every name stays below the folder: a journal may come with a folder from elsewhere.
    fn is_plain(&self) -> bool {
        let names = self.removes.iter().chain(&self.folders).chain(&self.moves);
        let plain = |name: &String| {
            !name.is_empty() && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
        };
        is_stage(&self.stage) && !self.stage.contains('/') && names.into_iter().all(plain)
    }
}

/// Makes the moves, or their undoing, final.
fn finish(folder: &Path) -> Result<(), CheckpointError> {
    let path = folder.join(JOURNAL);
    std::fs::remove_file(&path).map_err(CheckpointError::io("removing", &path))?;
    sync_folder(folder)
}

/// That a file can take its place: nothing is there, or what `changes` says is written over.
fn check_free(folder: &Path, name: &str, removes: &[String], changes: &FolderChanges) -> Result<(), CheckpointError> {
    let in_the_way =
        |path: PathBuf, advice: &str| Err(CheckpointError::DestinationExists { path, advice: advice.to_owned() });
    if !changes.writes.is_empty() && !changes.writes.iter().any(|planned| planned == name) {
        return in_the_way(folder.join(name), "report this as a bug; the plan does not include this file");
    }
    if removes.iter().any(|entry| name.split('/').next() == Some(entry)) {
        return Ok(());
    }
    for (end, _) in name.match_indices('/') {
        let parent = folder.join(&name[..end]);
        if parent.symlink_metadata().is_ok_and(|status| !status.is_dir()) {
            return in_the_way(parent, "rename it, or name another destination; a folder belongs here");
        }
    }
    let path = folder.join(name);
    if exists(&path) && !changes.overwrites.iter().any(|planned| planned == name) {
        return in_the_way(path, "start the run again; this appeared while it worked");
    }
    Ok(())
}

/// The names of all files and links below a folder.
fn list(folder: &Path, prefix: &str, names: &mut Vec<String>) -> Result<(), CheckpointError> {
    let here = folder.join(prefix);
    for entry in std::fs::read_dir(&here).map_err(CheckpointError::io("listing", &here))? {
        let entry = entry.map_err(CheckpointError::io("listing", &here))?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => list(folder, &format!("{name}/"), names)?,
            false => names.push(name),
        }
    }
    Ok(())
}

/// Returns whether no folder on the way to a file is a link.
fn parents_are_plain(folder: &Path, name: &str) -> bool {
    let parents = name.match_indices('/').map(|(end, _)| folder.join(&name[..end]));
    parents.into_iter().all(|parent| parent.symlink_metadata().is_ok_and(|status| status.is_dir()))
}

/// Gives a new file the permissions of the one that it replaces.
fn keep_mode(old: &Path, new: &Path) -> Result<(), CheckpointError> {
    match (old.symlink_metadata(), new.symlink_metadata()) {
        (Ok(before), Ok(after)) if before.is_file() && after.is_file() => {
            std::fs::set_permissions(new, before.permissions()).map_err(CheckpointError::io("setting the mode", new))
        }
        _ => Ok(()),
    }
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn rename(from: &Path, to: &Path) -> Result<(), CheckpointError> {
    #[cfg(test)]
    tests::count_a_move()?;
    std::fs::rename(from, to).map_err(CheckpointError::io("moving into place", to))
}

#[cfg(test)]
mod tests;
