//! Why nothing was measured.

use chandlery::diagnostic::{Diagnose, Diagnostic};

use crate::runner::{NotebookError, StartError};

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum BenchError {
    /// An engine does not start.
    Start {
        /// Its name in the table.
        engine: &'static str,
        /// Why.
        source: StartError,
    },
    /// A kernel that Jupyter does not have.
    NoKernel {
        /// Its name.
        kernel: &'static str,
    },
    /// All that was asked for is left out.
    NothingLeft,
    /// A cell failed.
    Cell {
        /// The engine's name in the table.
        engine: &'static str,
        /// The error's kind.
        name: String,
        /// What happened.
        value: String,
        /// The cell.
        code: String,
    },
    /// The file is not a notebook.
    Notebook(#[from] NotebookError),
    /// The system refused a file.
    System(#[from] std::io::Error),
}

impl Diagnose for BenchError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Start { engine, source } => Diagnostic::new(format!("{engine}: {source}")),
            Self::NoKernel { kernel } => {
                Diagnostic::new(format!("{kernel} is left out: Jupyter does not have such a kernel"))
                    .advise("install it; `jupyter kernelspec list` shows those that Jupyter has")
            }
            Self::NothingLeft => Diagnostic::new("nothing is left to measure"),
            Self::Cell { engine, name, value, code } => {
                Diagnostic::new(format!("{name}: {value}")).at(format_args!("{engine}, the cell `{code}`"))
            }
            Self::Notebook(error) => error.diagnostic(),
            Self::System(error) => Diagnostic::new(error.to_string()),
        }
    }
}
