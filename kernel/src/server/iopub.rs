//! Publishing on iopub: keeps the order of messages, merges text, limits the rate to what notebook servers accept, and tells
//! a reader that connects while a cell runs that the kernel is busy.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jupyter_protocol::{ExecutionState, IoPubWelcome, JupyterMessageContent, Stdio, StreamContent};
use jupyter_zmq_client::{KernelIoPubXPubConnection, SubscriptionEvent};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::signature::SigningKey;
use super::wire::{self, Outgoing, Received};

/// How long a piece of text may wait for more: short enough for a progress line, long enough for a tight loop.
const MERGE: Duration = Duration::from_millis(40);
/// Text is sent once it is this long.
const CHUNK: usize = 32 * 1024;
/// Notebook servers drop a kernel's output above 1 MB/s over three seconds. So text may burst, then is paced, and a
/// cell that writes faster waits: late output is better than lost output.
const BYTES: Rate = Rate { burst: 2e6, per_second: 0.8e6 };
/// They do the same above 1,000 messages per second. Text that alternates between standard output and standard error is one
/// message per line, so this many lines keep their order; beyond that, each stream is merged separately.
const MESSAGES: Rate = Rate { burst: 1000.0, per_second: 300.0 };
/// Unsent text above which a writing cell waits.
const BACKLOG: usize = 256 * 1024;

/// After a restart a front end sends its cells at once, while its iopub socket is still between two attempts to connect:
/// what is published before that is lost, including the idle. So the first messages wait as long as libzmq waits at most between two
/// attempts (twice its interval of 100 ms), and longer while there is no reader.
const RECONNECTED: Duration = Duration::from_millis(250);
/// When they no longer wait for a reader.
const FIRST_READER: Duration = Duration::from_secs(1);
/// How long a front end's first questions may come before its subscription.
const MISSED: Duration = RECONNECTED;

enum Item {
    Message(Box<Outgoing>),
    Flush(oneshot::Sender<()>),
}

/// A handle to send with; clones share the order.
#[derive(Clone)]
pub(super) struct Iopub {
    items: mpsc::UnboundedSender<Item>,
    backlog: Arc<Backlog>,
    running: Arc<Mutex<Running>>,
}

/// The cell that runs, by its request, and what was answered meanwhile.
#[derive(Default)]
struct Running {
    cell: Option<Received>,
    /// Requests whose senders wait for their `idle`, with the time of it.
    answered: Vec<(Instant, Received)>,
}

impl Iopub {
    /// Starts the task that owns the socket.
    pub(super) fn start(connection: KernelIoPubXPubConnection, key: SigningKey, tasks: &mut JoinSet<()>) -> Self {
        let (items, receiver) = mpsc::unbounded_channel();
        let backlog = Arc::<Backlog>::default();
        let iopub = Self { items, backlog, running: Arc::default() };
        let publisher = Publisher {
            connection,
            key,
            pending: Vec::new(),
            bytes: Pace::new(BYTES),
            messages: Pace::new(MESSAGES),
            backlog: Arc::clone(&iopub.backlog),
            running: Arc::clone(&iopub.running),
        };
        tasks.spawn(publisher.run(receiver));
        iopub
    }

    /// Sets the running cell, whose state new readers are told. Must be cleared before the `idle` that ends it.
    pub(super) fn set_running(&self, cell: Option<Received>) {
        *lock(&self.running) = Running { cell, answered: Vec::new() };
    }

    /// Returns the running cell.
    pub(super) fn running(&self) -> Option<Received> {
        lock(&self.running).cell.clone()
    }

    /// Notes that the `idle` of a request is published while a cell runs: a reader that subscribes shortly after has missed it.
    pub(super) fn answered(&self, request: &Received) {
        let now = Instant::now();
        let answered = &mut lock(&self.running).answered;
        answered.retain(|(at, _)| now.duration_since(*at) < MISSED);
        answered.push((now, request.clone()));
    }

