//! The options of a run, and their contradictions.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chandlery::checkpoint::OutputFile;

use super::compare::Rules;
use super::error::RunError;
use super::notebook::NotebookError;

/// What to run and what to write.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The notebooks, each run with its own engine.
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
    /// Continue after failing cells.
    pub allow_errors: bool,
    /// Continue with the next notebook after one failed.
    pub keep_going: bool,
    /// The cell to resume from, by number or id; for one notebook only.
    pub from: Option<String>,
    /// How many notebooks run at a time; 0 is 1.
    pub jobs: usize,
    /// Write seconds and peak memory of every cell into its metadata.
    pub timings: bool,
    /// How many bytes of a cell's text are kept of each stream; 1 MiB by default.
    pub max_output: Option<usize>,
    /// The report goes to a terminal: show the running cell on a line that is rewritten.
    pub live: bool,
    /// A golden notebook to compare with, or a folder that holds one of the same name.
    pub compare: Option<PathBuf>,
    /// The rules of comparison.
    pub rules: Rules,
    /// Make the executed notebook the golden one.
    pub accept: bool,
    /// The notebooks are executed already; compare them as they are.
    pub no_execute: bool,
    /// Write a report for programs as well.
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
    pub(super) output: Option<OutputFile>,
    pub(super) html: Option<OutputFile>,
    pub(super) golden: Option<PathBuf>,
    /// The golden notebook as a file to write, if this run's notebook replaces it.
    pub(super) accepted: Option<OutputFile>,
}

/// The work of a run and the files that it writes, which are known to be writable.
pub(super) struct Plan {
    pub(super) jobs: Vec<Job>,
    pub(super) junit: Option<OutputFile>,
}

impl Options {
    /// Returns the plan, unless the options contradict one another or a file cannot be written.
    pub(super) fn plan(&self) -> Result<Plan, RunError> {
        let compare = self.agree()?;
        let (output, html, junit) = (probed(&self.output)?, probed(&self.html)?, probed(&self.junit)?);
        let job = |given: &PathBuf| {
            let path = absolute(given)?;
            let output = if self.inplace { Some(OutputFile::probe_with_folders(&path)?) } else { output.clone() };
            let golden = compare.as_ref().map(|golden| match path.file_name() {
                Some(name) if golden.is_dir() => golden.join(name),
                _ => golden.clone(),
            });
            let accepted = golden.as_ref().filter(|_| self.accept).map(|golden| OutputFile::probe_with_folders(golden));
            let (given, html, accepted) = (given.clone(), html.clone(), accepted.transpose()?);
            Ok(Job { path, given, output, html, golden, accepted })
        };
        let plan = Plan { jobs: self.notebooks.iter().map(job).collect::<Result<_, RunError>>()?, junit };
        plan.check(self.json)?;
        Ok(plan)
    }

    /// Refuses options that contradict one another. Returns the path of the golden notebook or folder.
    fn agree(&self) -> Result<Option<PathBuf>, RunError> {
        let several = self.notebooks.len() > 1;
        if several && (self.output.is_some() || self.html.is_some()) {
            return Err(RunError::Options(
                "`-o` and `--html` name one file each, so they go with one notebook; use `--inplace` for several"
                    .into(),
            ));
        }
        if several && self.from.is_some() {
            return Err(RunError::Options("`--from` names a cell of one notebook; give one notebook".into()));
        }
        if self.check {
            let writes = self.output.is_some() || self.html.is_some() || self.inplace || self.timings;
            if writes || self.compare.is_some() {
                return Err(RunError::Options("`--check` runs nothing, so there are no outputs: `-o`, `--html`, `--inplace`, `--timings` and `--compare` have no meaning".into()));
            }
            if self.allow_errors || self.from.is_some() {
                return Err(RunError::Options("`--check` reports every cell that does not compile, so `--allow-errors` and `--from` have no meaning".into()));
            }
        }
        if self.inplace && self.output.is_some() {
            return Err(RunError::Options("`--inplace` and `-o` name two different files; give one of them".into()));
        }
        if self.compare.is_none() && (self.accept || self.no_execute) {
            return Err(RunError::Options("`--accept` and `--no-execute` go with `--compare GOLDEN`".into()));
        }
        if self.no_execute && (self.from.is_some() || !self.parameters.is_empty()) {
            return Err(RunError::Options("`--no-execute` runs nothing, so `--from` and `-p` have no meaning".into()));
        }
        let compare = absolute_of(self.compare.as_deref())?;
        if several && compare.as_ref().is_some_and(|golden| !golden.is_dir()) {
            return Err(RunError::Options(
                "for several notebooks `--compare` takes a folder with golden ones of the same names".into(),
            ));
        }
        Ok(compare)
    }
}

impl Plan {
    /// Refuses files that would be written over one another.
    fn check(&self, json: bool) -> Result<(), RunError> {
        let job = self.jobs.first();
        let outputs = [
            ("-o", job.and_then(|job| job.output.as_ref())),
            ("--html", job.and_then(|job| job.html.as_ref())),
            ("--junit", self.junit.as_ref()),
        ];
        let outputs: Vec<_> = outputs.into_iter().filter_map(|(option, file)| Some((option, file?))).collect();
        for (at, (option, file)) in outputs.iter().enumerate() {
            let refuse = |what: String| Err(RunError::Options(what.into()));
            if let Some((other, _)) = outputs[..at].iter().find(|(_, other)| other.is_same(file)) {
                return refuse(format!("`{other}` and `{option}` name the same file; give each its own"));
            }
            if json && file.is_stdout() {
                return refuse(format!("`{option}` writes to standard output, as `--json` does; give it a file"));
            }
            let is = |path: &Path| OutputFile::probe_with_folders(path).is_ok_and(|other| other.is_same(file));
            if *option != "-o" && self.jobs.iter().any(|job| is(&job.path)) {
                return refuse(format!("`{option}` would replace the notebook `{}`", file.path().display()));
            }
            if *option != "-o" && self.jobs.iter().any(|job| job.golden.as_deref().is_some_and(is)) {
                return refuse(format!("`{option}` would replace the golden notebook `{}`", file.path().display()));
            }
        }
        Ok(())
    }
}

/// Probes whether a file can be written.
fn probed(path: &Option<PathBuf>) -> Result<Option<OutputFile>, RunError> {
    // Relative to the folder in which the command was started; `-` is not a file name.
    let probe = |path: &PathBuf| match path.as_os_str() == "-" {
        true => Ok(OutputFile::probe(path)?),
        false => Ok(OutputFile::probe_with_folders(&absolute(path)?)?),
    };
    path.as_ref().map(probe).transpose()
}

/// Returns the absolute path, relative to the folder in which the command was started.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, NotebookError> {
    std::path::absolute(path).map_err(|source| NotebookError::unusable(path, source))
}

pub(super) fn absolute_of(path: Option<&Path>) -> Result<Option<PathBuf>, NotebookError> {
    path.map(absolute).transpose()
}
