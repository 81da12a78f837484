//! What a run is asked to do, and which of it contradicts itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::compare::Rules;
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
    /// A golden notebook to compare with, or a folder that holds one of the same name.
    pub compare: Option<PathBuf>,
    /// What counts as equal.
    pub rules: Rules,
    /// Make the executed notebook the golden one.
    pub accept: bool,
    /// The notebooks are executed already; compare them as they are.
    pub no_execute: bool,
    /// Report the run to programs, too.
    pub json: bool,
    /// Names and values that override the `let`s of the cell tagged `parameters`.
    pub parameters: Vec<(String, String)>,
    /// Compile all cells and run none.
    pub check: bool,
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
    pub(super) golden: Option<PathBuf>,
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
        if self.check {
            let writes = self.output.is_some() || self.html.is_some() || self.inplace || self.timings;
            if writes || self.compare.is_some() {
                return Err(RunError::Options(
                    "`--check` runs nothing, so there are no outputs: `-o`, `--html`, `--inplace`, `--timings` and `--compare` have no meaning",
                ));
            }
            if self.allow_errors || self.from.is_some() {
                return Err(RunError::Options(
                    "`--check` reports every cell that does not compile, so `--allow-errors` and `--from` have no meaning",
                ));
            }
        }
        if self.inplace && self.output.is_some() {
            return Err(RunError::Options("`--inplace` and `-o` say two different places; give one"));
        }
        if self.compare.is_none() && (self.accept || self.no_execute) {
            return Err(RunError::Options("`--accept` and `--no-execute` go with `--compare GOLDEN`"));
        }
        if self.no_execute && (self.from.is_some() || !self.parameters.is_empty()) {
            return Err(RunError::Options("`--no-execute` runs nothing, so `--from` and `-p` have no meaning"));
        }
        let compare = absolute_of(self.compare.as_deref())?;
        if several && compare.as_ref().is_some_and(|golden| !golden.is_dir()) {
            return Err(RunError::Options(
                "for several notebooks `--compare` takes a folder with golden ones of the same names",
            ));
        }
        let (output, html) = (absolute_of(self.output.as_deref())?, absolute_of(self.html.as_deref())?);
        let job = |given: &PathBuf| {
            let path = absolute(given)?;
            let output = if self.inplace { Some(path.clone()) } else { output.clone() };
            let golden = compare.as_ref().map(|golden| match path.file_name() {
                Some(name) if golden.is_dir() => golden.join(name),
                _ => golden.clone(),
            });
            Ok(Job { path, given: given.clone(), output, html: html.clone(), golden })
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
