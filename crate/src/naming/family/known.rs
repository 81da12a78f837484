//! The known families: the built-in ones and those that were given.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;

use super::asked::asked_parts;
use super::raw::{LARGEST, RawFamily};
use super::{Family, FamilyError};
use crate::spec::{Architecture, ModelConfig, Naming, family_file, family_names, parse_json};

/// Families that models can be of: the built-in ones, and others that are given.
#[derive(Clone, Debug, Default)]
pub struct Families {
    given: Vec<Family>,
    unknown_fields: bool,
    tie: Option<bool>,
    dequantize: bool,
    adapters: Vec<PathBuf>,
}

impl Families {
    /// Those that are described in the toolkit's own `families/*.yaml`.
    ///
    /// # Errors
    /// None: a family is read when it is asked for.
    pub fn built_in() -> Result<Self, FamilyError> {
        Ok(Self::default())
    }

    /// The built-in families, and those of files and folders: every `.yaml` of a folder whose first key is `family`.
    /// They may extend each other.
    ///
    /// # Errors
    /// [`FamilyError`] for a path that does not exist or holds no family, a file that cannot be read, and two families
    /// of one name.
    pub fn with_paths<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Self, FamilyError> {
        let paths: Vec<PathBuf> = paths.into_iter().map(|path| path.as_ref().to_owned()).collect();
        Self::from_paths(&paths, false)
    }

    /// As [`with_paths`](Self::with_paths), where a file may have rules of renaming alone, without `config:`.
    ///
    /// # Errors
    /// As [`with_paths`](Self::with_paths).
    pub(crate) fn with_layouts(paths: &[PathBuf]) -> Result<Self, FamilyError> {
        Self::from_paths(paths, true)
    }

    fn from_paths(paths: &[PathBuf], layouts: bool) -> Result<Self, FamilyError> {
        let mut families = Self::built_in()?;
        let mut written: Vec<(RawFamily, String)> = Vec::new();
        for path in paths {
            for (file, yaml) in files_of(path)? {
                let origin = file.display().to_string();
                let family = RawFamily::from_yaml(&yaml, &origin)?;
                if let Some((_, earlier)) = written.iter().find(|(known, _)| known.family == family.family) {
                    return Err(FamilyError::File {
                        what: format!("the family {} is described twice", family.family.text),
                        place: format!("{earlier} and {origin}"),
                        advice: "give one of them another name, or leave one out".to_owned(),
                    });
                }
                written.push((family, origin));
            }
        }
        let all: Vec<RawFamily> = written.into_iter().map(|(family, _)| family).collect();
        for family in &all {
            families.given.push(resolve(family.clone(), &all, layouts)?);
        }
        Ok(families)
    }

    /// Adds a family, which takes precedence over others of its name or `model_type`.
    pub fn with(mut self, family: Family) -> Self {
        self.given.insert(0, family);
        self
    }

    /// Allows fields of a config.json that its family does not read (default: they are an error).
    pub fn allow_unknown_fields(mut self, allow: bool) -> Self {
        self.unknown_fields = allow;
        self
    }

    /// What becomes of a head that a file holds beside the embedding although config.json says that it is the
    /// embedding, where the two differ: true drops it, false keeps it and unties the two (default: it is an error).
    pub fn tie_word_embeddings(mut self, tie: Option<bool>) -> Self {
        self.tie = tie;
        self
    }

    /// Whether quantized weights are read as the numbers that they stand for (default: as they are, or they are refused).
    pub fn dequantize(mut self, dequantize: bool) -> Self {
        self.dequantize = dequantize;
        self
    }

    /// Adapters to merge into the weights of the folders that are read, in this order.
    pub fn adapters(mut self, adapters: Vec<PathBuf>) -> Self {
        self.adapters = adapters;
        self
    }

    /// Returns whether quantized weights are read as the numbers that they stand for.
    pub(crate) fn dequantizes(&self) -> bool {
        self.dequantize
    }

    /// Returns the adapters to merge.
    pub(crate) fn adapters_to_merge(&self) -> &[PathBuf] {
        &self.adapters
    }

    /// Returns the decision about a differing head in a tied model.
    pub(crate) fn tie(&self) -> Option<bool> {
        self.tie
    }

    /// Returns whether fields that a family does not read are passed over.
    pub(crate) fn allows_unknown_fields(&self) -> bool {
        self.unknown_fields
    }

    /// Returns every family, given ones first.
    pub fn iter(&self) -> impl Iterator<Item = &Family> {
        let built_in = family_names().filter_map(|name| -> Option<&Family> { built_in_family(name) });
        self.given.iter().chain(built_in)
    }

