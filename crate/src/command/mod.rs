//! The verbs, defined once for the shell (`chandlery convert …`) and the notebook (`%convert …`).

use std::any::Any;

use serde_json::Value;

use crate::display::MimeBundle;

/// What a verb has to say when it is done.
pub struct Outcome {
    /// The rendering: printed as text by the shell, displayed by the notebook.
    pub view: MimeBundle,
    /// The `--json` report.
    pub json: Value,
    /// False when the verb ran but its result is a failure (a validation that did not pass): the shell exits 1.
    pub passed: bool,
    /// The result as a Rust value, for `--as NAME` in notebooks.
    pub value: Option<Kept>,
}

/// A verb's result together with the public path of its type, so that a later Rust cell can name it.
pub struct Kept {
    /// The value.
    pub value: Box<dyn Any>,
    /// Its type as a cell may write it, such as `chandlery::Conversion`.
    pub type_path: &'static str,
}

/// Why a verb did not run to its end.
#[derive(Debug)]
pub enum Failure {
    /// Words that do not parse (exit 2), or a request for help or version (exit 0); the text is clap's.
    Usage {
        /// What to print.
        text: String,
        /// True for `--help` and `--version`.
        help: bool,
    },
    /// The work failed (exit 1): what, where and what to do, one line each.
    Failed {
        /// The error's kind, such as `CheckpointError`.
        name: String,
        /// The message.
        message: String,
    },
    /// The user interrupted it.
    Interrupted,
}

/// The verbs this module runs, in the order `--help` lists them.
pub const VERBS: &[&str] = &["model", "convert", "finalize", "inspect", "compare", "logits", "project"];

/// Runs one verb. `words` are those after `chandlery` or `%`, such as `["inspect", "some/folder"]`.
///
/// # Errors
/// [`Failure`], which says whether the words or the work were at fault.
pub fn run(words: &[String]) -> Result<Outcome, Failure> {
    Err(Failure::Usage { text: format!("unknown command: {}", words.join(" ")), help: false })
}