    /// Sends a message after all earlier ones. Never waits.
    pub(super) fn send(&self, message: Outgoing) {
        let _ = self.items.send(Item::Message(Box::new(message)));
    }

    /// Sends what a cell shows; waits while too much text is unsent. Not for async code.
    pub(super) fn send_from_cell(&self, message: Outgoing) {
        if let JupyterMessageContent::StreamContent(text) = &message.message.content {
            self.backlog.add(text.text.len());
        }
        self.send(message);
    }

    /// Completes when everything sent before has left.
    pub(super) fn flushed(&self) -> oneshot::Receiver<()> {
        let (done, receiver) = oneshot::channel();
        let _ = self.items.send(Item::Flush(done));
        receiver
    }
}

#[derive(Default)]
struct Backlog {
    bytes: Mutex<usize>,
    sent: Condvar,
}

impl Backlog {
    fn add(&self, bytes: usize) {
        let mut unsent = self.bytes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        while *unsent > BACKLOG {
            unsent = self.sent.wait(unsent).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        *unsent += bytes;
    }

    fn remove(&self, bytes: usize) {
        let mut unsent = self.bytes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *unsent = unsent.saturating_sub(bytes);
        self.sent.notify_all();
    }
}

/// A burst size and a rate.
#[derive(Clone, Copy)]
struct Rate {
    burst: f64,
    per_second: f64,
}

/// A token bucket.
struct Pace {
    rate: Rate,
    tokens: f64,
    filled: Instant,
}

impl Pace {
    fn new(rate: Rate) -> Self {
        Self { rate, tokens: rate.burst, filled: Instant::now() }
    }

