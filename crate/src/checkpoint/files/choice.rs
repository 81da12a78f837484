//! Which weights of a model folder are read: one rule for every command.
//!
//! The named checkpoint; else the newest complete one under `checkpoints/`; else the folder's own weights. Weights
//! of the folder that are links to those of a checkpoint are that checkpoint.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::checkpoint::files::layout::{checkpoints_of, step_of, weights_in};
use crate::checkpoint::files::replacing::settle;
use crate::checkpoint::{Checkpoint, CheckpointError, inside};
use crate::diagnostic::Diagnose;

/// Which weights were chosen, why, and which newer ones could not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointChoice {
    /// The folder that holds the weights: a checkpoint's, or the model folder itself; or the file that was named.
    pub path: PathBuf,
    /// Why they were chosen.
    pub reason: ChoiceReason,
    /// Checkpoints that come before them and are damaged, newest first.
    pub passed_over: Vec<PassedOver>,
    /// What else a person should know of the files, such as entries that are not tensors.
    pub notes: Vec<String>,
}

/// Why weights were chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChoiceReason {
    /// They were named.
    Named,
    /// They are the newest complete checkpoint of the model folder.
    Newest,
    /// The model folder has no complete checkpoint, and weights of its own.
    Root,
    /// The same, and the weights are links to this checkpoint.
    Linked,
}

/// A checkpoint that is damaged or not complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// Its folder.
    pub path: PathBuf,
    /// What is wrong with it, in a line.
    pub fault: String,
}

impl CheckpointChoice {
    /// The choice of a path that was named.
    pub(in crate::checkpoint) fn named(path: &Path) -> Self {
        Self { path: path.to_owned(), reason: ChoiceReason::Named, passed_over: Vec::new(), notes: Vec::new() }
    }

    /// Returns the training step, if the weights are those of a numbered checkpoint.
    pub fn step(&self) -> Option<u64> {
        step_of(&self.path)
    }

    /// Returns the choice in a few words, such as `run/checkpoints/checkpoint-1000 (the newest checkpoint)`.
    pub fn in_words(&self) -> String {
        let why = match self.reason {
            // A file is not a choice among others.
            ChoiceReason::Named if self.path.is_file() => return self.path.display().to_string(),
            ChoiceReason::Named => "as named",
            ChoiceReason::Newest => "the newest checkpoint",
            ChoiceReason::Root => "the folder's own weights",
            ChoiceReason::Linked => "the folder's weights are links to it",
        };
        format!("{} ({why})", self.path.display())
    }

    /// Returns what a person must know: which newer checkpoints were skipped, and why.
    pub fn warnings(&self) -> Vec<String> {
        let warning = |passed: &PassedOver| {
            let (path, taken) = (passed.path.display(), self.path.display());
            format!("the newer checkpoint {path} was passed over for {taken}: {}", passed.fault)
        };
        self.passed_over.iter().map(warning).chain(self.notes.iter().cloned()).collect()
    }

    /// Returns the JSON form.
    pub fn report(&self) -> Value {
        let reason = match self.reason {
            ChoiceReason::Named => "named",
            ChoiceReason::Newest => "newest",
            ChoiceReason::Root => "root",
            ChoiceReason::Linked => "linked",
        };
        let passed = self.passed_over.iter();
        json!({
            "path": self.path,
            "reason": reason,
            "step": self.step(),
            "notes": self.notes,
            "passed_over": passed.map(|one| json!({ "path": one.path, "fault": one.fault })).collect::<Vec<_>>(),
        })
    }
}

impl PassedOver {
    fn new(path: &Path, fault: &CheckpointError) -> Self {
        Self { path: path.to_owned(), fault: fault.diagnostic().what }
    }
}

impl Checkpoint {
    /// Opens the weights of the folder `model`: those of the checkpoint `named`, else those that the rule of this module
    /// chooses. [`choice`](Self::choice) tells which.
    ///
    /// # Errors
    /// [`CheckpointError::NotACheckpoint`] if the named one is not a folder; [`CheckpointError`] if nothing is found, a
    /// header or index is invalid, or shards are missing. A checkpoint that was named is never replaced by another.
    pub fn choose(model: &Path, named: Option<&Path>) -> Result<Self, CheckpointError> {
        let Some(named) = named else { return Self::open(model) };
        if !named.is_dir() {
            let what = if named.exists() { "is not a folder" } else { "does not exist" };
            return Err(CheckpointError::NotACheckpoint { what, path: named.to_owned() });
        }
        settle(named)?;
        match weights_in(named) {
            Some(weights) => {
                let path = linked_folder(named, &weights).unwrap_or_else(|| named.to_owned());
                Ok(Self::open_weights(named, &weights)?.chosen(CheckpointChoice::named(&path)))
            }
            None => Self::newest(named),
        }
    }

    /// The newest complete checkpoint of a folder, else its own weights.
    pub(in crate::checkpoint) fn newest(model: &Path) -> Result<Self, CheckpointError> {
        settle(model)?;
        let (mut passed_over, mut newest_fault) = (Vec::new(), None);
        for path in checkpoints_of(model)?.into_iter().rev() {
            match Self::open_in(&path) {
                Ok(weights) => {
                    return Ok(weights.chosen(CheckpointChoice {
                        path,
                        reason: ChoiceReason::Newest,
                        passed_over,
                        notes: Vec::new(),
                    }));
                }
                Err(fault) => {
                    passed_over.push(PassedOver::new(&path, &fault));
                    newest_fault.get_or_insert(fault);
                }
            }
        }
        let Some(weights) = weights_in(model) else {
            return Err(newest_fault.unwrap_or_else(|| CheckpointError::nothing_in(model)));
        };
        let opened = Self::open_weights(model, &weights)?;
        let (path, reason) = match linked_folder(model, &weights) {
            Some(checkpoint) => (checkpoint, ChoiceReason::Linked),
            None => (model.to_owned(), ChoiceReason::Root),
        };
        Ok(opened.chosen(CheckpointChoice { path, reason, passed_over, notes: Vec::new() }))
    }

    /// The weights that lie in this folder itself.
    fn open_in(folder: &Path) -> Result<Self, CheckpointError> {
        let weights = weights_in(folder).ok_or_else(|| CheckpointError::nothing_in(folder))?;
        Self::open_weights(folder, &weights)
    }

    fn open_weights(folder: &Path, weights: &Path) -> Result<Self, CheckpointError> {
        inside(folder, weights)?;
        Self::open_file(weights)
    }
}

/// Returns the folder below the model folder that the weights lie in, if they are links there.
fn linked_folder(model: &Path, weights: &Path) -> Option<PathBuf> {
    let own = model.canonicalize().ok()?;
    let target = weights.canonicalize().ok()?;
    let below = target.parent()?.strip_prefix(&own).ok()?.to_owned();
    (!below.as_os_str().is_empty()).then(|| model.join(below))
}
