//! The interface between work that is counted and what shows it.

use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Shows how far work is.
pub trait Reporter: Send + Sync {
    /// Begins to show a task.
    fn begin_task(&self, task: Task) -> Box<dyn TaskReporter>;

    /// Begins to show the loss of a run of `steps` steps.
    fn begin_curve(&self, title: &str, steps: usize) -> Box<dyn CurveReporter>;
}

/// Shows a task that runs.
pub trait TaskReporter: Send + Sync {
    /// Counts `amount` more.
    fn inc(&self, amount: u64);
    /// Sets how much is done.
    fn set(&self, done: u64);
    /// Returns how much is done.
    fn position(&self) -> u64;
    /// Shows a word beside the count.
    fn say(&self, message: String);
    /// Ends the task. Called once.
    fn end(&self, outcome: TaskOutcome);
}

/// Shows a loss while it changes.
pub trait CurveReporter {
    /// Adds a step's loss, in nats per token.
    fn push(&mut self, step: usize, loss: f32);
    /// Shows the whole curve.
    fn finish(self: Box<Self>);
}

/// Work that is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// What is done, such as `converting`.
    pub label: String,
    /// How much there is to do, if that is known.
    pub total: Option<u64>,
    /// What is counted.
    pub unit: Unit,
    /// Where it is shown.
    pub audience: Audience,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, shown in binary units.
    Bytes,
    /// Steps of a loop.
    Steps,
}

/// Where a task is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// On the terminal and in the notebook, from the beginning.
    Everywhere,
    /// The same, but only once the task has run for a while: a bar that ends at once would flash by.
    EverywhereIfLong,
    /// Only on the terminal, once it has run for a while: the notebook shows something else of the same work.
    TerminalIfLong,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskOutcome {
    /// It is complete.
    Done,
    /// It failed, for this reason.
    Failed(String),
    /// The user interrupted it.
    Interrupted,
    /// Its count was dropped before its end: by a `break`, or by an error that left the loop.
    Stopped,
    /// The code that counted panicked.
    Abandoned,
}

static REPORTER: RwLock<&'static dyn Reporter> = RwLock::new(&Silent);

/// Installs the process's reporter. Tasks that run already stay with the one before.
///
/// ```
/// use std::sync::Mutex;
/// use chandlery::progress::{CurveReporter, Reporter, Task, TaskOutcome, TaskReporter, progress, set_reporter};
///
/// /// Writes down how tasks end.
/// struct Log(Mutex<Vec<String>>);
/// static LOG: Log = Log(Mutex::new(Vec::new()));
///
/// struct Logged(Task);
///
/// impl Reporter for Log {
///     fn begin_task(&self, task: Task) -> Box<dyn TaskReporter> {
///         Box::new(Logged(task))
///     }
///
///     fn begin_curve(&self, _title: &str, _steps: usize) -> Box<dyn CurveReporter> {
///         Box::new(Unseen)
///     }
/// }
///
/// impl TaskReporter for Logged {
///     fn inc(&self, _amount: u64) {}
///     fn set(&self, _done: u64) {}
///     fn position(&self) -> u64 { 0 }
///     fn say(&self, _message: String) {}
///     fn end(&self, outcome: TaskOutcome) {
///         LOG.0.lock().unwrap().push(format!("{}: {outcome:?}", self.0.label));
///     }
/// }
///
/// struct Unseen;
///
/// impl CurveReporter for Unseen {
///     fn push(&mut self, _step: usize, _loss: f32) {}
///     fn finish(self: Box<Self>) {}
/// }
///
/// set_reporter(&LOG);
/// for _ in progress(0..3).named("files") {}
/// assert_eq!(*LOG.0.lock().unwrap(), ["files: Done"]);
/// ```
pub fn set_reporter(reporter: &'static dyn Reporter) {
    *REPORTER.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = reporter;
}

fn reporter() -> &'static dyn Reporter {
    *REPORTER.read().unwrap_or_else(|poisoned| poisoned.into_inner())
}

pub(crate) fn begin_task(task: Task) -> Box<dyn TaskReporter> {
    reporter().begin_task(task)
}

pub(crate) fn begin_curve(title: &str, steps: usize) -> Box<dyn CurveReporter> {
    reporter().begin_curve(title, steps)
}

/// Counts and shows nothing.
struct Silent;

struct SilentTask(AtomicU64);

struct SilentCurve;

impl Reporter for Silent {
    fn begin_task(&self, _task: Task) -> Box<dyn TaskReporter> {
        Box::new(SilentTask(AtomicU64::new(0)))
    }

    fn begin_curve(&self, _title: &str, _steps: usize) -> Box<dyn CurveReporter> {
        Box::new(SilentCurve)
    }
}

impl TaskReporter for SilentTask {
    fn inc(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    fn set(&self, done: u64) {
        self.0.store(done, Ordering::Relaxed);
    }

    fn position(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn say(&self, _message: String) {}

    fn end(&self, _outcome: TaskOutcome) {}
}

impl CurveReporter for SilentCurve {
    fn push(&mut self, _step: usize, _loss: f32) {}

    fn finish(self: Box<Self>) {}
}
