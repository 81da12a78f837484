//! This kernel behind Jupyter's protocol: the [server]'s handlers, over a [`Session`].

mod cells;
mod code;
mod content;
mod error;
mod info;
mod position;
mod variables;

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use jupyter_protocol::ConnectionInfo;
use tokio::sync::mpsc;

use crate::engine::{Assist, Engine};
use crate::server;
use crate::server::{CellHandler, Kernel, Outside};
use crate::session::{History, Session};
use cells::Cells;
use code::Code;
use variables::Variables;

pub use error::KernelError;
pub use info::language_info;

/// Starts the engine, on the thread that will run its cells. An engine that cannot start still has to be one:
/// see [`Unavailable`](crate::engine::Unavailable).
pub type StartEngine = Box<dyn FnOnce() -> Box<dyn Engine> + Send>;

/// Runs a kernel process: reads the connection file, serves until it is told to stop.
///
/// # Errors
/// [`KernelError`] if the file or the sockets cannot be used.
pub fn run(connection_file: &Path, engine: StartEngine) -> Result<(), KernelError> {
    Ok(server::run(connection_file, || kernel(engine, History::of_this_user()))?)
}

/// Serves an engine on the current runtime until a shutdown request or [`Outside::Stop`]. Its sockets are closed when this
/// returns; tasks of the runtime write the rest of the messages.
///
/// # Errors
/// [`KernelError`] if a socket cannot be opened, or the system refuses a thread.
pub async fn serve(
    info: ConnectionInfo,
    engine: StartEngine,
    history: History,
    outside: mpsc::UnboundedReceiver<Outside>,
) -> Result<(), KernelError> {
    Ok(server::serve(info, kernel(engine, history), outside).await?)
}

/// The parts of the session that are used while it runs a cell; empty while the engine starts.
type Started = Arc<OnceLock<SharedSession>>;

/// The parts of a session that are shared with its thread.
struct SharedSession {
    assist: Arc<dyn Assist>,
    history: Arc<Mutex<History>>,
}

fn kernel(engine: StartEngine, history: History) -> Kernel {
    let started = Started::default();
    let (code, variables) = (Code(Arc::clone(&started)), Variables(Arc::clone(&started)));
    let cells = Box::new(move || {
        let session = Session::with_history(engine(), history);
        let _ = started.set(SharedSession { assist: session.assist(), history: session.history() });
        Box::new(Cells(session)) as Box<dyn CellHandler>
    });
    Kernel { info: info::kernel_info(), shell: Arc::new(code), comms: Arc::new(variables), cells }
}
