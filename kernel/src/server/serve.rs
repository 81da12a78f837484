//! Binding the sockets, and the life of a kernel from its first message to its last.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jupyter_protocol::{ConnectionInfo, ExecutionState, Status};
use jupyter_zmq_client as zmq;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::comm::Comms;
use super::connection::{ConnectionError, read_connection_file};
use super::dispatch::{Dispatch, start_replies};
use super::handler::Kernel;
use super::iopub::Iopub;
use super::queue::{END, Queue};
use super::replay::Replays;
use super::signature::SigningKey;
use super::status::Statuses;
use super::stdin::Asker;
use super::subshell::Subshells;
use super::{parent, wire};

/// How long a running cell may take to stop when the kernel stops: it is interrupted, then killed, then abandoned.
const GRACE: Duration = Duration::from_millis(1500);

/// How long the last messages may take to be written. Only a reader that has stopped reading takes that long.
const LAST_MESSAGES: Duration = Duration::from_secs(2);

/// Why a kernel could not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The connection file cannot be used.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// A socket could not be bound.
    #[error("cannot open the {channel} socket at {address}: {source}")]
    Bind {
        /// The channel.
        channel: &'static str,
        /// Its address.
        address: String,
        /// Why.
        source: Box<zmq::RuntimeError>,
    },
    /// The system refused a thread or a signal handler.
    #[error("cannot start the kernel: {0}")]
    System(#[from] std::io::Error),
}

/// Runs a kernel process: reads the connection file, serves until it is told to stop.
///
/// # Errors
/// [`ServeError`] if the file or the sockets cannot be used.
pub fn run(connection_file: &Path, kernel: impl FnOnce() -> Kernel) -> Result<(), ServeError> {
    let info = read_connection_file(connection_file)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let served = runtime.block_on(async {
        let (signals, outside) = mpsc::unbounded_channel();
        let watching = tokio::spawn(watch(signals)?);
        let served = serve(info, kernel(), outside).await;
        watching.abort();
        served
    });
    // A sent message is in a queue of the library, which has a task per reader that writes it. These tasks end
    // when their socket is closed and everything is written, and there are no other tasks by now.
    runtime.block_on(async {
        let tasks = tokio::runtime::Handle::current().metrics();
        let written = async {
            while tasks.num_alive_tasks() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let _ = tokio::time::timeout(LAST_MESSAGES, written).await;
    });
    // A completion that never returns must not keep the process alive.
    runtime.shutdown_background();
    served
}

/// A command to the kernel from outside its sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// Stop the running cell.
    Interrupt,
    /// Stop the kernel.
    Stop,
}

/// Watches signals and the end of the parent process, as long as the kernel lives.
fn watch(outside: mpsc::UnboundedSender<Outside>) -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        loop {
            let event = tokio::select! {
                _ = interrupt.recv() => Outside::Interrupt,
                _ = terminate.recv() => Outside::Stop,
                () = parent::gone() => Outside::Stop,
            };
            if outside.send(event).is_err() || event == Outside::Stop {
                return;
            }
        }
    })
}

/// Serves one kernel on the current runtime until a shutdown request or [`Outside::Stop`]. Its sockets are closed when this
/// returns; tasks of the runtime write the rest of the messages.
///
/// # Errors
/// [`ServeError::Bind`] or [`ServeError::System`].
pub async fn serve(
    info: ConnectionInfo,
    kernel: Kernel,
    mut outside: mpsc::UnboundedReceiver<Outside>,
) -> Result<(), ServeError> {
    let mut tasks = JoinSet::new();
    let replays = Replays::default();
    let session = uuid::Uuid::new_v4().to_string();
    let bound = |channel, address| move |source| ServeError::Bind { channel, address, source: Box::new(source) };
    let iopub = zmq::create_kernel_iopub_xpub_connection(&info, &session).await;
    let key = SigningKey::new(&info.key);
    let iopub = Iopub::start(iopub.map_err(bound("iopub", info.iopub_url()))?, key.clone(), &mut tasks);
    let stdin = zmq::create_kernel_stdin_connection(&info, &session).await;
    let (asker, canceler) =
        Asker::start(stdin.map_err(bound("stdin", info.stdin_url()))?, key.clone(), replays.clone(), &mut tasks);
    let heartbeat = zmq::create_kernel_heartbeat_connection(&info).await;
    tasks.spawn(echo(heartbeat.map_err(bound("heartbeat", info.hb_url()))?));
    let control = zmq::create_kernel_control_connection(&info, &session).await;
    let (control_out, control_in) = control.map_err(bound("control", info.control_url()))?.split();
    let shell = zmq::create_kernel_shell_connection(&info, &session).await;
    let (shell_out, shell_in) = shell.map_err(bound("shell", info.shell_url()))?.split();

    let comms = Comms::new(kernel.comms);
    let statuses = Statuses::new(iopub.clone());
    let published = (iopub.clone(), statuses.clone(), comms.clone());
    let queue = Queue::start(kernel.cells, published, (asker, canceler))?;
    iopub.send(wire::orphan(Status { execution_state: ExecutionState::Starting }));
    let (stop, mut stopped) = mpsc::unbounded_channel();
    let dispatch = Dispatch {
        connection: Arc::new(info),
        info: Arc::new(kernel.info),
        shell: kernel.shell,
        iopub: iopub.clone(),
        statuses: statuses.clone(),
        queue: queue.clone(),
        comms: comms.clone(),
        subshells: Subshells::default(),
        replays,
        usage: Arc::default(),
        stop,
    };
    let (control_replies, control_sent) = start_replies(control_out, key.clone(), &mut tasks);
    let (shell_replies, shell_sent) = start_replies(shell_out, key, &mut tasks);
    let readers = [
        tasks.spawn(dispatch.clone().read(control_in, control_replies)),
        tasks.spawn(dispatch.read(shell_in, shell_replies)),
    ];

    loop {
        tokio::select! {
            _ = stopped.recv() => break,
            event = outside.recv() => match event {
                Some(Outside::Interrupt) => queue.interrupt(),
                Some(Outside::Stop) => break,
                None => {
                    let _ = stopped.recv().await;
                    break;
                }
            },
        }
    }

    for reader in readers {
        reader.abort();
    }
    end_cells(&queue).await;
    statuses.close();
    for closed in comms.close_all() {
        iopub.send(wire::orphan(closed));
    }
    let sent = async {
        let _ = iopub.flushed().await;
        let _ = control_sent.await;
        let _ = shell_sent.await;
    };
    let _ = tokio::time::timeout(Duration::from_millis(500), sent).await;
    tasks.shutdown().await;
    Ok(())
}

/// Ends what runs the cells, by interrupts while a cell runs.
async fn end_cells(queue: &Queue) {
    let (done, mut ended) = oneshot::channel();
    queue.stop(done);
    for _ in 0..3 {
        queue.interrupt();
        if tokio::time::timeout(GRACE / 3, &mut ended).await.is_ok() {
            return;
        }
    }
    // The cell has ended, and its variables are being dropped.
    let _ = tokio::time::timeout(END + GRACE / 3, &mut ended).await;
}

/// The heartbeat: returns every ping unchanged.
async fn echo(mut heartbeat: zmq::KernelHeartbeatConnection) {
    use zeromq::{SocketRecv, SocketSend};
    loop {
        match heartbeat.socket.recv().await {
            Ok(ping) => {
                let _ = heartbeat.socket.send(ping).await;
            }
            Err(zeromq::ZmqError::NoMessage) => return,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}
