//! Why a run did not succeed.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use chandlery::checkpoint::CheckpointError;
use chandlery::diagnostic::{Diagnose, Diagnostic};

use super::StartError;
use super::compare::RuleError;
use super::notebook::NotebookError;
use super::parameters::ParameterError;
use super::resume::ResumeError;
use super::signals::StopSignal;

/// Why a run did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum RunError {
    /// The options contradict one another.
    Options(Cow<'static, str>),
    /// A notebook could not be read or written.
    Notebook(#[from] NotebookError),
    /// A file cannot be written. If that is known before the work, nothing ran.
    Output(#[from] CheckpointError),
    /// A parameter does not fit the notebook; nothing ran.
    Parameters {
        /// The notebook.
        path: PathBuf,
        /// What is wrong where, and what to do.
        source: ParameterError,
    },
    /// It was written for the kernel of another language; nothing ran.
    OtherKernel {
        /// The notebook.
        path: PathBuf,
        /// The kernel that it names.
        kernel: String,
        /// Its language, as a part of the sentence; empty where the notebook does not say it.
        language: String,
    },
    /// There is no such cell to resume from; nothing ran.
    Resume {
        /// The notebook.
        path: PathBuf,
        /// What is wrong.
        source: ResumeError,
    },
    /// No engine could be started.
    Engine {
        /// The notebook.
        path: PathBuf,
        /// Why.
        source: StartError,
    },
    /// A cell failed. The failure is in the report.
    Cell {
        /// The notebook.
        path: PathBuf,
        /// The number of the cell, from 1.
        cell: usize,
        /// How many cells there are.
        of: usize,
        /// The error's kind.
        name: String,
        /// What happened.
        value: String,
    },
    /// Cells do not compile. Their errors are in the report.
    Check {
        /// The notebook.
        path: PathBuf,
        /// How many of them.
        failed: usize,
        /// How many code cells were checked.
        of: usize,
    },
    /// There is no golden notebook; nothing ran.
    NoGolden {
        /// The file that was to be compared with.
        path: PathBuf,
    },
    /// The golden notebook's metadata holds a rule that cannot be read.
    Rules {
        /// The golden notebook.
        path: PathBuf,
        /// What is wrong where.
        source: RuleError,
    },
    /// Cells show something other than in the golden notebook. The differences are in the report.
    Different {
        /// The notebook.
        path: PathBuf,
        /// What it was compared with.
        golden: PathBuf,
        /// How many cells differ.
        different: usize,
        /// How many were compared.
        of: usize,
    },
    /// The whole run took too long.
    Late {
        /// The notebook that was running.
        path: PathBuf,
        /// The number of the cell, from 1.
        cell: usize,
        /// How many cells there are.
        of: usize,
        /// The time that the run had.
        limit: Duration,
    },
    /// A signal stopped the run.
    Stopped {
        /// The notebook.
        path: PathBuf,
        /// What stopped it.
        signal: StopSignal,
    },
    /// All cells ran, and a variable could not be dropped at the end. The failure is in the report.
    End {
        /// The notebook.
        path: PathBuf,
        /// The error's kind.
        name: String,
        /// What happened.
        value: String,
    },
    /// More than one notebook failed. The reasons are in the report.
    Several {
        /// How many failed.
        failed: usize,
        /// How many there are.
        of: usize,
    },
    /// The report could not be written.
    Report(#[from] std::io::Error),
}

impl Diagnose for RunError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Options(what) => Diagnostic::new(what.as_ref()),
            Self::Notebook(error) => error.diagnostic(),
            Self::Output(error) => error.diagnostic(),
            Self::Parameters { path, source } => Diagnostic::new(format!("cannot set the parameters: {source}"))
                .at(path.display())
                .advise(source.advice()),
            Self::OtherKernel { path, kernel, language } => {
                Diagnostic::new(format!("this notebook is for {kernel}{language}, and Chandlery runs Rust"))
                    .at(format_args!("{}, its metadata", path.display()))
                    .advise("run it with `jupyter execute`, or choose Chandlery's kernel for it in Jupyter")
            }
            Self::Resume { path, source } => Diagnostic::new(format!("cannot resume: {source}"))
                .at(path.display())
                .advise("give the id of a cell, or a number as in progress lines"),
            Self::Engine { path, source } => Diagnostic::new(format!("cannot start the engine: {source}"))
                .at(path.display())
                .advise("run `chandlery kernel doctor`, which says what is missing"),
            Self::Cell { path, cell, of, name, value } => {
                Diagnostic::new(format!("`{}` failed at cell {cell} of {of}: {name}: {value}", path.display()))
            }
            Self::Check { path, failed, of } => {
                Diagnostic::new(format!("`{}` has {failed} of {of} code cells that do not compile", path.display()))
            }
            Self::NoGolden { path } => Diagnostic::new("the golden notebook does not exist")
                .at(path.display())
                .advise("add `--accept` to make this run's notebook the golden one"),
            Self::Rules { path, source } => {
                Diagnostic::new(format!("cannot read the rules of comparison: {source}")).at(path.display())
            }
            Self::Different { path, golden, different, of } => Diagnostic::new(format!(
                "`{}` differs from `{}` in {different} of {of} cells",
                path.display(),
                golden.display()
            )),
            Self::Late { path, cell, of, limit } => Diagnostic::new(format!(
                "`{}` was stopped at cell {cell} of {of}: the run took longer than {} s (--total-timeout)",
                path.display(),
                limit.as_secs_f64()
            )),
            Self::Stopped { path, signal } => {
                Diagnostic::new(format!("stopped by {signal} in `{}`; what ran before is saved", path.display()))
            }
            Self::End { path, name, value } => Diagnostic::new(format!(
                "`{}` failed at its end, when its variables were dropped: {name}: {value}",
                path.display()
            )),
            Self::Several { failed, of } => Diagnostic::new(format!("{failed} of {of} notebooks failed")),
            Self::Report(error) => Diagnostic::new(format!("cannot report progress: {error}")),
        }
    }
}
