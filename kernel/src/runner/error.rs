//! Why a run did not succeed.

use std::path::PathBuf;
use std::time::Duration;

use super::notebook::NotebookError;

/// Why a run did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The options contradict one another.
    #[error("{0}")]
    Options(&'static str),
    /// A notebook could not be read or written.
    #[error(transparent)]
    Notebook(#[from] NotebookError),
    /// A parameter does not fit the notebook; nothing ran.
    #[error("cannot set the parameters of `{}`: {reason}", path.display())]
    Parameters {
        /// The notebook.
        path: PathBuf,
        /// What is wrong where, and what to do.
        reason: String,
    },
    /// There is no such cell to resume from; nothing ran.
    #[error("cannot resume `{}`: {reason}", path.display())]
    Resume {
        /// The notebook.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No engine could be started.
    #[error("cannot start the engine for `{}`: {reason}\nrun `chandlery kernel doctor`; it says what is missing", path.display())]
    Engine {
        /// The notebook.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A cell failed. Its story has been told in the report.
    #[error("`{}` failed at cell {cell} of {of}: {name}: {value}", path.display())]
    Cell {
        /// The notebook.
        path: PathBuf,
        /// The cell's place among all cells, from 1.
        cell: usize,
        /// How many cells there are.
        of: usize,
        /// The error's kind.
        name: String,
        /// What happened.
        value: String,
    },
    /// The time for the whole run was over.
    #[error("`{}` was stopped at cell {cell} of {of}: the run took longer than {} s (--total-timeout)", path.display(), limit.as_secs_f64())]
    Late {
        /// The notebook that was running.
        path: PathBuf,
        /// The cell's place among all cells, from 1.
        cell: usize,
        /// How many cells there are.
        of: usize,
        /// The time that the run had.
        limit: Duration,
    },
    /// The user stopped the run.
    #[error("stopped by Ctrl-C in `{}`; what ran before is saved", path.display())]
    Stopped {
        /// The notebook.
        path: PathBuf,
    },
    /// More than one notebook failed. Each one's reason has been told in the report.
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
