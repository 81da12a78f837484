//! What the kernel and the language process say to each other: JSON, a value a line. Positions are byte offsets.
//!
//! This one file is part of both: `chandlery-evcxr` includes it by its path.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The folder below the process's own where rust-analyzer looks for the standard library's sources.
pub const STD: &str = "std";

/// Stands in a question's text between the definitions of earlier cells and what is in the body of a function: their
/// variables, and the cell.
pub const BODY: &str = "// variables\n";

/// What the process is told: how to start, then questions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LanguageRequest {
    /// What there is to know.
    Start {
        /// The crates that cells can use beside the toolkit.
        crates: Vec<Crate>,
        /// The folder with the standard library's sources, if this machine has them.
        std: Option<PathBuf>,
        /// Whether to know the types of the toolkit's own dependencies, as far as there is memory. It takes longer.
        dependencies: bool,
    },
    /// Something that somebody wants to know.
    Question(Question),
}

/// A crate that a notebook depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crate {
    /// As code calls it.
    pub name: String,
    /// What stands behind its name in a manifest, the package's name included.
    pub dependency: String,
}

/// A question about source text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Its answer has the same.
    pub id: u64,
    /// The text, with all that earlier cells left in scope.
    pub code: String,
    /// The place that is asked about.
    pub cursor: usize,
    /// What stands at the cursor, instead of what may follow.
    pub inspect: bool,
}

/// What the process says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LanguageReply {
    /// It answers from now on.
    Ready {
        /// How long it took.
        milliseconds: u64,
        /// The toolkit's dependencies whose types it knows, and the crates.
        dependencies: Vec<String>,
        /// Whether there is memory for another that knows more dependencies.
        more: bool,
    },
    /// What may stand in a place.
    Completions {
        /// The question's.
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
        /// The question's.
        id: u64,
        /// The documentation.
        html: String,
    },
    /// Nothing is known, or a later question came before this one was looked at.
    Nothing {
        /// The question's.
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
