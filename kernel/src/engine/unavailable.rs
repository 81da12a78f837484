//! The engine in place of one that could not start.

use std::sync::Arc;

use super::{Assist, Cell, Completeness, Completions, Engine, Interrupter, Outcome, Output};
use chandlery::display::MimeBundle;

/// Answers every cell with the reason why the engine could not start, so that a person reads it in the notebook instead of
/// searching a server's log for a kernel that died.
pub struct Unavailable {
    reason: String,
}

impl Unavailable {
    /// Creates an engine that fails with this reason.
    pub fn new(reason: impl std::fmt::Display) -> Self {
        Self { reason: reason.to_string() }
    }
}

impl Engine for Unavailable {
    fn execute(&mut self, _cell: &Cell, _output: &mut dyn Output) -> Outcome {
        Outcome::Error {
            name: "EngineUnavailable".to_owned(),
            value: self.reason.clone(),
            traceback: vec![
                format!("EngineUnavailable: {}", self.reason),
                "Run `chandlery kernel doctor` in a terminal; it says what is missing and how to get it.".to_owned(),
            ],
            diagnostic: None,
            interrupted: false,
        }
    }

    fn interrupter(&self) -> Interrupter {
        Arc::new(|| {})
    }

    fn assist(&self) -> Arc<dyn Assist> {
        Arc::new(NoAssist)
    }

    fn shutdown(&mut self) {}
}

struct NoAssist;

impl Assist for NoAssist {
    fn complete(&self, _code: &str, cursor: usize) -> Completions {
        Completions { start: cursor, end: cursor, ..Completions::default() }
    }

    fn inspect(&self, _code: &str, _cursor: usize) -> Option<MimeBundle> {
        None
    }

    fn is_complete(&self, _code: &str) -> Completeness {
        Completeness::Complete
    }
}