    /// Takes tokens, and returns how long to wait before sending.
    fn take(&mut self, count: usize, now: Instant) -> Duration {
        let refill = now.duration_since(self.filled).as_secs_f64() * self.rate.per_second;
        self.tokens = (self.tokens + refill).min(self.rate.burst) - count as f64;
        self.filled = now;
        Duration::from_secs_f64((-self.tokens).max(0.0) / self.rate.per_second)
    }
}

/// Text of one request and one stream, waiting for more.
struct Pending {
    message: Outgoing,
    name: Stdio,
    text: String,
    due: Instant,
}

impl Pending {
    fn takes(&self, name: &Stdio, message: &Outgoing) -> bool {
        same_stream(&self.name, name) && same_parent(&self.message, message)
    }
}

struct Publisher {
    connection: KernelIoPubXPubConnection,
    key: SigningKey,
    /// One text, or one of each stream while there are too many messages.
    pending: Vec<Pending>,
    bytes: Pace,
    messages: Pace,
    backlog: Arc<Backlog>,
    running: Arc<Mutex<Running>>,
}

impl Publisher {
    async fn run(mut self, mut items: mpsc::UnboundedReceiver<Item>) {
        let begun = Instant::now();
        let mut held = Some(begun + FIRST_READER);
        loop {
            let due = self.pending.first().map(|pending| pending.due);
            tokio::select! {
                // Subscriptions first: a message sent before its reader is registered is lost.
                biased;
                event = self.connection.recv_subscription() => match event {
                    Ok(SubscriptionEvent::Subscribe(topic)) => {
                        held = held.map(|_| begun + RECONNECTED);
                        self.welcome(topic).await;
                        if held.is_none() {
                            self.tell_that_a_cell_runs().await;
                        }
                    }
                    Ok(SubscriptionEvent::Unsubscribe(_)) => {}
                    // A reader disconnected; the socket has already removed it.
                    Err(_) => tokio::task::yield_now().await,
                },
                () = async { tokio::time::sleep_until(held.unwrap_or_else(Instant::now)).await }, if held.is_some() => {
                    held = None;
                }
                item = items.recv(), if held.is_none() => match item {
                    Some(Item::Message(message)) => self.accept(*message).await,
                    Some(Item::Flush(done)) => {
                        self.flush().await;
                        let _ = done.send(());
                    }
                    None => return self.flush().await,
                },
                () = async { tokio::time::sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {
                    self.flush().await;
                }
            }
        }
    }

    async fn accept(&mut self, mut message: Outgoing) {
        let JupyterMessageContent::StreamContent(StreamContent { name, text }) = &mut message.message.content else {
            self.flush().await;
            return self.send(message).await;
        };
        let (name, text) = (name.clone(), std::mem::take(text));
        if self.pending.last().is_some_and(|last| !last.takes(&name, &message)) {
            let crowded = !self.messages.take(0, Instant::now()).is_zero();
            if !(crowded && self.pending.iter().all(|pending| same_parent(&pending.message, &message))) {
                self.flush().await;
            }
        }
        let chunk = match self.pending.iter_mut().find(|pending| pending.takes(&name, &message)) {
            Some(pending) => {
                pending.text.push_str(&text);
                pending.text.len()
            }
            None => {
                let length = text.len();
                self.pending.push(Pending { message, name, text, due: Instant::now() + MERGE });
                length
            }
        };
        if chunk >= CHUNK {
            self.flush().await;
        }
    }

    async fn flush(&mut self) {
        for Pending { mut message, name, text, .. } in std::mem::take(&mut self.pending) {
            let (bytes, now) = (text.len(), Instant::now());
            self.messages.take(1, now);
            let wait = self.bytes.take(bytes, now);
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            message.message.content = StreamContent { name, text }.into();
            self.send(message).await;
            self.backlog.remove(bytes);
        }
    }

    async fn welcome(&mut self, subscription: String) {
        let mut message = wire::orphan(IoPubWelcome { subscription: subscription.clone() });
        message.message.zmq_identities = vec![subscription.into()];
        let _ = wire::send(&mut self.connection, &self.key, message).await;
    }

    /// Publishes the cell's `busy`, and the `idle` of recent requests: a reloaded tab, or a restarted server, has missed
    /// them.
    async fn tell_that_a_cell_runs(&mut self) {
        let statuses = {
            let running = lock(&self.running);
            let Some(cell) = &running.cell else { return };
            let missed = running.answered.iter().filter(|(at, _)| at.elapsed() < MISSED);
            let missed = missed.map(|(_, request)| wire::status(ExecutionState::Idle, request));
            missed.chain([wire::status(ExecutionState::Busy, cell)]).collect::<Vec<_>>()
        };
        for status in statuses {
            self.send(status).await;
        }
    }

    async fn send(&mut self, mut message: Outgoing) {
        // On a publishing socket the first frame is the topic, not an address.
        message.message.zmq_identities = vec![format!("kernel.{}", message.message.header.msg_type).into()];
        // A reader that disconnected is not an error of the kernel.
        let _ = wire::send(&mut self.connection, &self.key, message).await;
    }
}

fn lock(running: &Mutex<Running>) -> MutexGuard<'_, Running> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

fn same_stream(a: &Stdio, b: &Stdio) -> bool {
    matches!((a, b), (Stdio::Stdout, Stdio::Stdout) | (Stdio::Stderr, Stdio::Stderr))
}

fn same_parent(a: &Outgoing, b: &Outgoing) -> bool {
    let id = |message: &Outgoing| message.message.parent_header.as_ref().map(|header| header.msg_id.clone());
    id(a) == id(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn text_bursts_then_keeps_the_pace() {
        let mut pace = Pace::new(BYTES);
        let now = Instant::now();
        assert!(pace.take(BYTES.burst as usize, now).is_zero());
        let wait = pace.take(800_000, now);
        assert!((wait.as_secs_f64() - 1.0).abs() < 0.01, "{wait:?}");
        assert!(pace.take(0, now + Duration::from_secs(2)).is_zero());
    }
}
