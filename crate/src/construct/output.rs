//! The output folder: what is written into it, and what that replaces.

use std::path::Path;

use serde_json::{Value, json};

use super::save::{weight_files, write_weights};
use super::{ConstructError, Construction, LoadReport};
use crate::checkpoint::{
    CHECKPOINTS, CheckpointError, DestinationState, FolderChanges, GGUF_FILE, SaveOptions, WEIGHTS_NAMES, listed,
    weights_entries,
};
use crate::export::{ExportError, sources};
use crate::project::{tokenizer, tokenizer_names};
use crate::spec::{ModelConfig, TensorTable};
use crate::tokenizer::TokenizerFiles;

/// What to write, and what may be replaced.
pub(super) struct OutputRequest<'a> {
    pub(super) folder: &'a Path,
    /// How to save the weights, if they are to be saved.
    pub(super) save: Option<SaveOptions>,
    pub(super) refresh: bool,
    pub(super) force: bool,
}

/// What will be written.
pub(super) struct Output {
    /// Configuration, tokenizer and sources, unless those that are there stay.
    definition: Vec<(String, Vec<u8>)>,
    /// Every file, and what writing them changes.
    pub(super) changes: FolderChanges,
}

/// What is constructed.
pub(super) struct Model<'a> {
    pub(super) config: &'a ModelConfig,
    pub(super) table: &'a TensorTable,
    pub(super) tokenizer: &'a TokenizerFiles,
    pub(super) load: Option<&'a LoadReport>,
}

/// Returns the files of a model's folder without its weights.
fn definition(config: &ModelConfig, tokenizer: &TokenizerFiles) -> Result<Vec<(String, Vec<u8>)>, ExportError> {
    let json = config.to_native_json(None);
    let generation = json!({
        "bos_token_id": json["bos_token_id"],
        "eos_token_id": json["eos_token_id"],
        "pad_token_id": json["pad_token_id"],
    });
    let text = |json: &Value| format!("{json:#}\n").into_bytes();
    let mut files =
        vec![("config.json".to_owned(), text(&json)), ("generation_config.json".to_owned(), text(&generation))];
    files.extend(tokenizer.to_write());
    files.extend(sources(config)?.into_iter().map(|(name, source)| (name, source.into_bytes())));
    Ok(files)
}

impl Output {
    /// Decides what is written, before minutes are spent on initializing and reading.
    ///
    /// # Errors
    /// [`ConstructError::Refused`], which names what would be lost.
    pub(super) fn decide(request: &OutputRequest<'_>, model: &Model<'_>) -> Result<Self, ConstructError> {
        let folder = request.folder;
        // Its parent is made when there is something to put into it.
        let found =
            if missing_parent(folder).is_some() { DestinationState::Nothing } else { DestinationState::at(folder)? };
        let new = definition(model.config, model.tokenizer)?;
        let weights = request.save.map(|options| weight_files(model.table, options)).unwrap_or_default();
        let whole = |removes: &[String]| {
            let files = new.iter().map(|(name, _)| name.clone()).chain(weights.iter().cloned());
            FolderChanges::new(folder, &found, files, removes)
        };
        if found.entries().is_empty() {
            return Ok(Self { changes: whole(&[]), definition: new });
        }
        let refuse = |what: String, advice: &str| {
            Err(ConstructError::Refused { what, origin: folder.display().to_string(), advice: advice.to_owned() })
        };
        let Some(old) = config_of(folder) else {
            let changes = whole(&weights_entries(folder));
            if !request.force {
                let what = format!("the output folder holds no model, but {}", listed(found.entries()));
                return refuse(
                    what,
                    &format!("name another with --output-dir, or add --force: it {}", changes.in_words()),
                );
            }
            return Ok(Self { changes, definition: new });
        };
        let different = differences(&old, &model.config.to_native_json(None));
        let there = weights_entries(folder);
        if request.refresh {
            // Files that are already as they would be written are not written.
            let fresh =
                |(name, bytes): &(String, Vec<u8>)| std::fs::read(folder.join(name)).ok().as_ref() != Some(bytes);
            let definition: Vec<(String, Vec<u8>)> = new.iter().filter(|file| fresh(file)).cloned().collect();
            let rebuilt = Rebuilt { request, model, old: &old, written: &definition };
            let removes = rebuilt.removes(!different.is_empty(), there)?;
            let files = definition.iter().map(|(name, _)| name.clone()).chain(weights.iter().cloned());
            let changes = FolderChanges::new(folder, &found, files, &removes);
            return Ok(Self { definition, changes });
        }
        if !different.is_empty() {
            let what = format!("the output folder holds another configuration: {}", different.join(", "));
            return refuse(what, "rebuild it with -r, or name another with --output-dir");
        }
        let there: Vec<String> = there.into_iter().filter(|name| name != GGUF_FILE).collect();
        if request.save.is_some() && !there.is_empty() {
            let what = format!("the output folder holds {} already", listed(&there));
            return refuse(what, "name another with --output-dir, or replace it with -r --force");
        }
        // A folder that is built already is not built again.
        Ok(Self { definition: Vec::new(), changes: FolderChanges::new(folder, &found, weights, &[]) })
    }

