//! Shell and control: every request gets busy, an answer and idle; cells are queued, the rest is answered at once.

use jupyter_protocol::{
    ExecutionState, InterruptReply, JupyterMessage, JupyterMessageContent, ShutdownReply, ShutdownRequest,
};
use jupyter_zmq_client::{RouterRecvConnection, RouterSendConnection};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::iopub::Iopub;
use super::queue::{Job, Queue, Replies};
use super::{answers, wire};

/// What the shell and control channels share.
#[derive(Clone)]
pub(super) struct Dispatch {
    pub(super) iopub: Iopub,
    pub(super) queue: Queue,
    /// Where a shutdown request goes, with what to do once everything else has stopped.
    pub(super) stop: mpsc::UnboundedSender<()>,
}

/// Starts the task that sends the replies of one channel. It ends when the last sender is gone.
pub(super) fn start_replies(mut socket: RouterSendConnection) -> (Replies, oneshot::Receiver<()>) {
    let (replies, mut queued) = mpsc::unbounded_channel::<JupyterMessage>();
    let (done, finished) = oneshot::channel();
    tokio::spawn(async move {
        while let Some(reply) = queued.recv().await {
            // A client that went away misses its reply; the others must not.
            let _ = socket.send(reply).await;
        }
        let _ = done.send(());
    });
    (replies, finished)
}

impl Dispatch {
    /// Reads one channel to its end.
    pub(super) async fn read(self, mut socket: RouterRecvConnection, replies: Replies) {
        loop {
            match wire::receive(&mut socket).await {
                Ok(message) => self.handle(message, &replies),
                Err(error) if wire::is_fatal(&error) => return,
                // A bad signature or frames that are no message: whoever sent them cannot be answered safely.
                Err(_) => {}
            }
        }
    }

    fn handle(&self, message: JupyterMessage, replies: &Replies) {
        let msg_type = message.header.msg_type.as_str();
        match msg_type {
            "execute_request" => self.execute(message, replies),
            _ if answers::is_about_code(msg_type) => self.answer_aside(message, replies.clone()),
            // The cell is told to stop before anything that might wait behind its output.
            "interrupt_request" => {
                self.queue.interrupt();
                self.answer(&message, replies, Some(InterruptReply::new().into()));
            }
            "shutdown_request" => self.shutdown(&message, replies),
            "kernel_info_request" => self.answer(&message, replies, Some(answers::kernel_info().into())),
            "comm_info_request" => self.answer(&message, replies, Some(answers::comm_info().into())),
            "comm_open" => self.published(&message, answers::refuse_comm(&message).map(Into::into)),
            "comm_msg" | "comm_close" => self.published(&message, None),
            _ => {
                self.refuse(&message, replies, "UnsupportedRequest", &format!("Chandlery does not answer `{msg_type}`"))
            }
        }
    }

    fn execute(&self, message: JupyterMessage, replies: &Replies) {
        let usual = json!({"silent": false, "store_history": true, "allow_stdin": false, "stop_on_error": true});
        match wire::content(&message, usual) {
            Ok(request) => {
                self.queue.push(Job::Execute { message: Box::new(message), request, replies: replies.clone() })
            }
            Err(error) => self.refuse(&message, replies, "MalformedRequest", &error.to_string()),
        }
    }

    /// Answers on a thread of its own, because the language service may take its time.
    fn answer_aside(&self, message: JupyterMessage, replies: Replies) {
        let this = self.clone();
        tokio::task::spawn_blocking(move || match answers::about_code(&message, this.queue.handles()) {
            Ok(content) => this.answer(&message, &replies, Some(content)),
            Err(error) => this.refuse(&message, &replies, "MalformedRequest", &error.to_string()),
        });
    }

    fn answer(&self, message: &JupyterMessage, replies: &Replies, content: Option<JupyterMessageContent>) {
        self.iopub.send(wire::status(ExecutionState::Busy, message));
        if let Some(content) = content {
            let _ = replies.send(wire::child(content, message));
        }
        self.iopub.send(wire::status(ExecutionState::Idle, message));
    }

    fn refuse(&self, message: &JupyterMessage, replies: &Replies, name: &str, value: &str) {
        self.iopub.send(wire::status(ExecutionState::Busy, message));
        let _ = replies.send(wire::refusal(message, name, value));
        self.iopub.send(wire::status(ExecutionState::Idle, message));
    }

    /// Comm messages have no reply; what the kernel has to say to them goes to iopub.
    fn published(&self, message: &JupyterMessage, content: Option<JupyterMessageContent>) {
        self.iopub.send(wire::status(ExecutionState::Busy, message));
        if let Some(content) = content {
            self.iopub.send(wire::child(content, message));
        }
        self.iopub.send(wire::status(ExecutionState::Idle, message));
    }

    /// Replies at once, so that no front end takes a slow end for a hanging kernel, and tells all readers.
    fn shutdown(&self, message: &JupyterMessage, replies: &Replies) {
        let restart = wire::content(message, json!({"restart": false})).is_ok_and(|r: ShutdownRequest| r.restart);
        let reply = ShutdownReply { restart, ..Default::default() };
        self.iopub.send(wire::status(ExecutionState::Busy, message));
        let _ = replies.send(wire::child(reply.clone(), message));
        self.iopub.send(wire::child(reply, message));
        self.iopub.send(wire::status(ExecutionState::Idle, message));
        let _ = self.stop.send(());
    }
}
