//! The Jupyter protocol: sockets, the order of messages, and the traits that a kernel implements to be served. It knows no
//! language, and nothing of the toolkit.
//!
//! ```text
//! shell, control ─▶ dispatch ─┬─ execute ─▶ shell queues ─▶ queue (one thread) ─▶ CellHandler
//!                             ├─ about code ─▶ ShellHandler, while a cell runs
//!                             ├─ comms ─▶ CommHandler
//!                             └─ the rest ─▶ ControlHandler, which is the dispatch itself
//! queue, dispatch ─▶ status ─▶ iopub (one task: order, merged text, pace)      queue ⇄ stdin
//! ```

mod comm;
mod connection;
mod dispatch;
mod handler;
mod iopub;
mod messages;
mod parent;
mod queue;
mod refusal;
mod replay;
mod serve;
mod shell_queues;
mod signature;
mod status;
mod stdin;
mod subshell;
mod usage;
mod wire;

pub use connection::{ConnectionError, read_connection_file};
pub use handler::{CellHandler, CommData, CommHandler, FrontEnd, Kernel, ShellHandler, StartCells};
pub use messages::{ExecuteRequest, HistoryRequest, IsCompleteRequest};
pub use refusal::Refusal;
pub use serve::{Outside, ServeError, run, serve};
pub(crate) use wire::PROTOCOL;
