//! Progress of long work: bars that nest, on the terminal and as one updating output of a notebook.
//!
//! ```
//! use chandlery::progress::{Progress, progress};
//! let mut sum = 0;
//! for file in progress(0..3).named("files") {
//!     let lines = Progress::new("lines", 100);
//!     for line in 0..100 {
//!         sum += file * line;
//!         lines.inc(1);
//!     }
//!     lines.finish();
//! }
//! # assert_eq!(sum, 14850);
//! ```

mod board;
mod tracked;

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget};

pub use board::{begin_cell, end_cell};
pub use tracked::{Tracked, progress};

use crate::display::{Outcome, ProgressState};
use crate::sealed::Sealed;

/// A running count. Clones count on, from any thread; a bar that begins while another of its thread runs is shown below it.
///
/// It ends with [`finish`](Self::finish), [`fail`](Self::fail) or [`end`](Self::end). One that is dropped before says what
/// became of it: interrupted, abandoned by a panic, or left early.
#[derive(Clone)]
pub struct Progress {
    bar: Arc<Sealed<Bar>>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, shown in binary units.
    Bytes,
    /// Steps of a loop.
    Steps,
}

struct Bar {
    /// Position, length, estimated rate: what terminal and notebook show is read from here.
    counter: ProgressBar,
    label: String,
    unit: Unit,
    /// Its row among those that run.
    row: u64,
    depth: usize,
    in_notebook: bool,
    /// Work of the library itself is not shown when it is over at once: it would flash by.
    patient: bool,
    ended: AtomicBool,
}

/// How often bars are drawn that nobody counts.
const TICK: std::time::Duration = std::time::Duration::from_millis(500);

/// How long patient work runs unseen.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(300);

impl Progress {
    /// Counts steps towards `total`; a negative total counts as unknown.
    pub fn new(label: impl Into<String>, total: impl TryInto<u64>) -> Self {
        Self::begin(label.into(), total.try_into().ok(), Unit::Steps, false, true)
    }

    /// Counts steps whose number is not known.
    pub fn unknown(label: impl Into<String>) -> Self {
        Self::begin(label.into(), None, Unit::Steps, false, true)
    }

    /// Counts bytes towards `total`.
    pub fn bytes(label: impl Into<String>, total: u64) -> Self {
        Self::begin(label.into(), Some(total), Unit::Bytes, false, true)
    }

    /// Bytes of the library's own work, which stays unseen if it is short.
    pub(crate) fn of_work(label: &str, bytes: u64) -> Self {
        Self::begin(label.to_owned(), Some(bytes), Unit::Bytes, true, true)
    }

    /// Steps on the terminal only: the notebook's output is the run's own, such as a curve.
    pub(crate) fn on_terminal(label: &str, total: u64) -> Self {
        Self::begin(label.to_owned(), Some(total), Unit::Steps, true, false)
    }

    fn begin(label: String, total: Option<u64>, unit: Unit, patient: bool, in_notebook: bool) -> Self {
        // The board decides when it is seen.
        let counter = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        let (row, depth) = board::add(&label, &counter, unit, patient, in_notebook);
        let bar = Bar { counter, label, unit, row, depth, in_notebook, patient, ended: AtomicBool::new(false) };
        Self { bar: Arc::new(Sealed::new(bar)) }
    }

    /// Counts `amount` more.
    pub fn inc(&self, amount: u64) {
        self.bar.counter.inc(amount);
        self.drawn();
    }

    /// Says how much is done.
    pub fn set(&self, done: u64) {
        self.bar.counter.set_position(done);
        self.drawn();
    }

    /// How much is done.
    pub fn position(&self) -> u64 {
        self.bar.counter.position()
    }

    /// Shows a word beside the bar.
    pub fn say(&self, message: impl Into<String>) {
        self.bar.counter.set_prefix(message.into());
        self.drawn();
    }

    fn drawn(&self) {
        board::draw_if_due();
    }

    /// Ends it well, in one line that sums up.
    pub fn finish(self) {
        self.bar.end(Outcome::Done);
    }

    /// Ends it with the reason why it failed.
    pub fn fail(self, why: impl Display) {
        self.bar.end(Outcome::Failed(why.to_string()));
    }

    /// Ends it as `result` says, and hands the result back.
    ///
    /// # Errors
    /// That of `result`.
    pub fn end<T, E: Display>(self, result: Result<T, E>) -> Result<T, E> {
        self.bar.end(match &result {
            Ok(_) => Outcome::Done,
            Err(_) if crate::interrupt::check().is_err() => Outcome::Interrupted,
            Err(error) => Outcome::Failed(error.to_string()),
        });
        result
    }
}

impl Bar {
    fn end(&self, outcome: Outcome) {
        if self.ended.swap(true, Ordering::SeqCst) {
            return;
        }
        let brief = self.patient && self.counter.elapsed() < PATIENCE;
        // Before the counter ends, because that makes it complete.
        let state = ProgressState::of(&self.counter, &self.label, self.unit, self.depth, outcome);
        board::end(self.row, state, brief, self.in_notebook);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        let complete = self.counter.length().is_some_and(|total| self.counter.position() >= total);
        self.end(match () {
            () if std::thread::panicking() => Outcome::Abandoned,
            () if crate::interrupt::check().is_err() => Outcome::Interrupted,
            () if complete => Outcome::Done,
            () => Outcome::Stopped,
        });
    }
}
