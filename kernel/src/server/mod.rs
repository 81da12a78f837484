//! The Jupyter side: a [`Session`] that knows what running a cell means, and the ZeroMQ sockets in front of it.
//!
//! ```text
//! shell, control ─▶ dispatch ─┬─ execute ─▶ shell queues ─▶ queue (one thread, owns the Session) ─▶ Engine
//!                             └─ the rest ─▶ answers, while a cell runs
//! queue, answers ─▶ status ─▶ iopub (one task: order, merged text, pace)      queue ⇄ stdin
//! ```
//!
//! The headless runner uses [`Session`] with a front of its own and no sockets.

mod answers;
mod comm;
mod connection;
mod dispatch;
mod history;
mod history_file;
mod iopub;
mod parent;
mod position;
mod question;
mod queue;
mod replay;
mod serve;
mod session;
mod shell_queues;
mod signature;
mod status;
mod stdin;
mod subshell;
mod wire;

pub use answers::language_info;
pub use connection::{ConnectionError, read_connection_file};
pub use history::{Entry, History};
pub use serve::{Outside, ServeError, StartEngine, run_kernel, serve};
pub use session::{Execution, Front, Publication, Request, Session};
