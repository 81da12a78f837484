//! checkpoint_manifest.json: what a checkpoint folder is made of.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::checkpoint::{CheckpointError, timestamp};

/// One component of a checkpoint: the model, or something else that training saved with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its name: `model`, `optimizer`.
    pub key: &'static str,
    /// Its files.
    pub files: Vec<String>,
    /// Their sizes together, in bytes.
    pub bytes: u64,
    /// What a reader must know before using it.
    pub note: Option<String>,
}

/// The manifest of a checkpoint that was written by one process, in the form that Forgather's trainers read and write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The checkpoint's folder, relative to the model folder.
    pub checkpoint: String,
    /// What it holds.
    pub components: Vec<Component>,
}

impl Manifest {
    /// The file's name.
    pub const FILE: &'static str = "checkpoint_manifest.json";

    /// Returns the file's content. Fields about the run that made the weights are null: it is not part of what is handed
    /// on.
    pub fn to_json(&self) -> Value {
        let components: Map<String, Value> =
            self.components.iter().map(|component| (component.key.to_owned(), component.to_json())).collect();
        json!({
            "checkpoint_path": self.checkpoint,
            "world_size": 1,
            "timestamp": timestamp(),
            "components": components,
            "training_args_hash": null,
            "forgather_version": null,
            "pytorch_version": null,
            "metadata": { "finalized": true, "writer": concat!("chandlery ", env!("CARGO_PKG_VERSION")) },
        })
    }
}

impl Component {
    /// The weights in these files of a folder.
    ///
    /// # Errors
    /// The file system's refusal to tell their sizes.
    pub fn model(folder: &Path, files: Vec<String>) -> Result<Self, CheckpointError> {
        let sizes = files.iter().map(|name| {
            let path = folder.join(name);
            path.metadata().map(|status| status.len()).map_err(CheckpointError::io("reading the size", &path))
        });
        Ok(Self { key: "model", bytes: sizes.sum::<Result<u64, _>>()?, files, note: None })
    }

    fn to_json(&self) -> Value {
        let mut metadata = json!({ "files": self.files });
        if let Some(note) = &self.note {
            metadata["note"] = json!(note);
        }
        json!({
            "key": self.key,
            "sharing_pattern": "replicated",
            "ranks": [0],
            "replicated_across": [0],
            "group_name": null,
            "size_bytes": self.bytes,
            "checksum": null,
            "metadata": metadata,
        })
    }
}
