//! What a run is asked to do, and which of it contradicts itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::RunError;
use super::notebook::NotebookError;

/// What to run and what to write.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The notebooks, each with an engine of its own.
    pub notebooks: Vec<PathBuf>,
    /// Where to save the executed notebook; for one notebook only.
    pub output: Option<PathBuf>,
    /// Where to save it as a page; for one notebook only.
    pub html: Option<PathBuf>,
    /// Save each notebook over itself.
    pub inplace: bool,
    /// How long one cell may take.
    pub timeout: Option<Duration>,
    /// How long all notebooks together may take.
    pub total_timeout: Option<Duration>,
    /// Go on after failing cells.
    pub allow_errors: bool,
    /// Go on with the next notebook after one failed.
    pub keep_going: bool,
    /// The cell to resume from, by number or id; for one notebook only.
    pub from: Option<String>,
    /// How many notebooks run at a time; 0 is 1.
    pub jobs: usize,
    /// Write seconds and peak memory of every cell into its metadata.
    pub timings: bool,
    /// How many bytes of a cell's text are kept of each stream; 1 MiB if not given.
    pub max_output: Option<usize>,
    /// The report goes to a terminal: show the running cell on a line that is rewritten.
    pub live: bool,
    /// Names and values that override the `let`s of the cell tagged `parameters`.
    pub parameters: Vec<(String, String)>,
    /// Where to write a JUnit report of all notebooks.
    pub junit: Option<PathBuf>,
}

/// One notebook of a run, its paths absolute: cells run in their notebook's folder.
pub(super) struct Job {
    pub(super) path: PathBuf,
    /// The path as the user gave it.
    pub(super) given: PathBuf,
    pub(super) output: Option<PathBuf>,
    pub(super) html: Option<PathBuf>,
}

impl Options {
    /// The notebooks as jobs, unless the options contradict one another.
    pub(super) fn jobs(&self) -> Result<Vec<Job>, RunError> {
        let several = self.notebooks.len() > 1;
        if several && (self.output.is_some() || self.html.is_some()) {
            return Err(RunError::Options(
                "`-o` and `--html` name one file each, so they go with one notebook; use `--inplace` for several",
            ));
        }
        if several && self.from.is_some() {
            return Err(RunError::Options("`--from` names a cell of one notebook; give one notebook"));
        }
        if self.inplace && self.output.is_some() {
            return Err(RunError::Options("`--inplace` and `-o` say two different places; give one"));
        }
        let (output, html) = (absolute_of(self.output.as_deref())?, absolute_of(self.html.as_deref())?);
        let job = |given: &PathBuf| {
            let path = absolute(given)?;
            let output = if self.inplace { Some(path.clone()) } else { output.clone() };
            Ok(Job { path, given: given.clone(), output, html: html.clone() })
        };
        self.notebooks.iter().map(job).collect()
    }
}

/// The path from the root, as seen from the folder the command was started in.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, NotebookError> {
    std::path::absolute(path).map_err(|source| NotebookError::unusable(path, source))
}

pub(super) fn absolute_of(path: Option<&Path>) -> Result<Option<PathBuf>, NotebookError> {
    path.map(absolute).transpose()
}
