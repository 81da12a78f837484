//! Where a new model folder stores its weights: at the root, or in a numbered checkpoint that the root links to.

use std::os::unix::fs::symlink;

use crate::checkpoint::{AtomicFolder, CheckpointError};

/// The place of the weights in a model folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Next to config.json only.
    Root,
    /// In `checkpoints/checkpoint-STEP`, with relative links at the root, where loaders look.
    Checkpoint {
        /// The step; 0 if it is unknown.
        step: u64,
    },
}

impl Placement {
    /// Returns the folder below the model folder that holds the weights: empty, or `checkpoints/checkpoint-12/`.
    pub fn folder(self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Checkpoint { step } => format!("checkpoints/checkpoint-{step}/"),
        }
    }

    /// Returns the links that the root needs to these files of weights: name and target.
    pub fn links(self, files: &[String]) -> Vec<(String, String)> {
        match self {
            Self::Root => Vec::new(),
            Self::Checkpoint { .. } => {
                files.iter().map(|name| (name.clone(), format!("{}{name}", self.folder()))).collect()
            }
        }
    }

    /// Makes those links in a staged folder.
    ///
    /// # Errors
    /// The file system's refusal.
    pub fn link(self, stage: &AtomicFolder, files: &[String]) -> Result<(), CheckpointError> {
        for (name, target) in self.links(files) {
            let link = stage.path().join(name);
            symlink(target, &link).map_err(CheckpointError::io("linking", &link))?;
        }
        Ok(())
    }
}