    /// Returns the family of a `model_type` at Hugging Face, or of this name.
    pub fn of_type(&self, model_type: &str) -> Option<&Family> {
        let named = self.given.iter().find(|family| family.model_type() == model_type);
        let named = named.or_else(|| built_in_family(model_type));
        named.or_else(|| self.given.iter().find(|family| family.name() == model_type))
    }

    /// Reads a config.json of either side; `origin` names the file in errors.
    ///
    /// ```
    /// use chandlery::naming::Families;
    /// let json = serde_json::json!({
    ///     "model_type": "mistral", "vocab_size": 320, "hidden_size": 64, "intermediate_size": 160,
    ///     "num_hidden_layers": 2, "num_attention_heads": 8,
    /// });
    /// let (config, _) = Families::built_in()?.read_config(&json, "a cell")?;
    /// assert_eq!(config.sliding_window, Some(4096));
    /// # Ok::<(), chandlery::naming::FamilyError>(())
    /// ```
    ///
    /// # Errors
    /// [`FamilyError`] for a `model_type` that no family has, and fields that are missing, wrong or not covered.
    pub fn read_config(&self, json: &Value, origin: &str) -> Result<(ModelConfig, Naming), FamilyError> {
        match ModelConfig::naming_of(json) {
            Naming::Native => Ok((ModelConfig::from_json(json, origin)?, Naming::Native)),
            Naming::HuggingFace => {
                Ok((self.of_config(json, origin, None)?.read_config(json, origin)?, Naming::HuggingFace))
            }
        }
    }

    /// Returns the family of a Hugging Face config.json: the one asked for, else that of its `model_type`.
    pub(crate) fn of_config(&self, json: &Value, origin: &str, asked: Option<&str>) -> Result<Family, FamilyError> {
        let Some(own) = json.get("model_type").and_then(Value::as_str) else {
            // It has its own error for a field that is missing or not a text.
            ModelConfig::identify(json, origin)?;
            return Family::native_names();
        };
        let place = if asked.is_some() { "--model-type" } else { origin };
        let name = asked.unwrap_or(own);
        self.of_type(name).cloned().ok_or_else(|| match (asked, self.unknown(name, place)) {
            (None, FamilyError::Unknown { model_type, known, place, .. }) => {
                FamilyError::Unknown { model_type, known, parts: asked_parts(json, self), place }
            }
            (_, unknown) => unknown,
        })
    }

    /// Returns the error for a `model_type` that no family has.
    pub(crate) fn unknown(&self, name: &str, place: &str) -> FamilyError {
        FamilyError::Unknown {
            model_type: name.to_owned(),
            known: self.names(),
            parts: Vec::new(),
            place: place.to_owned(),
        }
    }

    /// Returns the given family whose folder this is, or in whose folder this is, by the `model_type` of config.json.
    pub(crate) fn of_folder(&self, path: &Path) -> Option<Family> {
        let config =
            [path, path.parent()?].into_iter().map(|folder| folder.join("config.json")).find(|file| file.is_file());
        let json = parse_json(&std::fs::read_to_string(config?).ok()?).ok()?;
        let model_type = json.get("model_type")?.as_str()?;
        self.given.iter().find(|family| family.model_type() == model_type).cloned()
    }

    /// Their types, for messages.
    pub fn names(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        let built_in = family_names().filter_map(|name| -> Option<&Family> { built_in_family(name) });
        for family in built_in.chain(&self.given) {
            if !names.contains(&family.model_type()) {
                names.push(family.model_type());
            }
        }
        names.join(", ")
    }
}

/// Follows what a family extends: among `others`, else a built-in one. With `layouts` it may say nothing of config.json.
pub(super) fn resolve(mut written: RawFamily, others: &[RawFamily], layouts: bool) -> Result<Family, FamilyError> {
    let mut seen = vec![written.family.text.clone()];
    let same = written.same_reference_as.clone();
    let says_native = !written.native.is_empty();
    while let Some(parent) = written.extends.take() {
        let refuse = |reason: String, advice: &str| FamilyError::Syntax {
            reason,
            place: parent.at(),
            advice: advice.to_owned(),
        };
        if seen.contains(&parent.text) && !built_in_parent(&parent.text, &seen) {
            return Err(refuse(format!("the family {} extends itself", parent.text), "extend another family"));
        }
        let found = others.iter().find(|other| other.family == parent && !seen.contains(&parent.text));
        let found = match found {
            Some(found) => found.clone(),
            None => built_in(&parent.text)?.ok_or_else(|| {
                let advice =
                    format!("extend a built-in family ({}), or give its file, too", Families::default().names());
                refuse(format!("there is no family {} to extend", parent.text), &advice)
            })?,
        };
        seen.push(parent.text.clone());
        let next = found.extends.clone();
        written = written.over(&found);
        written.extends = next;
        // What says nothing of its native models and is not a known architecture by its own name is built as what it
        // extends.
        if !says_native
            && family_file(&written.family.text).is_none()
            && Architecture::from_name(&parent.text).is_some()
        {
            written.native.entry("architecture").or_insert(parent.text.into());
        }
    }
    if let Some(other) = same {
        let found = match others.iter().find(|family| family.family == other) {
            Some(found) => Some(found.clone()),
            None => built_in(&other.text)?,
        };
        let Some(outline) = found.and_then(|family| family.reference) else {
            return Err(FamilyError::Syntax {
                reason: format!("there is no family {} with a `reference:` of its own", other.text),
                place: other.at(),
                advice: "name llama, mistral, qwen3, or a family whose file is given too".to_owned(),
            });
        };
        written.reference.get_or_insert(outline);
    }
    let names_only = (layouts && written.config.is_empty()).then(Architecture::nameless);
    Family::assemble(written, names_only)
}

