//! The folder that a command writes, examined before the work begins: what is there, what changes, what stays.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::checkpoint::files::folder::is_stage;
use crate::checkpoint::files::layout::weights_entries;
use crate::checkpoint::files::replacing::{JOURNAL, settle};
use crate::checkpoint::{AtomicFolder, CheckpointError, WriteOptions};

/// What is at the path of a folder to be written. Links are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DestinationState {
    /// Nothing; its parent folder exists.
    Nothing,
    /// A folder with these entries, in order; it may be empty.
    Folder(Vec<String>),
}

/// What writing does to a folder: the single list of what a command writes, and its effect on the existing entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FolderChanges {
    /// Every file that is written, below the folder.
    pub writes: Vec<String>,
    /// Those of them that exist already and are overwritten.
    pub overwrites: Vec<String>,
    /// Existing entries that contradict what is written, and are removed.
    pub removes: Vec<String>,
    /// Entries that stay as they are.
    pub stays: Vec<String>,
}

impl DestinationState {
    /// Examines a path. If a killed run left the folder half replaced, it is restored first.
    ///
    /// # Errors
    /// [`CheckpointError::DestinationExists`] for what is not a folder, and for a broken link;
    /// [`CheckpointError::NoParent`]; [`CheckpointError::HalfReplaced`]; or the file system's refusal.
    pub fn at(path: &Path) -> Result<Self, CheckpointError> {
        let exists =
            |advice: &str| CheckpointError::DestinationExists { path: path.to_owned(), advice: advice.to_owned() };
        let Ok(status) = path.symlink_metadata() else {
            // `..` has no file name, and exists.
            if path.file_name().is_none() {
                return Err(exists("name a new folder"));
            }
            let parent = parent_of(path);
            if !parent.is_dir() {
                return Err(CheckpointError::NoParent { path: parent.to_owned() });
            }
            return Ok(Self::Nothing);
        };
        if !path.is_dir() {
            return Err(exists(match status.is_symlink() && !path.exists() {
                true => "create the folder that this link points to, or remove the link",
                false => "name a new folder; this is not a folder",
            }));
        }
        settle(path)?;
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path).map_err(CheckpointError::io("listing", path))? {
            let name = entry.map_err(CheckpointError::io("listing", path))?.file_name().to_string_lossy().into_owned();
            if !is_stage(&name) && name != JOURNAL {
                names.push(name);
            }
        }
        names.sort();
        Ok(Self::Folder(names))
    }

    /// Returns the entries; none if there is no folder.
    pub fn entries(&self) -> &[String] {
        match self {
            Self::Nothing => &[],
            Self::Folder(names) => names,
        }
    }
}

impl FolderChanges {
    /// What writing `writes` into `folder`, which holds `found`, does to it. Of the entries `contradicted`, those that are
    /// there and are not written are removed.
    pub fn new(
        folder: &Path,
        found: &DestinationState,
        writes: impl IntoIterator<Item = String>,
        contradicted: &[String],
    ) -> Self {
        let writes: Vec<String> = writes.into_iter().collect();
        let there = |name: &&String| folder.join(name).symlink_metadata().is_ok();
        let contradicts = |entry: &&String| contradicted.contains(entry) && !writes.contains(entry);
        let removes: Vec<String> = found.entries().iter().filter(contradicts).cloned().collect();
        // Files inside an entry that is removed as a whole are not overwritten.
        let goes = |name: &str| removes.iter().any(|entry| name.split('/').next() == Some(entry));
        let overwrites: Vec<String> = writes.iter().filter(there).filter(|name| !goes(name)).cloned().collect();
        let touched: BTreeSet<&String> = overwrites.iter().chain(&removes).collect();
        let stays = found.entries().iter().filter(|entry| !touched.contains(entry)).cloned().collect();
        Self { writes, overwrites, removes, stays }
    }

