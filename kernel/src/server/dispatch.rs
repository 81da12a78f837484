//! Shell and control: cells are queued, the rest is answered at once; the [state](super::status) says when each request is
//! busy and idle.

use std::sync::Arc;

use jupyter_protocol::{ConnectionInfo, JupyterMessageContent, ShutdownReply, ShutdownRequest};
use jupyter_zmq_client::{RouterRecvConnection, RouterSendConnection};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::comm::Comms;
use super::iopub::Iopub;
use super::queue::{Job, Queue, QueuedCell, Replies};
use super::replay::Replays;
use super::signature::Key;
use super::status::Statuses;
use super::subshell::Subshells;
use super::wire::{Outgoing, Received};
use super::{answers, wire};

/// A `delete_subshell_request`.
#[derive(Deserialize)]
struct DeleteSubshell {
    subshell_id: String,
}

/// What the shell and control channels share.
#[derive(Clone)]
pub(super) struct Dispatch {
    pub(super) info: Arc<ConnectionInfo>,
    pub(super) iopub: Iopub,
    pub(super) statuses: Statuses,
    pub(super) queue: Queue,
    pub(super) comms: Comms,
    pub(super) subshells: Subshells,
    pub(super) replays: Replays,
    /// Where a shutdown request goes, with what to do once everything else has stopped.
    pub(super) stop: mpsc::UnboundedSender<()>,
}

/// Starts the task that sends the replies of one channel. It ends when the last sender is gone.
pub(super) fn start_replies(
    mut socket: RouterSendConnection,
    key: Key,
    tasks: &mut JoinSet<()>,
) -> (Replies, oneshot::Receiver<()>) {
    let (replies, mut queued) = mpsc::unbounded_channel::<Outgoing>();
    let (done, finished) = oneshot::channel();
    tasks.spawn(async move {
        while let Some(reply) = queued.recv().await {
            // A client that went away misses its reply; the others must not.
            let _ = wire::send(&mut socket, &key, reply).await;
        }
        let _ = done.send(());
    });
    (replies, finished)
}

impl Dispatch {
    /// Reads one channel to its end.
    pub(super) async fn read(self, mut socket: RouterRecvConnection, replies: Replies) {
        loop {
            match wire::receive(&mut socket, &self.replays).await {
                Ok(received) => self.handle(received, &replies),
                Err(error) if wire::is_fatal(&error) => return,
                // A bad signature or frames that are no message: whoever sent them cannot be answered safely.
                Err(error) => wire::log(format_args!("a message is dropped: {error}")),
            }
        }
    }

    fn handle(&self, message: Received, replies: &Replies) {
        let msg_type = message.header.msg_type.as_str();
        if !self.subshells.has(message.subshell.as_deref()) {
            let why = format!("there is no subshell `{}`", message.subshell.as_deref().unwrap_or_default());
            return self.refuse(&message, replies, "SubshellNotFound", &why);
        }
        match msg_type {
            "execute_request" => self.execute(message, replies),
            _ if answers::is_about_code(msg_type) => self.answer_aside(message, replies.clone()),
            // The cell is told to stop before anything that might wait behind its output.
            "interrupt_request" => {
                self.queue.interrupt();
                self.answer(&message, replies, json!({"status": "ok"}));
            }
            "shutdown_request" => self.shutdown(&message, replies),
            "kernel_info_request" => self.answer(&message, replies, answers::kernel_info()),
            "connect_request" => self.answer(&message, replies, answers::connect(&self.info)),
            "create_subshell_request" => {
                self.answer(&message, replies, json!({"status": "ok", "subshell_id": self.subshells.create()}));
            }
            "list_subshell_request" => {
                self.answer(&message, replies, json!({"status": "ok", "subshell_id": self.subshells.list()}));
            }
            "delete_subshell_request" => self.delete_subshell(&message, replies),
            "comm_info_request" => match wire::content(&message, json!({})) {
                Ok(query) => self.reply(&message, replies, wire::child(self.comms.info(&query), &message)),
                Err(error) => self.refuse(&message, replies, "MalformedRequest", &error.to_string()),
            },
            "comm_open" | "comm_msg" | "comm_close" => {
                let assist = self.queue.handles_now().map(|handles| &*handles.assist);
                self.publish(&message, self.comms.handle(&message, assist));
            }
            _ if msg_type.ends_with("_request") => {
                self.refuse(
                    &message,
                    replies,
                    "UnsupportedRequest",
                    &format!("Chandlery does not answer `{msg_type}`"),
                );
            }
            _ => {
                wire::log(format_args!("a `{msg_type}` is no request, and is dropped"));
                self.publish(&message, Vec::new());
            }
        }
    }

    fn execute(&self, message: Received, replies: &Replies) {
        let usual = json!({"silent": false, "store_history": true, "allow_stdin": false, "stop_on_error": true});
        match wire::content(&message, usual) {
            Ok(request) => {
                let replies = replies.clone();
                self.queue.push(Job::Cell(Box::new(QueuedCell { message, request, replies })));
            }
            Err(error) => self.refuse(&message, replies, "MalformedRequest", &error.to_string()),
        }
    }

    fn delete_subshell(&self, message: &Received, replies: &Replies) {
        let asked = wire::content(message, json!({}));
        match asked.map(|DeleteSubshell { subshell_id }| (self.subshells.delete(&subshell_id), subshell_id)) {
            Ok((true, subshell)) => {
                self.queue.push(Job::Close { subshell });
                self.answer(message, replies, json!({"status": "ok"}));
            }
            Ok((false, id)) => {
                self.refuse(message, replies, "SubshellNotFound", &format!("there is no subshell `{id}`"))
            }
            Err(error) => self.refuse(message, replies, "MalformedRequest", &error.to_string()),
        }
    }

    /// Answers on a thread of its own, because the language service may take its time.
    fn answer_aside(&self, message: Received, replies: Replies) {
        let this = self.clone();
        tokio::task::spawn_blocking(move || match answers::about_code(&message, this.queue.handles()) {
            Ok(content) => this.reply(&message, &replies, wire::child(content, &message)),
            Err(error) => this.refuse(&message, &replies, "MalformedRequest", &error.to_string()),
        });
    }

    fn reply(&self, message: &Received, replies: &Replies, reply: Outgoing) {
        self.statuses.around(message, || {
            let _ = replies.send(reply);
        });
    }

    fn answer(&self, message: &Received, replies: &Replies, content: Value) {
        match wire::reply(message, content) {
            Some(reply) => self.reply(message, replies, reply),
            None => self.publish(message, Vec::new()),
        }
    }

    fn refuse(&self, message: &Received, replies: &Replies, name: &str, value: &str) {
        self.answer(message, replies, wire::refusal(name, value));
    }

    /// For messages without a reply: what the kernel has to say to them goes to iopub.
    fn publish(&self, message: &Received, contents: Vec<JupyterMessageContent>) {
        self.statuses.around(message, || {
            contents.into_iter().for_each(|content| self.iopub.send(wire::child(content, message)))
        });
    }

    /// Replies at once, so that no front end takes a slow end for a hanging kernel, and tells all readers.
    fn shutdown(&self, message: &Received, replies: &Replies) {
        let restart = wire::content(message, json!({"restart": false})).is_ok_and(|r: ShutdownRequest| r.restart);
        let reply = ShutdownReply { restart, ..Default::default() };
        self.statuses.around(message, || {
            let _ = replies.send(wire::child(reply.clone(), message));
            self.iopub.send(wire::child(reply, message));
        });
        let _ = self.stop.send(());
    }
}
