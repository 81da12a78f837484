//! The waiting cells, in one queue per shell.

use std::collections::VecDeque;

use super::queue::QueuedCell;

/// Queues of waiting cells. A cell is taken from each in turn, so that a subshell waits for one cell of the main shell
/// and not for all of them.
#[derive(Default)]
pub(super) struct ShellQueues(VecDeque<(Option<String>, VecDeque<QueuedCell>)>);

impl ShellQueues {
    /// Adds a cell behind those of its shell.
    pub(super) fn push(&mut self, cell: QueuedCell) {
        match self.0.iter_mut().find(|(shell, _)| *shell == cell.message.subshell) {
            Some((_, queue)) => queue.push_back(cell),
            None => self.0.push_back((cell.message.subshell.clone(), VecDeque::from([cell]))),
        }
    }

    /// Returns the next cell to run.
    pub(super) fn next(&mut self) -> Option<QueuedCell> {
        let (shell, mut queue) = self.0.pop_front()?;
        let cell = queue.pop_front();
        if !queue.is_empty() {
            self.0.push_back((shell, queue));
        }
        cell
    }

    /// Takes out everything that waits in one shell.
    pub(super) fn take(&mut self, shell: Option<&str>) -> Vec<QueuedCell> {
        let at = self.0.iter().position(|(name, _)| name.as_deref() == shell);
        at.and_then(|at| self.0.remove(at)).map(|(_, queue)| queue.into()).unwrap_or_default()
    }

    /// Takes out everything.
    pub(super) fn take_all(&mut self) -> Vec<QueuedCell> {
        self.0.drain(..).flat_map(|(_, queue)| queue).collect()
    }
}