    /// Writes it. Returns the names of the weights' files.
    pub(super) fn write(
        &self,
        request: &OutputRequest<'_>,
        construction: &Construction,
    ) -> Result<Vec<String>, ConstructError> {
        if self.changes.writes.is_empty() && self.changes.removes.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(parent) = missing_parent(request.folder) {
            std::fs::create_dir_all(parent).map_err(CheckpointError::io("creating", parent))?;
        }
        let stage = self.changes.stage(request.folder)?;
        for (name, bytes) in &self.definition {
            stage.write(name, bytes)?;
        }
        let mut files = Vec::new();
        if let (Some(options), Some(model)) = (request.save, &construction.model) {
            files = write_weights(stage.path(), model, options)?.files;
        }
        stage.commit()?;
        Ok(files)
    }
}

/// A folder that holds a model and is built again.
struct Rebuilt<'a> {
    request: &'a OutputRequest<'a>,
    model: &'a Model<'a>,
    /// The configuration that it holds.
    old: &'a Value,
    /// Its files but for the weights that are written.
    written: &'a [(String, Vec<u8>)],
}

impl Rebuilt<'_> {
    /// Returns the entries that no longer belong there, if they may go and if what is written over was not edited.
    fn removes(&self, changed: bool, there: Vec<String>) -> Result<Vec<String>, ConstructError> {
        let OutputRequest { folder, save, force, .. } = *self.request;
        // Weights fit the configuration that they were made with; new ones take the place of the old.
        let stale = |name: &String| match name.as_str() {
            GGUF_FILE => changed && save.is_none(),
            _ => changed || save.is_some(),
        };
        let stale: Vec<String> = there.into_iter().filter(stale).collect();
        let lost: Vec<String> = if self.carries_forward() {
            stale.iter().filter(|name| *name == CHECKPOINTS).cloned().collect()
        } else {
            stale.clone()
        };
        let edited = self.edited();
        if force || (lost.is_empty() && edited.is_empty()) {
            return Ok(stale);
        }
        let (mut what, mut advice) = (Vec::new(), Vec::new());
        if !lost.is_empty() {
            what.push(listed(&lost));
            advice.push("to delete it");
        }
        if !edited.is_empty() {
            what.push(format!("files that were edited: {}", listed(&edited)));
            advice.push("to write them again without the edits");
        }
        Err(ConstructError::Refused {
            what: format!("the output folder holds {}", what.join(", and ")),
            origin: folder.display().to_string(),
            advice: format!("keep it and name another with --output-dir, or add --force {}", advice.join(" and ")),
        })
    }

    /// Returns whether the folder's own weights were loaded whole and are saved again: then they are not lost.
    fn carries_forward(&self) -> bool {
        let Some(load) = self.model.load.filter(|load| self.request.save.is_some() && load.is_complete()) else {
            return false;
        };
        WEIGHTS_NAMES.iter().any(|name| same_file(&load.path, &self.request.folder.join(name)))
    }

    /// Files that are written over and are not as they were written.
    fn edited(&self) -> Vec<String> {
        let folder = self.request.folder;
        let origin = folder.join("config.json").display().to_string();
        // A configuration that this crate cannot read was not written by it.
        let before = ModelConfig::from_json(self.old, &origin);
        let before = before.ok().and_then(|config| definition(&config, self.model.tokenizer).ok()).unwrap_or_default();
        let known = tokenizer_names().into_iter().filter_map(|name| tokenizer(&name).ok());
        let tokenizers: Vec<(String, Vec<u8>)> = known.flat_map(|files| files.to_write()).collect();
        let made = |name: &str, bytes: &[u8]| {
            let same = |file: &&(String, Vec<u8>)| file.0 == name && file.1 == bytes;
            before.iter().chain(&tokenizers).any(|file| same(&file))
        };
        let edited = self.written.iter().filter(|(name, _)| {
            let path = folder.join(name);
            let Ok(status) = path.symlink_metadata() else { return false };
            // A link was not written by this crate, wherever it points.
            status.is_symlink() || !std::fs::read(&path).is_ok_and(|bytes| made(name, &bytes))
        });
        edited.map(|(name, _)| name.clone()).collect()
    }
}

fn missing_parent(folder: &Path) -> Option<&Path> {
    folder.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.exists())
}

/// config.json of a folder, if it is one.
fn config_of(folder: &Path) -> Option<Value> {
    let text = std::fs::read_to_string(folder.join("config.json")).ok()?;
    crate::spec::parse_json(&text).ok().filter(Value::is_object)
}

/// Returns the fields of the new configuration that the old one has not, or has otherwise.
fn differences(old: &Value, new: &Value) -> Vec<String> {
    let fields = new.as_object().into_iter().flatten();
    fields
        .filter(|(key, value)| old.get(key.as_str()) != Some(value))
        .map(|(key, value)| format!("{key}: {} → {value}", old.get(key.as_str()).unwrap_or(&Value::Null)))
        .collect()
}

fn same_file(left: &Path, right: &Path) -> bool {
    match (left.canonicalize(), right.canonicalize()) {
        (Ok(left), Ok(right)) => left == right,
        _ => false,
    }
}
