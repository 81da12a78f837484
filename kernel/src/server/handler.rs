//! What a kernel implements to be served: a method for each message of Jupyter's protocol, with typed requests and replies.
//!
//! To add a request: a pair of structs in [`messages`](super::messages), a method in one of the traits that [`handler!`] declares
//! here, and its implementation. The method's name is the message's, without `_request`.

use std::sync::Arc;
use std::time::Duration;

use jupyter_protocol::{
    CommInfoReply, CommInfoRequest, CompleteReply, CompleteRequest, ExecuteReply, HistoryReply, InspectReply,
    InspectRequest, InterruptReply, InterruptRequest, IsCompleteReply, JupyterMessageContent, KernelInfoRequest,
    ShutdownReply,
};
use serde_json::{Map, Value};

use super::messages::{
    ConnectReply, ConnectRequest, CreateSubshellReply, CreateSubshellRequest, DeleteSubshellReply,
    DeleteSubshellRequest, ExecuteRequest, HistoryRequest, IsCompleteRequest, KernelInfoReply, ListSubshellReply,
    ListSubshellRequest, ShutdownRequest, UsageReply, UsageRequest,
};
use super::refusal::Refusal;
use super::wire;

/// Declares a trait with a method for each request, and the function that calls the method for a message.
macro_rules! handler {
    (
        $(#[$about:meta])*
        $vis:vis trait $name:ident {
            $($(#[$doc:meta])* fn $method:ident(&self, $request:ty) -> $reply:ty;)*
        }
    ) => {
        $(#[$about])*
        $vis trait $name: Send + Sync {
            $($(#[$doc])* fn $method(&self, request: $request) -> Result<$reply, Refusal>;)*
        }

        impl dyn $name {
            /// Returns whether a method of this trait answers this type of message.
            pub(super) fn answers(msg_type: &str) -> bool {
                [$(concat!(stringify!($method), "_request")),*].contains(&msg_type)
            }

            /// Returns the content of the reply to a message.
            ///
            /// # Errors
            /// The method's [`Refusal`], or one for malformed content or a message that no method answers.
            pub(super) fn answer(&self, msg_type: &str, content: &Value) -> Result<Value, Refusal> {
                match msg_type {
                    $(concat!(stringify!($method), "_request") => {
                        wire::to_value(&self.$method(wire::request::<$request>(content)?)?)
                    })*
                    _ => Err(Refusal::Unsupported(msg_type.to_owned())),
                }
            }
        }
    };
}

handler! {
    /// Answers requests on a thread of their own, while a cell runs: they may take as long as the language service takes.
    pub trait ShellHandler {
        /// Returns completions at a position in code.
        fn complete(&self, CompleteRequest) -> CompleteReply;
        /// Returns what is known about the name at a position in code.
        fn inspect(&self, InspectRequest) -> InspectReply;
        /// Returns whether code is complete.
        fn is_complete(&self, IsCompleteRequest) -> IsCompleteReply;
        /// Returns cells of this and earlier sessions.
        fn history(&self, HistoryRequest) -> HistoryReply;
    }
}

handler! {
    /// Answers requests at once, in the order in which they come.
    pub(super) trait ControlHandler {
        /// Describes the kernel.
        fn kernel_info(&self, KernelInfoRequest) -> KernelInfoReply;
        /// Returns the ports of all sockets, for old front ends.
        fn connect(&self, ConnectRequest) -> ConnectReply;
        /// Asks the running cell to stop.
        fn interrupt(&self, InterruptRequest) -> InterruptReply;
        /// Announces the end of the kernel, which follows the reply.
        fn shutdown(&self, ShutdownRequest) -> ShutdownReply;
        /// Opens a subshell.
        fn create_subshell(&self, CreateSubshellRequest) -> CreateSubshellReply;
        /// Lists the open subshells.
        fn list_subshell(&self, ListSubshellRequest) -> ListSubshellReply;
        /// Closes a subshell.
        fn delete_subshell(&self, DeleteSubshellRequest) -> DeleteSubshellReply;
        /// Lists the open comms.
        fn comm_info(&self, CommInfoRequest) -> CommInfoReply;
    }
}

handler! {
    /// Measures the machine, on a thread of its own: that reads every process of the machine, and an interrupt must not wait for it.
    pub(super) trait MonitorHandler {
        /// Measures what the kernel and the machine use.
        fn usage(&self, UsageRequest) -> UsageReply;
    }
}

/// Runs cells, one at a time, on the thread that started it.
pub trait CellHandler {
    /// Runs a cell to its end. Everything it shows has been published when this returns.
    fn execute(&mut self, request: &ExecuteRequest, front: &mut dyn FrontEnd) -> ExecuteReply;
    /// Publishes output since the end of the last cell, such as from threads that it left running.
    fn between(&mut self, front: &mut dyn FrontEnd);
    /// Returns a function that stops the running cell, from any thread.
    fn interrupter(&self) -> Arc<dyn Fn() + Send + Sync>;
    /// Ends the processes that run cells, within about `limit`. What that shows goes to the front end of the last cell.
    fn end(&mut self, limit: Duration, front: Option<&mut dyn FrontEnd>);
}

/// The front end that asked for a cell, as the cell sees it.
pub trait FrontEnd {
    /// Sends a message to all readers of iopub.
    fn publish(&mut self, content: JupyterMessageContent, metadata: Map<String, Value>);
    /// Asks the user for a line on stdin; `None` if nobody can be asked, or the user interrupted the cell.
    fn input(&mut self, prompt: &str, password: bool) -> Option<String>;
}

/// Data of a comm's message.
pub type CommData = Map<String, Value>;

/// Speaks for the kernel in comms, which front ends open.
pub trait CommHandler: Send + Sync {
    /// `comm_open`: returns the data that the kernel says first; `None` if it does not have this target; the comm is then closed.
    fn open(&self, target: &str, data: CommData) -> Option<CommData>;
    /// `comm_msg`: returns the data of the answer.
    fn message(&self, target: &str, data: CommData) -> CommData;
    /// Returns the data that an open comm is told after a cell, if any.
    fn after_cell(&self, target: &str) -> Option<CommData>;
}

/// Starts what runs cells, on the thread that will run them.
pub type StartCells = Box<dyn FnOnce() -> Box<dyn CellHandler> + Send>;

/// A kernel as the server sees it.
pub struct Kernel {
    /// The reply to `kernel_info_request`; the server adds what it supports itself.
    pub info: jupyter_protocol::KernelInfoReply,
    /// Answers questions about code and history.
    pub shell: Arc<dyn ShellHandler>,
    /// Speaks in comms.
    pub comms: Arc<dyn CommHandler>,
    /// Starts what runs cells.
    pub cells: StartCells,
}