/// A family may replace a built-in one of its name by extending it.
fn built_in_parent(name: &str, seen: &[String]) -> bool {
    seen.len() == 1 && family_file(name).is_some()
}

fn built_in(name: &str) -> Result<Option<RawFamily>, FamilyError> {
    family_file(name).map(|yaml| RawFamily::from_yaml(yaml, &format!("families/{name}.yaml"))).transpose()
}

/// Returns a built-in family that some class of Hugging Face's has. Preparing its rules takes milliseconds, so it is
/// done once, and only for the family that is asked for.
fn built_in_family(name: &str) -> Option<&'static Family> {
    static PREPARED: OnceLock<HashMap<&'static str, OnceLock<Option<Family>>>> = OnceLock::new();
    let prepared = PREPARED.get_or_init(|| family_names().map(|name| (name, OnceLock::new())).collect());
    // A test prepares every family.
    prepared.get(name)?.get_or_init(|| prepare(name).ok().flatten()).as_ref()
}

fn prepare(name: &str) -> Result<Option<Family>, FamilyError> {
    let Some(written) = built_in(name)? else { return Ok(None) };
    // Families without `config:` exist on the native side alone.
    if written.config.is_empty() && written.extends.is_none() {
        return Ok(None);
    }
    resolve(written, &[], false).map(Some)
}

/// Returns the files of a path that describe families, with their texts.
fn files_of(path: &Path) -> Result<Vec<(PathBuf, String)>, FamilyError> {
    let fault = |what: String, place: &Path, advice: &str| FamilyError::File {
        what,
        place: place.display().to_string(),
        advice: advice.to_owned(),
    };
    if path.is_file() {
        return Ok(vec![(path.to_owned(), text_of(path)?)]);
    }
    let listing = std::fs::read_dir(path).map_err(|error| {
        fault(format!("cannot search for converters here: {error}"), path, "name a YAML file or a folder of them")
    })?;
    let mut files: Vec<PathBuf> = listing
        .flatten()
        .map(|entry| entry.path())
        .filter(|file| file.extension().is_some_and(|ending| ending == "yaml" || ending == "yml") && file.is_file())
        .collect();
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let text = text_of(&file)?;
        let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with(['#', '-', '%']));
        if first.is_some_and(|line| line.starts_with("family:")) {
            found.push((file, text));
        }
    }
    if found.is_empty() {
        let advice = "name a folder with YAML files that begin with `family:`";
        return Err(fault("the file does not describe a family".to_owned(), path, advice));
    }
    Ok(found)
}

fn text_of(file: &Path) -> Result<String, FamilyError> {
    let fault = |what: String, advice: &str| FamilyError::File {
        what,
        place: file.display().to_string(),
        advice: advice.to_owned(),
    };
    let read = |error: std::io::Error| fault(format!("the file cannot be read: {error}"), "check the file");
    let size = std::fs::metadata(file).map_err(read)?.len();
    if size > LARGEST as u64 {
        let what = format!("{size} bytes are too many for a family (at most {LARGEST})");
        return Err(fault(what, "name the family's own file"));
    }
    std::fs::read_to_string(file).map_err(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_family_can_be_prepared() {
        for name in family_names() {
            let family = prepare(name).unwrap_or_else(|error| panic!("{name}: {error}"));
            let Some(family) = family else { continue };
            assert_eq!((family.name(), family.model_type(), family.architecture().name()), (name, name, name));
            assert!(family.class().is_some(), "{name}");
        }
        assert!(Families::default().of_type("causal_lm").is_none());
    }
}
