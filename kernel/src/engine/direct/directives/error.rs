//! Why a directive cannot be run.

use chandlery::diagnostic::{Diagnose, Diagnostic};

/// A directive that cannot be run, and its line, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine::direct) struct UsageError {
    pub(in crate::engine::direct) line: usize,
    pub(in crate::engine::direct) problem: DirectiveError,
}

/// What is wrong with a directive. Names have their sign, `%` or `:`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.diagnostic())]
pub(in crate::engine::direct) enum DirectiveError {
    /// There is no directive of this name.
    Unknown {
        name: String,
        /// The directive whose name is nearest.
        meant: Option<String>,
        /// The directive that lists all of them.
        help: String,
    },
    /// It does not take arguments.
    Unexpected { name: String, found: String },
    /// It needs an argument.
    Missing { name: String, what: &'static str, example: String },
    /// Its argument is not one of those that it takes.
    Invalid { name: String, takes: &'static str, found: String },
    /// It stands after Rust code.
    AfterCode { name: String },
    /// It applies to the whole cell, and has arguments.
    NotAlone { name: String },
}

impl Diagnose for DirectiveError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Unknown { name, meant, help } => {
                let meant = meant.as_ref().map(|near| format!("did you mean {near}? ")).unwrap_or_default();
                Diagnostic::new(format!("there is no directive {name}")).advise(format!("{meant}{help} lists them"))
            }
            Self::Unexpected { name, found } => {
                Diagnostic::new(format!("{name} does not take arguments, found: {found}")).advise("remove them")
            }
            Self::Missing { name, what, example } => {
                Diagnostic::new(format!("{name} needs {what}")).advise(format!("write `{example}`"))
            }
            Self::Invalid { name, takes, found } => {
                Diagnostic::new(format!("{name} takes {takes}, found: {found}")).advise("give one of these")
            }
            Self::AfterCode { name } => {
                Diagnostic::new(format!("{name} stands after Rust code, and directives run before it"))
                    .advise("move this line to the start of the cell, or to a cell of its own")
            }
            Self::NotAlone { name } => Diagnostic::new(format!("{name} is not alone on its line"))
                .advise("write it on a line of its own, with the cell below it"),
        }
    }
}
