//! Subshells (JEP 91): additional shells of one kernel, each with its own order of cells.
//!
//! Everything but cells is answered at once, in any shell. Cells run one at a time: they share a process,
//! whose pipes do not tell which cell printed, whose interrupts do not tell which cell is meant, and whose variables belong to
//! one cell while it runs. The [queue](super::queue) takes a cell of each shell in turn, and a failure aborts
//! only what waits in its own shell.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The ids of the open subshells, in the order in which they were made.
#[derive(Clone, Default)]
pub(super) struct Subshells(Arc<Mutex<Vec<String>>>);

impl Subshells {
    fn ids(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a subshell.
    pub(super) fn create(&self) -> String {
        let id = uuid::Uuid::new_v4().to_string();
        self.ids().push(id.clone());
        id
    }

    /// Closes a subshell. Returns whether it was open.
    pub(super) fn delete(&self, id: &str) -> bool {
        let mut ids = self.ids();
        let before = ids.len();
        ids.retain(|open| open != id);
        ids.len() < before
    }

    /// Returns the ids of all open subshells.
    pub(super) fn list(&self) -> Vec<String> {
        self.ids().clone()
    }

    /// Returns whether a request may name this shell; `None` is the main shell.
    pub(super) fn has(&self, id: Option<&str>) -> bool {
        id.is_none_or(|id| self.ids().iter().any(|open| open == id))
    }
}
