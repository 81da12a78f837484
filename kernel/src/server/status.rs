//! The kernel's state as servers and front ends read it from `status` messages.
//!
//! A reader that follows the kernel's state takes the last status for it, whatever request that status belongs to:
//! jupyter_server keeps it as `execution_state`, by which it culls idle kernels, and JupyterLab shows it in its status bar.
//! An `idle` for a completion would tell both that a kernel is idle while its cell runs. So while a cell runs, its own
//! status is the only one:
//!
//! - A request that is answered meanwhile has its reply at once. Its `busy` and `idle`, which the protocol promises, come
//!   right behind the cell's `idle`. Clients on jupyter_client take the reply for the answer and do not wait for them.
//! - Front ends on `@jupyterlab/services` end a request only with its `idle`: without it nothing would be completed or
//!   inspected until the cell ends. They are known by their headers, in which the protocol is 5.2 whatever they speak, and
//!   `subshell_id` is null in the main shell. They are given the `idle` and, with nothing between, the cell's `busy` again.
//! - Whoever asks what the kernel is has just come, as a tab that was reloaded, and is told the cell's `busy`; so is whoever
//!   subscribes to iopub, since the answer may come before the subscription; an `idle` that was missed so is published again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jupyter_protocol::ExecutionState;

use super::iopub::Iopub;
use super::wire::{self, Outgoing, Received};

/// Publishes every status; clones share what is due.
#[derive(Clone)]
pub(super) struct Statuses {
    /// It knows the cell that runs.
    iopub: Iopub,
    /// What is published when that ends.
    due: Arc<Mutex<Vec<Outgoing>>>,
}

impl Statuses {
    pub(super) fn new(iopub: Iopub) -> Self {
        Self { iopub, due: Arc::default() }
    }

    /// Held while statuses are published that belong together.
    fn due(&self) -> MutexGuard<'_, Vec<Outgoing>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, state: ExecutionState, request: &Received) {
        self.iopub.send(wire::status(state, request));
    }

    /// A cell starts: from now on the kernel's state is its own.
    pub(super) fn begin(&self, cell: &Received) {
        let _together = self.due();
        self.publish(ExecutionState::Busy, cell);
        self.iopub.set_running(Some(cell.clone()));
    }

    /// The cell has ended and its reply is sent.
    pub(super) fn end(&self, cell: &Received) {
        let mut due = self.due();
        self.iopub.set_running(None);
        self.publish(ExecutionState::Idle, cell);
        self.publish_due(&mut due);
    }

    /// Publishes what waits for a cell that was left behind when the kernel ends.
    pub(super) fn close(&self) {
        self.publish_due(&mut self.due());
    }

    fn publish_due(&self, due: &mut Vec<Outgoing>) {
        due.drain(..).for_each(|message| self.iopub.send(message));
    }

    /// Publishes the status of a request that is answered by `answer`.
    pub(super) fn around(&self, request: &Received, answer: impl FnOnce()) {
        let mut due = self.due();
        match &self.iopub.running() {
            None => {
                self.publish(ExecutionState::Busy, request);
                answer();
                self.publish(ExecutionState::Idle, request);
            }
            Some(cell) if request.awaits_idle => {
                self.publish(ExecutionState::Busy, request);
                answer();
                self.publish(ExecutionState::Idle, request);
                self.iopub.answered(request);
                self.publish(ExecutionState::Busy, cell);
            }
            Some(cell) => {
                answer();
                due.extend([ExecutionState::Busy, ExecutionState::Idle].map(|state| wire::status(state, request)));
                if request.header.msg_type == "kernel_info_request" {
                    self.publish(ExecutionState::Busy, cell);
                }
            }
        }
    }
}
