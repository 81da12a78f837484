//! The queue of cells: one thread that owns the session, runs requests in order, and aborts those behind a failure.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use jupyter_protocol::{
    ExecuteReply, ExecuteRequest, ExecutionCount, ExecutionState, ExpressionResult, JupyterMessage, ReplyStatus,
};

use super::history::History;
use super::iopub::Iopub;
use super::session::{Front, Publication, Request, Session};
use super::stdin::{Asker, Canceller};
use super::{StartEngine, wire};
use crate::engine::{Assist, Interrupter, Outcome};

/// After a failure, how long requests sent together with the failed one may take to arrive. The failure's reply
/// waits for them: what a front end sends after it has seen the reply is never aborted.
const STRAGGLERS: Duration = Duration::from_millis(10);

/// How late what a thread prints between two cells may appear.
const LISTEN_EVERY: Duration = Duration::from_millis(100);

/// What the queue is asked to do.
pub(super) enum Job {
    /// Run a cell and answer on the given channel.
    Execute { message: Box<JupyterMessage>, request: ExecuteRequest, replies: Replies },
    /// End the engine, then say so.
    Stop { done: tokio::sync::oneshot::Sender<()> },
}

/// The values of a request's `user_expressions`.
type Values = HashMap<String, ExpressionResult>;

/// Where the replies of one channel go.
pub(super) type Replies = tokio::sync::mpsc::UnboundedSender<JupyterMessage>;

/// What others may use of the session while it runs a cell.
pub(super) struct Handles {
    pub(super) assist: Arc<dyn Assist>,
    pub(super) history: Arc<Mutex<History>>,
    interrupter: Interrupter,
    running: AtomicBool,
}

/// The queue as the rest of the server sees it.
#[derive(Clone)]
pub(super) struct Queue {
    jobs: mpsc::Sender<Job>,
    handles: Arc<OnceLock<Handles>>,
    canceller: Canceller,
    stopping: Arc<AtomicBool>,
}

impl Queue {
    /// Starts the thread. The engine starts on it, while the sockets already answer.
    pub(super) fn start(
        engine: StartEngine,
        iopub: Iopub,
        asker: Asker,
        canceller: Canceller,
    ) -> std::io::Result<Self> {
        let (jobs, receiver) = mpsc::channel();
        let handles = Arc::new(OnceLock::new());
        let shared = Arc::clone(&handles);
        let stopping = Arc::<AtomicBool>::default();
        let told = Arc::clone(&stopping);
        std::thread::Builder::new().name("cells".to_owned()).spawn(move || {
            let session = Session::new(engine());
            let _ = shared.set(Handles {
                assist: session.assist(),
                history: session.history(),
                interrupter: session.interrupter(),
                running: AtomicBool::new(false),
            });
            Runner { session, handles: shared, stopping: told, jobs: receiver, iopub, asker }.run();
        })?;
        Ok(Self { jobs, handles, canceller, stopping })
    }

    /// Adds a job; it is dropped when the kernel is already stopping.
    pub(super) fn push(&self, job: Job) {
        let _ = self.jobs.send(job);
    }

    /// Answers every cell still queued as aborted, ends the engine, then says so.
    pub(super) fn stop(&self, done: tokio::sync::oneshot::Sender<()>) {
        self.stopping.store(true, Ordering::SeqCst);
        self.push(Job::Stop { done });
    }

    /// What can be used of the session meanwhile. Waits for the engine to start; not for async code.
    pub(super) fn handles(&self) -> &Handles {
        self.handles.wait()
    }

    /// Asks the running cell to stop; does nothing between cells.
    pub(super) fn interrupt(&self) {
        if let Some(handles) = self.handles.get()
            && handles.running.load(Ordering::SeqCst)
        {
            self.canceller.cancel();
            (handles.interrupter)();
        }
    }
}

struct Runner {
    session: Session,
    handles: Arc<OnceLock<Handles>>,
    stopping: Arc<AtomicBool>,
    jobs: mpsc::Receiver<Job>,
    iopub: Iopub,
    asker: Asker,
}

impl Runner {
    fn run(mut self) {
        let mut held = VecDeque::new();
        let mut number = 0;
        let mut last = None;
        while let Some(job) = held.pop_front().or_else(|| self.next(last.as_deref())) {
            match job {
                job @ Job::Execute { .. } if self.stopping.load(Ordering::SeqCst) => {
                    self.abort(job, number);
                }
                Job::Execute { message, request, replies } => {
                    (number, held) = self.execute(&message, &request, &replies, held);
                    last = Some(message);
                }
                Job::Stop { done } => {
                    self.session.shutdown();
                    let _ = done.send(());
                    return;
                }
            }
        }
        self.session.shutdown();
    }

