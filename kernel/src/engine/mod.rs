//! The seam between front ends (Jupyter sockets, headless runner) and languages.
//!
//! An engine runs one cell at a time on its caller's thread and reports through [`Output`] while it runs.
//! Front ends do not know Rust; engines do not know ZeroMQ.

pub mod direct;
mod echo;
mod evcxr;
mod unavailable;

use std::sync::Arc;
use std::time::Duration;

use chandlery::diagnostic::Diagnostic;
use chandlery::display::MimeBundle;

pub use echo::Echo;
pub use evcxr::Evcxr;
pub use unavailable::Unavailable;

/// A cell to run.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The source text.
    pub code: String,
    /// The execution count of the cell in errors and prompts (`cell 3`).
    pub number: u32,
}

/// Which of the two text streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Something that a running cell shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Text as it was written, partial lines included.
    Text {
        /// Which stream.
        stream: Stream,
        /// The text.
        text: String,
    },
    /// A new output; with an id, updates may follow.
    Display {
        /// Its renderings.
        data: MimeBundle,
        /// The id for later updates.
        id: Option<String>,
    },
    /// New renderings for every output shown under an id, in this or an earlier cell.
    Update {
        /// The renderings.
        data: MimeBundle,
        /// The id.
        id: String,
    },
    /// Clear the cell's outputs; with `wait`, when the next one comes.
    Clear {
        /// Whether to wait.
        wait: bool,
    },
    /// The value of the cell's last expression.
    Result {
        /// Its renderings.
        data: MimeBundle,
    },
}

/// Where a running cell's output goes. Called from the thread that runs the cell.
pub trait Output {
    /// Shows something.
    fn event(&mut self, event: Event);
    /// Asks the user for a line; `None` if nobody can be asked (headless, or a front end without stdin).
    fn input(&mut self, prompt: &str, password: bool) -> Option<String>;
}

/// How a cell ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It ran to its end.
    Ok,
    /// It failed: compile error, panic, `Err` from `?`, interrupt, a dead worker, a failing magic.
    Error {
        /// The kind: `CompileError[E0382]`, `Panic`, `Interrupted`, `WorkerDied`, or the error's type.
        name: String,
        /// One line that says what happened.
        value: String,
        /// The lines a front end prints, ANSI colors allowed; they name cell and line.
        traceback: Vec<String>,
        /// What the error of a `?` or of a magic says, as fields.
        diagnostic: Option<Box<Diagnostic>>,
        /// Whether the user stopped the cell.
        interrupted: bool,
    },
}

impl Outcome {
    /// Adds what the error says, as fields.
    #[must_use]
    pub(crate) fn with_diagnostic(mut self, says: Diagnostic) -> Self {
        if let Self::Error { diagnostic, .. } = &mut self {
            *diagnostic = Some(Box::new(says));
        }
        self
    }

    /// Says that the user stopped the cell.
    #[must_use]
    pub(crate) fn into_interrupt(mut self) -> Self {
        if let Self::Error { interrupted, .. } = &mut self {
            *interrupted = true;
        }
        self
    }

    /// Returns whether the user stopped the cell.
    #[must_use]
    pub fn is_interrupt(&self) -> bool {
        matches!(self, Self::Error { interrupted: true, .. })
    }
}

/// Stops what an engine is doing, from any thread. The first call asks, a second one within the same cell kills.
pub type Interrupter = Arc<dyn Fn() + Send + Sync>;

/// Whether a cell is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// It parses.
    Complete,
    /// It needs more lines; the string is the indent to start the next one with.
    Incomplete(String),
    /// It cannot become valid by adding lines.
    Invalid,
}

/// Completion candidates; positions are byte offsets into the code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completions {
    /// What may replace `start..end`.
    pub matches: Vec<String>,
    /// What each match is: `function`, `class`, `module`, `instance`, `keyword`, `magic`; empty if it is not known.
    pub kinds: Vec<String>,
    /// Start of the replaced text, in bytes.
    pub start: usize,
    /// End of the replaced text, in bytes.
    pub end: usize,
}

/// A variable in a list of variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariableSummary {
    /// Its name.
    pub name: String,
    /// Its type, without module paths.
    pub type_name: String,
    /// A short description of its value, if the engine has one.
    pub value: Option<String>,
}

/// Answers about code that must not wait for a running cell.
pub trait Assist: Send + Sync {
    /// Returns completions at `cursor` (byte offset).
    fn complete(&self, code: &str, cursor: usize) -> Completions;
    /// Returns the documentation of the name at `cursor` (byte offset).
    fn inspect(&self, code: &str, cursor: usize) -> Option<MimeBundle>;
    /// Returns whether the code is complete.
    fn is_complete(&self, code: &str) -> Completeness;
    /// Returns the variables after the last cell, by name.
    fn variables(&self) -> Vec<VariableSummary> {
        Vec::new()
    }
}

/// A language: runs cells and keeps their variables.
pub trait Engine: Send {
    /// Announces a cell: from now on an interrupt is meant for it, even one that comes before
    /// [`execute`](Self::execute).
    fn arm(&mut self) {}

    /// Runs one cell to its end, sending events as they happen; all of them are sent before this returns.
    fn execute(&mut self, cell: &Cell, output: &mut dyn Output) -> Outcome;
    /// Finds the errors of a cell, and keeps what it would define for the cells that follow, without running it. What
    /// a failing cell that `may_fail` would have defined is missing afterwards, as after a run; what another failing cell
    /// would define is unknown, and later cells do not fail because of it.
    fn check(&mut self, cell: &Cell, may_fail: bool, output: &mut dyn Output) -> Outcome {
        let _ = (cell, may_fail, output);
        let value = "this engine cannot check cells without running them";
        Outcome::Error {
            name: "NotSupported".into(),
            value: value.into(),
            traceback: vec![value.into()],
            diagnostic: None,
            interrupted: false,
        }
    }
    /// Shows output since the end of the last cell, such as from threads that it left running.
    fn between(&mut self, output: &mut dyn Output) {
        let _ = output;
    }
    /// Returns a function that stops the running cell.
    fn interrupter(&self) -> Interrupter;
    /// Returns a handle that answers completion and inspection while a cell runs.
    fn assist(&self) -> Arc<dyn Assist>;
    /// Returns the process that runs the cells, if it is running, which uses their memory.
    fn process(&self) -> Option<u32> {
        None
    }
    /// Drops all variables, the newest first, as a program does at its end, then ends every process that the engine
    /// started. Drops that take longer than the limit are ended and reported. The outcome tells what could not be dropped.
    fn end(&mut self, limit: Duration, output: &mut dyn Output) -> Outcome {
        let _ = (limit, output);
        self.shutdown();
        Outcome::Ok
    }
    /// Ends every process that the engine started, without dropping variables.
    fn shutdown(&mut self);
}
