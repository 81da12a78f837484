//! How far long work is, counted here and shown by a [`Reporter`].
//!
//! ```
//! use chandlery::progress::{Progress, progress};
//! chandlery::display::show_progress();
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
//!
//! The kernel and the `chandlery` command show bars that nest, on the terminal and as one updating output of a
//! notebook. A program of one's own asks for them with [`show_progress`](crate::display::show_progress), or installs a
//! reporter of its own with [`set_reporter`]. Without a reporter, work is counted and nothing is shown.

mod reporter;
mod tracked;

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use reporter::{Audience, CurveReporter, Reporter, Task, TaskOutcome, TaskReporter, Unit, set_reporter};
pub(crate) use reporter::{begin_curve, begin_task};
pub use tracked::{Tracked, progress};

use crate::sealed::Sealed;

/// A running count. Clones count on, from any thread; a bar that begins while another of its thread runs is shown below
/// it.
///
/// It ends with [`finish`](Self::finish), [`fail`](Self::fail) or [`end`](Self::end). One that is dropped before says
/// what became of it: interrupted, abandoned by a panic, or left early.
#[derive(Clone)]
pub struct Progress {
    running: Arc<Sealed<Running>>,
}

struct Running {
    reporter: Box<dyn TaskReporter>,
    total: Option<u64>,
    ended: AtomicBool,
}

impl Progress {
    /// Counts steps towards `total`; a negative total counts as unknown.
    pub fn new(label: impl Into<String>, total: impl TryInto<u64>) -> Self {
        Self::begin(label.into(), total.try_into().ok(), Unit::Steps, Audience::Everywhere)
    }

    /// Counts steps whose number is not known.
    pub fn unknown(label: impl Into<String>) -> Self {
        Self::begin(label.into(), None, Unit::Steps, Audience::Everywhere)
    }

    /// Counts bytes towards `total`.
    pub fn bytes(label: impl Into<String>, total: u64) -> Self {
        Self::begin(label.into(), Some(total), Unit::Bytes, Audience::Everywhere)
    }

    /// Bytes of the library's own work, which stays unseen if it is short.
    pub(crate) fn of_work(label: &str, bytes: u64) -> Self {
        Self::begin(label.to_owned(), Some(bytes), Unit::Bytes, Audience::EverywhereIfLong)
    }

    /// Steps on the terminal only: the notebook's output is the run's own, such as a curve.
    pub(crate) fn on_terminal(label: &str, total: u64) -> Self {
        Self::begin(label.to_owned(), Some(total), Unit::Steps, Audience::TerminalIfLong)
    }

    fn begin(label: String, total: Option<u64>, unit: Unit, audience: Audience) -> Self {
        let reporter = begin_task(Task { label, total, unit, audience });
        Self { running: Arc::new(Sealed::new(Running { reporter, total, ended: AtomicBool::new(false) })) }
    }

    /// Counts `amount` more.
    pub fn inc(&self, amount: u64) {
        self.running.reporter.inc(amount);
    }

    /// Says how much is done.
    pub fn set(&self, done: u64) {
        self.running.reporter.set(done);
    }

    /// Returns how much is done.
    pub fn position(&self) -> u64 {
        self.running.reporter.position()
    }

    /// Shows a word beside the bar.
    pub fn say(&self, message: impl Into<String>) {
        self.running.reporter.say(message.into());
    }

    /// Ends it well, in one line that sums up.
    pub fn finish(self) {
        self.running.end(TaskOutcome::Done);
    }

    /// Ends it with the reason why it failed.
    pub fn fail(self, why: impl Display) {
        self.running.end(TaskOutcome::Failed(why.to_string()));
    }

    /// Ends it as `result` says, and hands the result back.
    ///
    /// # Errors
    /// That of `result`.
    pub fn end<T, E: Display>(self, result: Result<T, E>) -> Result<T, E> {
        self.running.end(match &result {
            Ok(_) => TaskOutcome::Done,
            Err(_) if crate::interrupt::check().is_err() => TaskOutcome::Interrupted,
            Err(error) => TaskOutcome::Failed(error.to_string()),
        });
        result
    }
}

impl Running {
    fn end(&self, outcome: TaskOutcome) {
        if !self.ended.swap(true, Ordering::SeqCst) {
            self.reporter.end(outcome);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let complete = self.total.is_some_and(|total| self.reporter.position() >= total);
        self.end(match () {
            () if std::thread::panicking() => TaskOutcome::Abandoned,
            () if crate::interrupt::check().is_err() => TaskOutcome::Interrupted,
            () if complete => TaskOutcome::Done,
            () => TaskOutcome::Stopped,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[derive(Clone, Default)]
    struct Recorder {
        done: Arc<AtomicU64>,
        outcomes: Arc<Mutex<Vec<TaskOutcome>>>,
    }

    impl TaskReporter for Recorder {
        fn inc(&self, amount: u64) {
            self.done.fetch_add(amount, Ordering::Relaxed);
        }

        fn set(&self, done: u64) {
            self.done.store(done, Ordering::Relaxed);
        }

        fn position(&self) -> u64 {
            self.done.load(Ordering::Relaxed)
        }

        fn say(&self, _message: String) {}

        fn end(&self, outcome: TaskOutcome) {
            self.outcomes.lock().unwrap().push(outcome);
        }
    }

    /// Returns the outcomes that a task of ten steps reports when `work` is done with it.
    fn outcomes(work: impl FnOnce(Progress)) -> Vec<TaskOutcome> {
        let recorder = Recorder::default();
        let reporter = Box::new(recorder.clone());
        let running = Running { reporter, total: Some(10), ended: AtomicBool::new(false) };
        work(Progress { running: Arc::new(Sealed::new(running)) });
        recorder.outcomes.lock().unwrap().clone()
    }

    #[test]
    fn a_task_reports_once_how_it_ended() {
        assert_eq!(outcomes(|task| task.clone().finish()), [TaskOutcome::Done]);
        assert_eq!(outcomes(|task| task.clone().fail("disk full")), [TaskOutcome::Failed("disk full".to_owned())]);
        assert_eq!(outcomes(|task| task.inc(9)), [TaskOutcome::Stopped]);
        assert_eq!(outcomes(|task| task.set(10)), [TaskOutcome::Done]);
        let refused = outcomes(|task| assert!(task.end(Err::<(), _>("refused")).is_err()));
        assert_eq!(refused, [TaskOutcome::Failed("refused".to_owned())]);
    }
}