    /// Waits for a job. What the threads of earlier cells print meanwhile belongs to the last request.
    fn next(&mut self, last: Option<&JupyterMessage>) -> Option<Job> {
        let Some(message) = last else { return self.jobs.recv().ok() };
        loop {
            match self.jobs.recv_timeout(LISTEN_EVERY) {
                Ok(job) => return Some(job),
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let mut front = SocketFront { iopub: &self.iopub, asker: &self.asker, message, allow_stdin: false };
                    self.session.between(&mut front);
                }
            }
        }
    }

    /// Runs one request; returns its number and the jobs that were taken off the queue but not done.
    fn execute(
        &mut self,
        message: &JupyterMessage,
        request: &ExecuteRequest,
        replies: &Replies,
        held: VecDeque<Job>,
    ) -> (u32, VecDeque<Job>) {
        self.iopub.send(wire::status(ExecutionState::Busy, message));
        let mut front =
            SocketFront { iopub: &self.iopub, asker: &self.asker, message, allow_stdin: request.allow_stdin };
        let cell = Request { code: request.code.clone(), silent: request.silent, store_history: request.store_history };
        self.running(true);
        let execution = self.session.execute(&cell, &mut front);
        let values = match execution.outcome {
            Outcome::Ok => self.evaluate(request),
            Outcome::Error { .. } => Values::new(),
        };
        self.running(false);

        let failed = matches!(execution.outcome, Outcome::Error { .. });
        let mut behind = held;
        if failed && request.stop_on_error && !request.silent {
            while let Ok(job) = self.jobs.recv_timeout(STRAGGLERS) {
                behind.push_back(job);
            }
        }
        let _ = replies.send(wire::child(reply(&execution.outcome, execution.number, values), message));
        self.iopub.send(wire::status(ExecutionState::Idle, message));

        if failed && request.stop_on_error && !request.silent {
            behind = behind.into_iter().filter_map(|job| self.abort(job, execution.number)).collect();
        }
        (execution.number, behind)
    }

    /// The request's `user_expressions`, in the order of their names; after an interrupt the rest is not run.
    fn evaluate(&mut self, request: &ExecuteRequest) -> Values {
        let expressions: BTreeMap<_, _> = request.user_expressions.iter().flatten().collect();
        let mut interrupted = None;
        let mut values = Values::new();
        for (name, code) in expressions {
            let value = interrupted.clone().map_or_else(|| self.session.evaluate(code), Err);
            interrupted = value.as_ref().err().filter(|outcome| outcome.is_interrupt()).cloned();
            values.insert(name.clone(), wire::expression(value));
        }
        values
    }

    /// Answers a queued request without running it.
    fn abort(&self, job: Job, number: u32) -> Option<Job> {
        let Job::Execute { message, replies, .. } = job else { return Some(job) };
        self.iopub.send(wire::status(ExecutionState::Busy, &message));
        let aborted = ExecuteReply {
            status: ReplyStatus::Aborted,
            execution_count: ExecutionCount::new(number as usize),
            user_expressions: Some(Default::default()),
            ..Default::default()
        };
        let _ = replies.send(wire::child(aborted, &message));
        self.iopub.send(wire::status(ExecutionState::Idle, &message));
        None
    }

    fn running(&self, running: bool) {
        if let Some(handles) = self.handles.get() {
            handles.running.store(running, Ordering::SeqCst);
        }
    }
}

fn reply(outcome: &Outcome, number: u32, values: Values) -> ExecuteReply {
    let (status, error) = match outcome {
        Outcome::Ok => (ReplyStatus::Ok, None),
        Outcome::Error { name, value, traceback } => (ReplyStatus::Error, wire::reply_error(name, value, traceback)),
    };
    ExecuteReply {
        status,
        execution_count: ExecutionCount::new(number as usize),
        payload: Vec::new(),
        user_expressions: Some(values),
        error,
    }
}

/// The front of one request.
struct SocketFront<'a> {
    iopub: &'a Iopub,
    asker: &'a Asker,
    message: &'a JupyterMessage,
    allow_stdin: bool,
}

impl Front for SocketFront<'_> {
    fn publish(&mut self, publication: Publication) {
        self.iopub.send_from_cell(wire::child(wire::publication(publication), self.message));
    }

    fn input(&mut self, prompt: &str, password: bool) -> Option<String> {
        if !self.allow_stdin {
            return None;
        }
        // What the cell wrote before it asked must be readable when the question appears.
        let _ = self.iopub.flushed().blocking_recv();
        self.asker.ask(self.message, prompt, password)
    }
}
