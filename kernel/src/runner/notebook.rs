//! A notebook file: JSON whose unknown fields and key order survive, because it belongs to its author.

use std::path::{Path, PathBuf};

use chandlery::diagnostic::{Diagnose, Diagnostic};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::language::other_kernel;

/// A notebook that cannot be read.
#[derive(thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum NotebookError {
    /// A file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not JSON.
    NotJson {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// It is JSON of another structure or version.
    Format {
        /// The file.
        path: PathBuf,
        /// What is missing.
        fault: FormatFault,
    },
}

impl Diagnose for NotebookError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Unreadable { path, source } => {
                Diagnostic::new(format!("cannot read the notebook: {source}")).at(path.display())
            }
            Self::NotJson { path, source } => {
                Diagnostic::new(format!("the file is not a notebook: {source}")).at(path.display())
            }
            Self::Format { path, fault } => Diagnostic::new(format!("the file is not a notebook of format 4: {fault}"))
                .at(path.display())
                .advise("upgrade an older notebook with `jupyter nbconvert --to notebook`"),
        }
    }
}

/// How JSON differs from a notebook.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatFault {
    /// It is not an object.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// It has another version.
    #[error("`nbformat` is {0}")]
    Version(i64),
    /// It does not give its version.
    #[error("it has no `nbformat`")]
    NoVersion,
    /// It has no cells.
    #[error("it has no list of `cells`")]
    NoCells,
    /// A cell does not have a type.
    #[error("cell {0} has no `cell_type`")]
    NoCellType(usize),
}

impl std::fmt::Debug for NotebookError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl NotebookError {
    pub(super) fn unusable(path: &Path, source: std::io::Error) -> Self {
        Self::Unreadable { path: path.to_owned(), source }
    }
}

/// The key of this program's metadata.
const OURS: &str = "chandlery";

/// One notebook of format 4.5; older minor versions are raised to it when read.
pub(super) struct Notebook {
    fields: Map<String, Value>,
    cells: Vec<Map<String, Value>>,
    /// The kernel of another language that it was written for, and the language.
    other_kernel: Option<(String, Option<String>)>,
}

