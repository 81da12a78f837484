//! Subshells (JEP 91): further shells of one kernel, each with an order of its own.
//!
//! Everything but cells is answered at once, in whatever shell it comes. Cells run one at a time: they share a process,
//! whose pipes do not tell which cell printed, whose interrupts do not tell which cell is meant, and whose variables a
//! cell has for itself while it runs. The [queue](super::queue) takes a cell of each shell in turn, and a failure aborts
//! only what waits in its own shell.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The ids of the open subshells, in the order in which they were made.
#[derive(Clone, Default)]
pub(super) struct Subshells(Arc<Mutex<Vec<String>>>);

impl Subshells {
    fn ids(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens one.
    pub(super) fn create(&self) -> String {
        let id = uuid::Uuid::new_v4().to_string();
        self.ids().push(id.clone());
        id
    }

    /// Closes one; whether it was open.
    pub(super) fn delete(&self, id: &str) -> bool {
        let mut ids = self.ids();
        let before = ids.len();
        ids.retain(|open| open != id);
        ids.len() < before
    }

    /// All of them.
    pub(super) fn list(&self) -> Vec<String> {
        self.ids().clone()
    }

    /// Whether a request may name this shell; no name is the main shell.
    pub(super) fn has(&self, id: Option<&str>) -> bool {
        id.is_none_or(|id| self.ids().iter().any(|open| open == id))
    }
}
