//! The queue of cells: one thread that owns the cells' handler, runs the requests of each shell in order, and aborts those
//! behind a failure.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use jupyter_protocol::{ExecuteReply, ExecutionCount, JupyterMessageContent, ReplyStatus};
use serde_json::{Map, Value};

use super::comm::Comms;
use super::handler::{CellHandler, FrontEnd, StartCells};
use super::iopub::Iopub;
use super::messages::ExecuteRequest;
use super::shell_queues::ShellQueues;
use super::status::Statuses;
use super::stdin::{Asker, Canceler};
use super::wire;
use super::wire::{Outgoing, Received};

/// After a failure, how long requests sent together with the failed one may take to arrive. The failure's reply
/// waits for them: what a front end sends after it has seen the reply is never aborted.
const STRAGGLERS: Duration = Duration::from_millis(10);

/// The delay with which output of threads between two cells appears.
const LISTEN_EVERY: Duration = Duration::from_millis(100);

/// How long dropping the variables may take when the kernel stops: front ends kill a kernel after 5 s.
pub(super) const END: Duration = Duration::from_secs(2);

/// What the queue is asked to do.
pub(super) enum Job {
    /// Run a cell.
    Cell(Box<QueuedCell>),
    /// Answer the cells that wait in a subshell as aborted.
    Close { subshell: String },
    /// End the engine, then send on `done`.
    Stop { done: tokio::sync::oneshot::Sender<()> },
}

/// A cell that waits for its turn.
pub(super) struct QueuedCell {
    pub(super) message: Received,
    pub(super) request: ExecuteRequest,
    /// Where its reply goes.
    pub(super) replies: Replies,
}

/// Where the replies of one channel go.
pub(super) type Replies = tokio::sync::mpsc::UnboundedSender<Outgoing>;

/// What others may use of the cells' handler while it runs one.
struct Handles {
    interrupter: Arc<dyn Fn() + Send + Sync>,
    running: AtomicBool,
}

/// The queue as the rest of the server sees it.
#[derive(Clone)]
pub(super) struct Queue {
    jobs: mpsc::Sender<Job>,
    handles: Arc<OnceLock<Handles>>,
    canceler: Canceler,
    stopping: Arc<AtomicBool>,
}

impl Queue {
    /// Starts the thread. What runs the cells starts on it, while the sockets already answer.
    pub(super) fn start(
        start_cells: StartCells,
        (iopub, statuses, comms): (Iopub, Statuses, Comms),
        (asker, canceler): (Asker, Canceler),
    ) -> std::io::Result<Self> {
        let (jobs, receiver) = mpsc::channel();
        let handles = Arc::new(OnceLock::new());
        let shared = Arc::clone(&handles);
        let stopping = Arc::<AtomicBool>::default();
        let told = Arc::clone(&stopping);
        std::thread::Builder::new().name("cells".to_owned()).spawn(move || {
            let cells = start_cells();
            let _ = shared.set(Handles { interrupter: cells.interrupter(), running: AtomicBool::new(false) });
            Runner {
                cells,
                last: None,
                count: ExecutionCount::default(),
                handles: shared,
                stopping: told,
                jobs: receiver,
                queues: ShellQueues::default(),
                iopub,
                statuses,
                comms,
                asker,
            }
            .run();
        })?;
        Ok(Self { jobs, handles, canceler, stopping })
    }

    /// Adds a job; it is dropped when the kernel is already stopping.
    pub(super) fn push(&self, job: Job) {
        let _ = self.jobs.send(job);
    }

    /// Answers every queued cell as aborted, ends the engine, then sends on `done`.
    pub(super) fn stop(&self, done: tokio::sync::oneshot::Sender<()>) {
        self.stopping.store(true, Ordering::SeqCst);
        self.push(Job::Stop { done });
    }

    /// Asks the running cell to stop; does nothing between cells.
    pub(super) fn interrupt(&self) {
        if let Some(handles) = self.handles.get()
            && handles.running.load(Ordering::SeqCst)
        {
            // A cell that waits for input must be interrupted before it gets no answer.
            (handles.interrupter)();
            self.canceler.cancel();
        }
    }
}

struct Runner {
    cells: Box<dyn CellHandler>,
    /// The last request that was executed.
    last: Option<Received>,
    /// The execution count of the last cell.
    count: ExecutionCount,
    handles: Arc<OnceLock<Handles>>,
    stopping: Arc<AtomicBool>,
    jobs: mpsc::Receiver<Job>,
    queues: ShellQueues,
    iopub: Iopub,
    statuses: Statuses,
    comms: Comms,
    asker: Asker,
}

