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

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

pub use board::{begin_cell, end_cell};
pub use tracked::{Tracked, progress};

use crate::display::{Outcome, ProgressState, counts};
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
    /// Its row among those of the notebook's output, if it is shown there.
    row: Option<u64>,
    depth: usize,
    /// Work of the library itself is not shown when it is over at once: it would flash by.
    patient: bool,
    ended: AtomicBool,
}

static TERMINAL: std::sync::LazyLock<MultiProgress> = std::sync::LazyLock::new(MultiProgress::new);

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
        let counter = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        let (row, depth) = match in_notebook {
            true => {
                let (row, depth) = board::add(&label, &counter, unit, patient);
                (Some(row), depth)
            }
            false => (None, 0),
        };
        let template =
            if total.is_some() { "{prefix} {bar:30} {counts} {msg}" } else { "{prefix} {spinner} {counts} {msg}" };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let style = style.with_key("counts", move |now: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = out.write_str(&counts(now.pos(), now.len(), unit, now.per_sec(), now.elapsed()));
        });
        let counter = TERMINAL.add(counter.with_style(style).with_prefix(format!("{}{label}", "  ".repeat(depth))));
        let bar = Bar { counter, label, unit, row, depth, patient, ended: AtomicBool::new(false) };
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
        self.bar.counter.set_message(message.into());
        self.drawn();
    }

    fn drawn(&self) {
        if self.bar.row.is_some() {
            board::draw_if_due();
        }
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
        // On a terminal, a bar within another makes way for the next; the outermost leaves its summary.
        // Before the counter ends, because that makes it complete.
        let state = ProgressState::of(&self.counter, &self.label, self.unit, self.depth, outcome);
        if self.depth == 0 && !brief && self.row.is_some() {
            let _ = TERMINAL.println(state.text());
        }
        self.counter.finish_and_clear();
        TERMINAL.remove(&self.counter);
        if let Some(row) = self.row {
            board::end(row, state, brief);
        }
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