impl Notebook {
    /// Reads and checks a notebook.
    pub(super) fn read(path: &Path) -> Result<Self, NotebookError> {
        let unreadable = |source| NotebookError::Unreadable { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let not_json = |source| NotebookError::NotJson { path: path.to_owned(), source };
        Self::from_value(serde_json::from_str(&text).map_err(not_json)?)
            .map_err(|fault| NotebookError::Format { path: path.to_owned(), fault })
    }

    fn from_value(value: Value) -> Result<Self, FormatFault> {
        let Value::Object(mut fields) = value else { return Err(FormatFault::NotAnObject) };
        match fields.get("nbformat").and_then(Value::as_i64) {
            Some(4) => {}
            Some(other) => return Err(FormatFault::Version(other)),
            None => return Err(FormatFault::NoVersion),
        }
        // The cells are taken out while they are edited; `to_value` puts them back in place.
        let Some(Value::Array(cells)) = fields.get_mut("cells").map(Value::take) else {
            return Err(FormatFault::NoCells);
        };
        let cells = cells.into_iter().enumerate().map(|(index, cell)| match cell {
            Value::Object(cell) if cell.contains_key("cell_type") => Ok(cell),
            _ => Err(FormatFault::NoCellType(index + 1)),
        });
        let other_kernel = fields.get("metadata").and_then(Value::as_object).and_then(other_kernel);
        let mut notebook = Self { cells: cells.collect::<Result<_, _>>()?, fields, other_kernel };
        notebook.raise_to_4_5();
        notebook.describe_language();
        Ok(notebook)
    }

    /// Format 4.5 is 4.4 with an id in each cell. New ids are derived from the position, so that the same input gives the same file.
    fn raise_to_4_5(&mut self) {
        if self.fields.get("nbformat_minor").and_then(Value::as_i64).is_none_or(|minor| minor < 5) {
            self.fields.insert("nbformat_minor".to_owned(), json!(5));
        }
        let taken: Vec<String> =
            self.cells.iter().filter_map(|cell| Some(cell.get("id")?.as_str()?.to_owned())).collect();
        for (index, cell) in self.cells.iter_mut().enumerate() {
            if !cell.contains_key("id") {
                let mut id = format!("cell-{}", index + 1);
                while taken.contains(&id) {
                    id.push('x');
                }
                cell.insert("id".to_owned(), json!(id));
            }
        }
    }

    /// Readers such as GitHub highlight code by `language_info`, which a notebook that was never opened lacks.
    fn describe_language(&mut self) {
        let metadata = self.fields.entry("metadata").or_insert_with(|| json!({}));
        if let Value::Object(metadata) = metadata {
            metadata.insert("language_info".to_owned(), crate::jupyter::language_info());
        }
    }

    /// Returns the kernel of another language that the notebook was written for, and the language if it is given.
    pub(super) fn other_kernel(&self) -> Option<(&str, Option<&str>)> {
        self.other_kernel.as_ref().map(|(kernel, language)| (kernel.as_str(), language.as_deref()))
    }

    /// Returns the number of cells of all types.
    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    /// Returns the source of a code cell; `None` for other types.
    pub(super) fn code(&self, index: usize) -> Option<String> {
        (self.kind(index) == "code").then(|| self.source(index))
    }

    /// Returns `code`, `markdown` or `raw`.
    pub(super) fn kind(&self, index: usize) -> &str {
        self.cells[index].get("cell_type").and_then(Value::as_str).unwrap_or("")
    }

    /// Returns the source of a cell of any type.
    pub(super) fn source(&self, index: usize) -> String {
        self.cells[index].get("source").map(joined).unwrap_or_default()
    }

    pub(super) fn id(&self, index: usize) -> Option<&str> {
        self.cells[index].get("id")?.as_str()
    }

    pub(super) fn has_tag(&self, index: usize, tag: &str) -> bool {
        let tags =
            self.cells[index].get("metadata").and_then(|metadata| metadata.get("tags")).and_then(Value::as_array);
        tags.is_some_and(|tags| tags.iter().any(|given| given == tag))
    }

    pub(super) fn execution_count(&self, index: usize) -> Option<u64> {
        self.cells[index].get("execution_count")?.as_u64()
    }

    pub(super) fn outputs(&self, index: usize) -> &[Value] {
        self.cells[index].get("outputs").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Clears the outputs of an earlier run from a cell on, so that they are not mistaken for those of this run. Cells that
    /// do not run stay as they are.
    pub(super) fn clear_outputs(&mut self, from: usize) {
        for index in from..self.len() {
            if self.kind(index) != "code" || self.has_tag(index, "skip-execution") {
                continue;
            }
            let cell = &mut self.cells[index];
            cell.insert("execution_count".to_owned(), Value::Null);
            cell.insert("outputs".to_owned(), json!([]));
            self.forget_timing(index);
        }
    }

    /// Copies the outputs of another version of this notebook in the cells before `end`, if their sources agree.
    pub(super) fn take_outputs(&mut self, other: &Notebook, end: usize) {
        for index in 0..end.min(self.len()) {
            let same = (0..other.len()).find(|&at| {
                other.id(at) == self.id(index) && other.code(at).is_some() && other.code(at) == self.code(index)
            });
            let Some(same) = same else { continue };
            for field in ["outputs", "execution_count"] {
                if let Some(value) = other.cells[same].get(field) {
                    self.cells[index].insert(field.to_owned(), value.clone());
                }
            }
        }
    }

    pub(super) fn set_execution_count(&mut self, index: usize, number: u32) {
        self.cells[index].insert("execution_count".to_owned(), json!(number));
    }

    /// `metadata.chandlery.compare` of a cell, or of the notebook.
    pub(super) fn compare_rules(&self, index: Option<usize>) -> Option<&Value> {
        index.map_or(&self.fields, |index| &self.cells[index]).get("metadata")?.get(OURS)?.get("compare")
    }

    /// Records the time and memory of a cell under `metadata.chandlery`.
    pub(super) fn set_timing(&mut self, index: usize, seconds: f64, peak_memory: Option<u64>) {
        let metadata = self.cells[index].entry("metadata").or_insert_with(|| json!({}));
        let Value::Object(metadata) = metadata else { return };
        let ours = metadata.entry(OURS).or_insert_with(|| json!({}));
        if let Value::Object(ours) = ours {
            ours.insert("seconds".to_owned(), json!((seconds * 1000.0).round() / 1000.0));
            ours.extend(peak_memory.map(|bytes| ("peak_memory".to_owned(), json!(bytes))));
        }
    }

    fn forget_timing(&mut self, index: usize) {
        let Some(Value::Object(metadata)) = self.cells[index].get_mut("metadata") else { return };
        let Some(Value::Object(ours)) = metadata.get_mut(OURS) else { return };
        ours.retain(|field, _| field != "seconds" && field != "peak_memory");
        if ours.is_empty() {
            metadata.remove(OURS);
        }
    }

    pub(super) fn set_outputs(&mut self, index: usize, outputs: Vec<Value>) {
        self.cells[index].insert("outputs".to_owned(), Value::Array(outputs));
    }

    /// Removes a cell.
    pub(super) fn remove(&mut self, index: usize) {
        self.cells.remove(index);
    }

    /// Inserts a code cell with a tag, and with the tag as its id if that is free.
    pub(super) fn insert_code(&mut self, index: usize, tag: &str, source: &str) {
        let mut id = tag.to_owned();
        while (0..self.len()).any(|other| self.id(other) == Some(&id)) {
            id.push('x');
        }
        let cell = json!({
            "cell_type": "code", "execution_count": null, "id": id, "metadata": {"tags": [tag]}, "outputs": [],
            "source": lines(source),
        });
        if let Value::Object(cell) = cell {
            self.cells.insert(index, cell);
        }
    }

    /// Returns the file's text as Jupyter writes it: indented by one space, with a newline at the end.
    pub(super) fn text(&self) -> Vec<u8> {
        let mut fields = self.fields.clone();
        fields.insert("cells".to_owned(), self.cells.iter().cloned().map(Value::Object).collect());
        let mut text = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
        // Serializing to memory cannot fail.
        let _ = fields.serialize(&mut serializer);
        text.push(b'\n');
        text
    }
}

/// Reads a multi-line string field: one string, or a list of lines.
pub(super) fn joined(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        _ => String::new(),
    }
}

/// Splits a multi-line string as notebooks store it: a list of lines, so that diffs are by line.
pub(super) fn lines(text: &str) -> Value {
    text.split_inclusive('\n').collect()
}
