//! The output folder: configuration, tokenizer and perhaps weights, never half of them.

use std::path::Path;

use serde_json::{Value, json};

use super::save::write_weights;
use super::{ConstructError, Construction, LoadReport, SaveOptions};
use crate::checkpoint::{AtomicFolder, CheckpointError, WEIGHTS_NAMES};

/// What to write, and what may be replaced.
pub(super) struct Request<'a> {
    pub(super) folder: &'a Path,
    /// How to save the weights, if they are to be saved.
    pub(super) save: Option<SaveOptions>,
    pub(super) refresh: bool,
    pub(super) force: bool,
}

/// Writes the folder, unless it is there already as it should be. Returns the names of the weights' files.
pub(super) fn write(
    request: &Request<'_>,
    existing: Existing,
    construction: &Construction,
) -> Result<Vec<String>, ConstructError> {
    if let Existing::Same = existing {
        return Ok(Vec::new());
    }
    let config = construction.config.to_native_json(None);
    if let Some(parent) = request.folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(CheckpointError::io("creating", parent))?;
    }
    // The old folder steps aside under a hidden name, and comes back if anything below fails.
    let aside = match existing {
        Existing::Replace => Some(Aside::new(request.folder)?),
        _ => None,
    };
    let stage = AtomicFolder::create(request.folder)?;
    stage.write_json("config.json", &config)?;
    let generation = json!({
        "bos_token_id": config["bos_token_id"],
        "eos_token_id": config["eos_token_id"],
        "pad_token_id": config["pad_token_id"],
    });
    stage.write_json("generation_config.json", &generation)?;
    for (name, bytes) in construction.tokenizer.to_write() {
        stage.write(&name, bytes)?;
    }
    for (name, text) in crate::export::sources(&construction.config) {
        stage.write(&name, text)?;
    }
    let mut files = Vec::new();
    if let (Some(options), Some(model)) = (request.save, &construction.model) {
        files = write_weights(stage.path(), model, options)?.files;
    }
    stage.commit()?;
    if let Some(aside) = aside {
        aside.discard()?;
    }
    Ok(files)
}

/// What is at the output folder's path.
pub(super) enum Existing {
    /// Nothing.
    None,
    /// What was asked for.
    Same,
    /// What may be replaced.
    Replace,
}

/// Decides about a folder that is there already.
pub(super) fn existing(
    request: &Request<'_>,
    config: &Value,
    load: Option<&LoadReport>,
) -> Result<Existing, ConstructError> {
    let folder = request.folder;
    if folder.symlink_metadata().is_err() {
        return Ok(Existing::None);
    }
    let refuse = |what: String, advice: &str| {
        Err(ConstructError::Refused { what, origin: folder.display().to_string(), advice: advice.to_owned() })
    };
    let found = std::fs::read_to_string(folder.join("config.json")).ok();
    let Some(found) = found.and_then(|text| serde_json::from_str::<Value>(&text).ok()) else {
        return refuse("the output folder exists and holds no model".to_owned(), "name another with --output-dir");
    };
    let weights: Vec<&str> =
        WEIGHTS_NAMES.iter().copied().chain(["checkpoints"]).filter(|name| folder.join(name).exists()).collect();
    if request.refresh {
        // Weights that were loaded whole and are saved again are carried forward, not deleted.
        let carried = |name: &&str| {
            let whole = request.save.is_some() && load.is_some_and(LoadReport::is_complete);
            whole && load.is_some_and(|load| same_file(&load.path, &folder.join(name)))
        };
        let lost: Vec<&str> = weights.iter().copied().filter(|name| !carried(name)).collect();
        if !lost.is_empty() && !request.force {
            let what = format!("the output folder holds {}", lost.join(", "));
            return refuse(what, "keep it and name another with --output-dir, or add --force to delete it");
        }
        return Ok(Existing::Replace);
    }
    let different: Vec<String> = config
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, value)| found.get(key.as_str()) != Some(value))
        .map(|(key, value)| format!("{key}: {} → {value}", found.get(key.as_str()).unwrap_or(&Value::Null)))
        .collect();
    if !different.is_empty() {
        let what = format!("the output folder holds another configuration: {}", different.join(", "));
        return refuse(what, "rebuild it with -r, or name another with --output-dir");
    }
    match (request.save.is_some(), weights.is_empty()) {
        (false, _) => Ok(Existing::Same),
        (true, true) => Ok(Existing::Replace),
        (true, false) => {
            let what = format!("the output folder holds {} already", weights.join(", "));
            refuse(what, "name another with --output-dir, or replace it with -r --force")
        }
    }
}

fn same_file(left: &Path, right: &Path) -> bool {
    match (left.canonicalize(), right.canonicalize()) {
        (Ok(left), Ok(right)) => left == right,
        _ => false,
    }
}

/// An old folder moved out of the way until its replacement is in place.
struct Aside<'a> {
    folder: &'a Path,
    hidden: std::path::PathBuf,
}

impl<'a> Aside<'a> {
    fn new(folder: &'a Path) -> Result<Self, CheckpointError> {
        let name = folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let hidden = folder.with_file_name(format!(".{name}.old-{}", std::process::id()));
        std::fs::rename(folder, &hidden).map_err(CheckpointError::io("moving aside", folder))?;
        Ok(Self { folder, hidden })
    }

    fn discard(self) -> Result<(), CheckpointError> {
        std::fs::remove_dir_all(&self.hidden).map_err(CheckpointError::io("removing the old folder", &self.hidden))
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        // Something failed before the replacement stood: the old folder returns. After discard() there is none.
        if self.hidden.exists() && !self.folder.exists() {
            let _ = std::fs::rename(&self.hidden, self.folder);
        }
    }
}
