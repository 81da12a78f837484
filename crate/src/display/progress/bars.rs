//! The reporter that draws bars.

use indicatif::{ProgressBar, ProgressDrawTarget};

use super::board::{self, PATIENCE};
use super::curve::LiveCurve;
use super::view::ProgressState;
use crate::progress::{Audience, CurveReporter, Reporter, Task, TaskOutcome, TaskReporter, Unit, set_reporter};

struct Bars;

/// Shows the progress of the library's work and of [`Progress`](crate::progress::Progress): on the terminal if standard
/// error is one, and in the notebook that displays go to. The kernel and the `chandlery` command call it.
pub fn show_progress() {
    set_reporter(&Bars);
}

impl Reporter for Bars {
    fn begin_task(&self, task: Task) -> Box<dyn TaskReporter> {
        // The board decides when it is seen.
        let counter = ProgressBar::with_draw_target(task.total, ProgressDrawTarget::hidden());
        let patient = task.audience != Audience::Everywhere;
        let in_notebook = task.audience != Audience::TerminalIfLong;
        let Task { label, unit, .. } = task;
        let (row, depth) = board::add(&label, &counter, unit, patient, in_notebook);
        Box::new(Bar { counter, label, unit, row, depth, in_notebook, patient })
    }

    fn begin_curve(&self, title: &str, steps: usize) -> Box<dyn CurveReporter> {
        Box::new(LiveCurve::new(title, steps))
    }
}

struct Bar {
    /// Position, length, estimated rate: what terminal and notebook show is read from here.
    counter: ProgressBar,
    label: String,
    unit: Unit,
    /// Its row among the running bars.
    row: u64,
    depth: usize,
    in_notebook: bool,
    /// The library's own work is not shown if it is over at once: it would only flicker.
    patient: bool,
}

impl TaskReporter for Bar {
    fn inc(&self, amount: u64) {
        self.counter.inc(amount);
        board::draw_if_due();
    }

    fn set(&self, done: u64) {
        self.counter.set_position(done);
        board::draw_if_due();
    }

    fn position(&self) -> u64 {
        self.counter.position()
    }

    fn say(&self, message: String) {
        self.counter.set_prefix(message);
        board::draw_if_due();
    }

    fn end(&self, outcome: TaskOutcome) {
        let brief = self.patient && self.counter.elapsed() < PATIENCE;
        // Before the counter ends, because that makes it complete.
        let state = ProgressState::of(&self.counter, &self.label, self.unit, self.depth, Some(outcome));
        board::end(self.row, state, brief, self.in_notebook);
    }
}
