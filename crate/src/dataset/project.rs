//! Dataset projects and their configurations.

use std::path::{Path, PathBuf};

use super::builtin::{BUILTIN, Builtin};
use super::declaration::{Declaration, Packing, Settings};
use super::error::closest;
use super::{Dataset, DatasetError, files};
use crate::sealed::Sealed;
use crate::tokenizer::TokenizerFiles;

/// A dataset project: files, and configurations that say how they become documents and blocks.
#[derive(Clone, Debug)]
pub struct DatasetProject {
    declaration: Sealed<Declaration>,
    home: Home,
}

/// Where the files are.
#[derive(Clone, Debug)]
pub(super) enum Home {
    Folder(PathBuf),
    Builtin(&'static Builtin),
}

/// Opens a dataset project: a folder with `dataset.yaml`, or a built-in one by name.
///
/// # Errors
/// [`DatasetError`] if there is none, or its declaration is wrong.
pub fn dataset(path: impl AsRef<Path>) -> Result<DatasetProject, DatasetError> {
    open(path.as_ref())
}

fn open(path: &Path) -> Result<DatasetProject, DatasetError> {
    let file = path.join("dataset.yaml");
    if file.is_file() {
        let text = std::fs::read_to_string(&file).map_err(|error| DatasetError::io("reading", &file, error))?;
        return declared(&text, Home::Folder(path.to_owned()), &file.display().to_string());
    }
    let name = path.to_string_lossy();
    if let Some(builtin) = BUILTIN.iter().find(|builtin| builtin.name == name) {
        return declared(builtin.declaration(), Home::Builtin(builtin), &format!("{name}/dataset.yaml"));
    }
    if path.is_dir() {
        return Err(DatasetError::Content {
            what: "the folder is not a dataset project: it has no dataset.yaml".to_owned(),
            place: path.display().to_string(),
            advice: "write one: name, description, default_config and configs with `files`".to_owned(),
        });
    }
    let known = DatasetProject::names();
    Err(DatasetError::Unknown {
        kind: "dataset project",
        hint: closest(&name, &known),
        name: name.into_owned(),
        place: "folders with dataset.yaml, and the built-in datasets".to_owned(),
        known: format!("a folder's path, {}", known.join(", ")),
    })
}

fn declared(text: &str, home: Home, place: &str) -> Result<DatasetProject, DatasetError> {
    let declaration = read(text).map_err(|error| DatasetError::Declaration {
        reason: error.to_string(),
        place: place.to_owned(),
        advice: "correct the file at that place".to_owned(),
    })?;
    let project = DatasetProject { declaration: Sealed::new(declaration), home };
    project.config(project.default_config())?;
    Ok(project)
}

/// Merge keys (`<<: *other`) let configurations share what they have in common; errors then lose their line.
fn read(text: &str) -> Result<Declaration, serde_yaml::Error> {
    if !text.contains("<<:") {
        return serde_yaml::from_str(text);
    }
    let mut value: serde_yaml::Value = serde_yaml::from_str(text)?;
    value.apply_merge()?;
    serde_yaml::from_value(value)
}

impl DatasetProject {
    /// Returns the names of the built-in ones.
    pub fn names() -> Vec<String> {
        BUILTIN.iter().map(|builtin| builtin.name.to_owned()).collect()
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.declaration.name
    }

    /// Returns what it is, in a sentence.
    pub fn description(&self) -> &str {
        &self.declaration.description
    }

    /// Returns the names of its configurations.
    pub fn configs(&self) -> Vec<String> {
        self.declaration.configs.keys().cloned().collect()
    }

    /// Returns the configuration used when none is named.
    pub fn default_config(&self) -> &str {
        &self.declaration.default_config
    }

    /// Chooses a configuration.
    ///
    /// # Errors
    /// [`DatasetError::Unknown`] if there is none of this name.
    pub fn config(&self, name: &str) -> Result<DatasetConfig, DatasetError> {
        let settings = self.declaration.configs.get(name).ok_or_else(|| {
            let known = self.configs();
            DatasetError::Unknown {
                kind: "configuration",
                name: name.to_owned(),
                hint: closest(name, &known),
                place: format!("dataset project {}", self.name()),
                known: known.join(", "),
            }
        })?;
        let settings = Sealed::new(settings.clone());
        Ok(DatasetConfig { project: self.name().to_owned(), name: name.to_owned(), settings, home: self.home.clone() })
    }
}

/// One configuration of a dataset project.
#[derive(Clone, Debug)]
pub struct DatasetConfig {
    pub(super) project: String,
    pub(super) name: String,
    pub(super) settings: Sealed<Settings>,
    pub(super) home: Home,
}

impl DatasetConfig {
    /// Packs in another way than the configuration says.
    pub fn packing(mut self, packing: Packing) -> Self {
        self.settings.packing = packing;
        self
    }

    /// Takes at most this many documents.
    pub fn limit(mut self, documents: usize) -> Self {
        self.settings.limit = Some(documents);
        self
    }

    /// Shuffles the documents with this seed.
    pub fn shuffle(mut self, seed: u64) -> Self {
        self.settings.shuffle_seed = Some(seed);
        self
    }

    /// Project and configuration.
    pub fn title(&self) -> String {
        format!("{} {}", self.project, self.name)
    }

    pub(super) fn place(&self) -> String {
        format!("dataset project {}, configuration {}", self.project, self.name)
    }

    /// Returns the files it names.
    pub(super) fn files(&self) -> Result<Vec<PathBuf>, DatasetError> {
        match &self.home {
            Home::Folder(folder) => files::matching(folder, self.settings.files.all(), &self.place()),
            Home::Builtin(builtin) => Ok(self
                .settings
                .files
                .all()
                .iter()
                .map(PathBuf::from)
                .filter(|file| builtin.text(file).is_some())
                .collect()),
        }
    }

    /// Reads, tokenizes and packs the whole of it into blocks of at most `sequence_length` tokens.
    ///
    /// # Errors
    /// [`DatasetError`] for files that are missing or hold something else than declared, a tokenizer that lacks a
    /// token that the configuration demands, or an interrupt.
    pub fn load(&self, tokenizer: &TokenizerFiles, sequence_length: usize) -> Result<Dataset, DatasetError> {
        Dataset::load(self, tokenizer, sequence_length, None)
    }

    /// As [`load`](Self::load), but stops reading documents when they surely fill `blocks` blocks.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub(crate) fn load_enough(
        &self,
        tokenizer: &TokenizerFiles,
        sequence_length: usize,
        blocks: usize,
    ) -> Result<Dataset, DatasetError> {
        Dataset::load(self, tokenizer, sequence_length, Some(blocks))
    }
}
