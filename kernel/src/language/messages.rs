//! The messages between the kernel and the language process: JSON, one value per line. Positions are byte offsets.
//!
//! This file is part of both: `chandlery-evcxr` includes it by its path.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The folder below the process's own where rust-analyzer looks for the standard library's sources.
pub const STD: &str = "std";

/// Separates, in a question's text, the definitions of earlier cells from the body of a function: their
/// variables, and the cell.
pub const BODY: &str = "// variables\n";

/// A message to the process: how to start, then questions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LanguageRequest {
    /// What to load at the start.
    Start {
        /// The crates that cells can use beside the toolkit.
        crates: Vec<Crate>,
        /// The folder with the standard library's sources, if this machine has them.
        std: Option<PathBuf>,
        /// Whether to load the types of the toolkit's own dependencies, if there is enough memory. It takes longer.
        dependencies: bool,
    },
    /// A question.
    Question(Question),
}

/// A crate that a notebook depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crate {
    /// The name that code uses.
    pub name: String,
    /// Its value in a manifest, including the package's name.
    pub dependency: String,
}

/// A question about source text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The id, which its answer has as well.
    pub id: u64,
    /// The text, with everything that earlier cells left in scope.
    pub code: String,
    /// The position in question.
    pub cursor: usize,
    /// Whether to inspect the name at the cursor instead of completing.
    pub inspect: bool,
}

/// A message from the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LanguageReply {
    /// It is ready.
    Ready {
        /// How long starting took.
        milliseconds: u64,
        /// The toolkit's dependencies whose types it knows, and the notebook's crates.
        dependencies: Vec<String>,
        /// Whether there is enough memory for another process that knows more dependencies.
        more: bool,
    },
    /// Completions.
    Completions {
        /// The id of the question.
        id: u64,
        /// What may replace `start..end`.
        matches: Vec<Match>,
        /// Where the replaced text starts.
        start: usize,
        /// Where it ends.
        end: usize,
    },
    /// Documentation, as the HTML that evcxr makes of rust-analyzer's Markdown.
    Inspection {
        /// The id of the question.
        id: u64,
        /// The documentation.
        html: String,
    },
    /// Nothing is known, or a later question arrived before this one was handled.
    Nothing {
        /// The id of the question.
        id: u64,
    },
}

/// One candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// What to insert.
    pub text: String,
    /// `function`, `class`, `module`, `instance` or `keyword`.
    pub kind: String,
}