    /// The changes of a command whose result is a whole folder: a new or an empty one; one that holds something else only
    /// with `force`. `sources` is what the command reads, which it must not write over.
    ///
    /// # Errors
    /// [`CheckpointError::DestinationExists`], which says what `--force` would overwrite, remove and keep.
    pub fn of_whole_folder(
        folder: &Path,
        writes: impl IntoIterator<Item = String>,
        contradicted: &[String],
        sources: &[&Path],
        force: bool,
    ) -> Result<Self, CheckpointError> {
        let found = DestinationState::at(folder)?;
        let changes = Self::new(folder, &found, writes, contradicted);
        if found.entries().is_empty() {
            return Ok(changes);
        }
        let exists = |advice: String| Err(CheckpointError::DestinationExists { path: folder.to_owned(), advice });
        if let Some(source) = sources.iter().find(|source| lies_in(source, folder)) {
            return exists(format!("name another folder: {} is read, and lies in this one", source.display()));
        }
        if !force {
            return exists(format!("name a new folder, or add --force: it {}", changes.in_words()));
        }
        Ok(changes)
    }

    /// The changes of a command whose result is a model's folder, by its options of writing. `contradicted` are the entries
    /// that another model would contradict.
    ///
    /// # Errors
    /// As [`of_whole_folder`](Self::of_whole_folder) and [`of_replaced_folder`](Self::of_replaced_folder).
    pub fn of_model_folder(
        folder: &Path,
        writes: impl IntoIterator<Item = String>,
        contradicted: &[String],
        sources: &[&Path],
        options: &WriteOptions,
    ) -> Result<Self, CheckpointError> {
        match options.overwrite {
            true => Self::of_replaced_folder(folder, writes, sources),
            false => Self::of_whole_folder(folder, writes, contradicted, sources, options.force),
        }
    }

    /// The changes of a command whose result takes the place of a model folder: every entry that is there goes. What holds
    /// anything else than a model is not replaced.
    ///
    /// # Errors
    /// As [`of_whole_folder`](Self::of_whole_folder), and for a folder without a model.
    pub fn of_replaced_folder(
        folder: &Path,
        writes: impl IntoIterator<Item = String>,
        sources: &[&Path],
    ) -> Result<Self, CheckpointError> {
        let found = DestinationState::at(folder)?;
        let holds_a_model = found.entries().is_empty()
            || found.entries().iter().any(|name| name == "config.json")
            || !weights_entries(folder).is_empty();
        if !holds_a_model {
            return Err(CheckpointError::DestinationExists {
                path: folder.to_owned(),
                advice: format!(
                    "name another folder: this one is not a model's, and holds {}",
                    listed(found.entries())
                ),
            });
        }
        Self::of_whole_folder(folder, writes, found.entries(), sources, true)
    }

    /// Starts writing into `folder`.
    ///
    /// # Errors
    /// As [`AtomicFolder::create`]; and [`CheckpointError::DestinationExists`] if something is in the way of what the
    /// changes do not name.
    pub fn stage(&self, folder: &Path) -> Result<AtomicFolder, CheckpointError> {
        AtomicFolder::create_with(folder, Some(self.clone()))
    }

    /// Returns what happens to the existing entries, in one sentence.
    pub fn in_words(&self) -> String {
        let parts = [("overwrites", &self.overwrites), ("removes", &self.removes), ("leaves", &self.stays)];
        let parts = parts.into_iter().filter(|(_, names)| !names.is_empty());
        parts.map(|(verb, names)| format!("{verb} {}", listed(names))).collect::<Vec<_>>().join("; ")
    }

    /// Returns which entries were lost, in one sentence; `None` if nothing was.
    pub fn losses_in_words(&self) -> Option<String> {
        let losses = Self { stays: Vec::new(), ..self.clone() };
        (!self.overwrites.is_empty() || !self.removes.is_empty()).then(|| losses.in_words())
    }

    /// Returns the JSON form.
    pub fn report(&self) -> Value {
        json!({ "writes": self.writes, "overwrites": self.overwrites, "removes": self.removes, "stays": self.stays })
    }
}

/// Returns the names in one line, the first few of many.
pub fn listed(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let first = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn lies_in(path: &Path, folder: &Path) -> bool {
    let real = |path: &Path| -> Option<PathBuf> { path.canonicalize().ok() };
    matches!((real(path), real(folder)), (Some(path), Some(folder)) if path.starts_with(&folder))
}
