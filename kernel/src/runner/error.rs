//! Why a run did not succeed.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use chandlery::checkpoint::CheckpointError;
use chandlery::diagnostic::Diagnostic;

use super::StartError;
use super::compare::RuleError;
use super::notebook::NotebookError;
use super::parameters::ParameterError;
use super::resume::ResumeError;
use super::signals::StopSignal;

/// Why a run did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The options contradict one another.
    #[error("{0}")]
    Options(Cow<'static, str>),
    /// A notebook could not be read or written.
    #[error(transparent)]
    Notebook(#[from] NotebookError),
    /// A file cannot be written. If that is known before the work, nothing ran.
    #[error(transparent)]
    Output(#[from] CheckpointError),
    /// A parameter does not fit the notebook; nothing ran.
    #[error("cannot set the parameters of `{}`: {source}", path.display())]
    Parameters {
        /// The notebook.
        path: PathBuf,
        /// What is wrong where, and what to do.
        source: ParameterError,
    },
    /// It was written for the kernel of another language; nothing ran.
    #[error(
        "{}",
        Diagnostic::new(format!("this notebook is for {kernel}{language}, and Chandlery runs Rust"))
            .at(format_args!("{}, its metadata", path.display()))
            .advise("run it with `jupyter execute`, or choose Chandlery's kernel for it in Jupyter")
    )]
    OtherKernel {
        /// The notebook.
        path: PathBuf,
        /// The kernel that it names.
        kernel: String,
        /// Its language, as a part of the sentence; empty where the notebook does not say it.
        language: String,
    },
    /// There is no such cell to resume from; nothing ran.
    #[error("cannot resume `{}`: {source}", path.display())]
    Resume {
        /// The notebook.
        path: PathBuf,
        /// What is wrong.
        source: ResumeError,
    },
    /// No engine could be started.
    #[error("cannot start the engine for `{}`: {source}\nrun `chandlery kernel doctor`; it says what is missing", path.display())]
    Engine {
        /// The notebook.
        path: PathBuf,
        /// Why.
        source: StartError,
    },
    /// A cell failed. The failure is in the report.
    #[error("`{}` failed at cell {cell} of {of}: {name}: {value}", path.display())]
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
    #[error("`{}` has {failed} of {of} code cells that do not compile", path.display())]
    Check {
        /// The notebook.
        path: PathBuf,
        /// How many of them.
        failed: usize,
        /// How many code cells were checked.
        of: usize,
    },
    /// There is no golden notebook; nothing ran.
    #[error("there is no golden notebook `{}`; `--accept` makes this run's notebook the golden one", path.display())]
    NoGolden {
        /// The file that was to be compared with.
        path: PathBuf,
    },
    /// The golden notebook's metadata holds a rule that cannot be read.
    #[error("cannot compare with `{}`: {source}", path.display())]
    Rules {
        /// The golden notebook.
        path: PathBuf,
        /// What is wrong where.
        source: RuleError,
    },
    /// Cells show something other than in the golden notebook. The differences are in the report.
    #[error("`{}` differs from `{}` in {different} of {of} cells", path.display(), golden.display())]
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
    #[error("`{}` was stopped at cell {cell} of {of}: the run took longer than {} s (--total-timeout)", path.display(), limit.as_secs_f64())]
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
    #[error("stopped by {signal} in `{}`; what ran before is saved", path.display())]
    Stopped {
        /// The notebook.
        path: PathBuf,
        /// What stopped it.
        signal: StopSignal,
    },
    /// All cells ran, and a variable could not be dropped at the end. The failure is in the report.
    #[error("`{}` failed at its end, when its variables were dropped: {name}: {value}", path.display())]
    End {
        /// The notebook.
        path: PathBuf,
        /// The error's kind.
        name: String,
        /// What happened.
        value: String,
    },
    /// More than one notebook failed. The reasons are in the report.
    #[error("{failed} of {of} notebooks failed")]
    Several {
        /// How many failed.
        failed: usize,
        /// How many there are.
        of: usize,
    },
    /// The report could not be written.
    #[error("cannot report progress: {0}")]
    Report(#[from] std::io::Error),
}
