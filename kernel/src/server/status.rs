//! The kernel's state as servers and front ends read it from `status` messages.
//!
//! A reader that follows the kernel's state uses the last status, whatever request that status belongs to:
//! jupyter_server keeps it as `execution_state`, by which it culls idle kernels, and JupyterLab shows it in its status bar.
//! An `idle` for a completion would tell both that a kernel is idle while its cell runs. So while a cell runs, its own
//! status is the only one:
//!
//! - A request that is answered meanwhile gets its reply at once. Its `busy` and `idle`, which the protocol promises, are sent
//!   right after the cell's `idle`. Clients that use jupyter_client need only the reply and do not wait for them.
//! - Front ends that use `@jupyterlab/services` complete a request only with its `idle`: without it nothing would be completed or
//!   inspected until the cell ends. They are recognized by their headers, in which the protocol version is always 5.2 and
//!   `subshell_id` is null in the main shell. They get the `idle` and, directly after it, the cell's `busy` again.
//! - A client that asks for `kernel_info` has just connected, such as a reloaded tab, and gets the cell's `busy`; so does a reader that
//!   subscribes to iopub, since the answer may come before the subscription. An `idle` that was missed this way is published again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jupyter_protocol::ExecutionState;

use super::iopub::Iopub;
use super::wire::{self, Outgoing, Received};

/// Publishes every status; clones share the postponed ones.
#[derive(Clone)]
pub(super) struct Statuses {
    /// Knows the running cell.
    iopub: Iopub,
    /// The statuses to publish when that cell ends.
    due: Arc<Mutex<Vec<Outgoing>>>,
}

impl Statuses {
    pub(super) fn new(iopub: Iopub) -> Self {
        Self { iopub, due: Arc::default() }
    }

    /// Locks the postponed statuses, while statuses that belong together are published.
    fn due(&self) -> MutexGuard<'_, Vec<Outgoing>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, state: ExecutionState, request: &Received) {
        self.iopub.send(wire::status(state, request));
    }

    /// Begins a cell, whose status is the kernel's state from now on.
    pub(super) fn begin(&self, cell: &Received) {
        let _together = self.due();
        self.publish(ExecutionState::Busy, cell);
        self.iopub.set_running(Some(cell.clone()));
    }

    /// Ends the cell, whose reply has been sent.
    pub(super) fn end(&self, cell: &Received) {
        let mut due = self.due();
        self.iopub.set_running(None);
        self.publish(ExecutionState::Idle, cell);
        self.publish_due(&mut due);
    }

    /// Publishes the postponed statuses when the kernel ends before its cell.
    pub(super) fn close(&self) {
        self.publish_due(&mut self.due());
    }

    fn publish_due(&self, due: &mut Vec<Outgoing>) {
        due.drain(..).for_each(|message| self.iopub.send(message));
    }

    /// Publishes the status of a request around `answer`, which answers it.
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