impl Runner {
    fn run(mut self) {
        loop {
            while let Ok(job) = self.jobs.try_recv() {
                if self.arrived(job) {
                    return;
                }
            }
            let next = if self.stopping.load(Ordering::SeqCst) { None } else { self.queues.next() };
            match next {
                Some(cell) => {
                    let others = self.execute(&cell);
                    self.last = Some(cell.message);
                    if others.into_iter().any(|job| self.arrived(job)) {
                        return;
                    }
                }
                None => match self.next() {
                    Some(job) => {
                        if self.arrived(job) {
                            return;
                        }
                    }
                    None => return self.end(),
                },
            }
        }
    }

    /// Waits for a job. Output of threads of earlier cells meanwhile belongs to the last request.
    fn next(&mut self) -> Option<Job> {
        let Some(message) = &self.last else { return self.jobs.recv().ok() };
        loop {
            match self.jobs.recv_timeout(LISTEN_EVERY) {
                Ok(job) => return Some(job),
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let mut front = Requester { iopub: &self.iopub, asker: &self.asker, message, allow_stdin: false };
                    self.cells.between(&mut front);
                }
            }
        }
    }

    /// Takes a job off the queue; true when the engine was ended.
    fn arrived(&mut self, job: Job) -> bool {
        match job {
            Job::Cell(cell) => self.queues.push(*cell),
            Job::Close { subshell } => {
                let waiting = self.queues.take(Some(&subshell));
                self.abort(waiting);
            }
            Job::Stop { done } => {
                let waiting = self.queues.take_all();
                self.abort(waiting);
                self.end();
                let _ = done.send(());
                return true;
            }
        }
        false
    }

    /// Ends what runs the cells. Its output belongs to the last request.
    fn end(&mut self) {
        let front = self.last.as_ref();
        let mut front =
            front.map(|message| Requester { iopub: &self.iopub, asker: &self.asker, message, allow_stdin: false });
        self.cells.end(END, front.as_mut().map(|front| front as &mut dyn FrontEnd));
    }

    /// Runs one request and answers it; after a failure also those that wait behind it. Returns other jobs that arrived
    /// meanwhile.
    fn execute(&mut self, QueuedCell { message, request, replies }: &QueuedCell) -> Vec<Job> {
        self.running(true);
        self.statuses.begin(message);
        let mut front = Requester { iopub: &self.iopub, asker: &self.asker, message, allow_stdin: request.allow_stdin };
        let reply = self.cells.execute(request, &mut front);
        self.running(false);
        self.count = reply.execution_count;
        for content in self.comms.after_cell() {
            self.iopub.send(wire::child(content, message));
        }

        let aborts = reply.status == ReplyStatus::Error && request.stop_on_error && !request.silent;
        let mut late = Vec::new();
        if aborts {
            while let Ok(job) = self.jobs.recv_timeout(STRAGGLERS) {
                match job {
                    Job::Cell(cell) => self.queues.push(*cell),
                    job => late.push(job),
                }
            }
        }
        let _ = replies.send(wire::child(reply, message));
        self.statuses.end(message);
        if aborts {
            let behind = self.queues.take(message.subshell.as_deref());
            self.abort(behind);
        }
        late
    }

    /// Answers requests without running them.
    fn abort(&self, cells: Vec<QueuedCell>) {
        for QueuedCell { message, replies, .. } in cells {
            let aborted = ExecuteReply {
                status: ReplyStatus::Aborted,
                execution_count: self.count,
                user_expressions: Some(Default::default()),
                ..Default::default()
            };
            self.statuses.around(&message, || {
                let _ = replies.send(wire::child(aborted, &message));
            });
        }
    }

    fn running(&self, running: bool) {
        if let Some(handles) = self.handles.get() {
            handles.running.store(running, Ordering::SeqCst);
        }
    }
}

/// The front end that sent a request.
struct Requester<'a> {
    iopub: &'a Iopub,
    asker: &'a Asker,
    message: &'a Received,
    allow_stdin: bool,
}

impl FrontEnd for Requester<'_> {
    fn publish(&mut self, content: JupyterMessageContent, metadata: Map<String, Value>) {
        let mut child = wire::child(content, self.message);
        child.message.metadata = Value::Object(metadata);
        self.iopub.send_from_cell(child);
    }

    fn input(&mut self, prompt: &str, password: bool) -> Option<String> {
        if !self.allow_stdin {
            return None;
        }
        // The cell's output before the question must be visible when the question appears.
        let _ = self.iopub.flushed().blocking_recv();
        self.asker.ask(self.message, prompt, password)
    }
}
