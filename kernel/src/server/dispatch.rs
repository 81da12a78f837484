//! The shell and control channels: cells are queued, everything else is answered at once. The [status](super::status) module
//! publishes when each request is busy and idle.

use std::sync::Arc;

use jupyter_protocol::{
    CommInfoReply, CommInfoRequest, ConnectionInfo, InterruptReply, InterruptRequest, JupyterMessageContent,
    KernelInfoRequest, ReplyStatus, ShutdownReply,
};
use jupyter_zmq_client::{RouterRecvConnection, RouterSendConnection};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::comm::Comms;
use super::handler::{ControlHandler, MonitorHandler, ShellHandler};
use super::iopub::Iopub;
use super::messages::{
    ConnectReply, ConnectRequest, CreateSubshellReply, CreateSubshellRequest, DeleteSubshellReply,
    DeleteSubshellRequest, KernelInfoReply, ListSubshellReply, ListSubshellRequest, ShutdownRequest,
};
use super::queue::{Job, Queue, QueuedCell, Replies};
use super::refusal::Refusal;
use super::replay::Replays;
use super::signature::SigningKey;
use super::status::Statuses;
use super::subshell::Subshells;
use super::usage::UsageMeter;
use super::wire;
use super::wire::{Outgoing, Received};
use crate::log::log;

/// The features of protocol 5.5 that this server has.
const FEATURES: &[&str] = &["kernel subshells"];

/// What the shell and control channels share.
#[derive(Clone)]
pub(super) struct Dispatch {
    pub(super) connection: Arc<ConnectionInfo>,
    pub(super) info: Arc<jupyter_protocol::KernelInfoReply>,
    pub(super) shell: Arc<dyn ShellHandler>,
    pub(super) iopub: Iopub,
    pub(super) statuses: Statuses,
    pub(super) queue: Queue,
    pub(super) comms: Comms,
    pub(super) subshells: Subshells,
    pub(super) replays: Replays,
    pub(super) usage: Arc<UsageMeter>,
    /// Receives a message when the kernel is to stop.
    pub(super) stop: mpsc::UnboundedSender<()>,
}

/// Starts the task that sends the replies of one channel. It ends when the last sender is gone.
pub(super) fn start_replies(
    mut socket: RouterSendConnection,
    key: SigningKey,
    tasks: &mut JoinSet<()>,
) -> (Replies, oneshot::Receiver<()>) {
    let (replies, mut queued) = mpsc::unbounded_channel::<Outgoing>();
    let (done, finished) = oneshot::channel();
    tasks.spawn(async move {
        while let Some(reply) = queued.recv().await {
            // A client that is gone misses its reply; the other clients must not.
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
                // A bad signature, or frames that are not a message: there is no safe way to answer.
                Err(error) => log(format_args!("a message is dropped: {error}")),
            }
        }
    }

    fn handle(&self, message: Received, replies: &Replies) {
        let msg_type = message.header.msg_type.as_str();
        if !self.subshells.has(message.subshell.as_deref()) {
            let named = message.subshell.clone().unwrap_or_default();
            return self.reply(&message, replies, Err(Refusal::SubshellNotFound(named)));
        }
        match msg_type {
            "execute_request" => self.execute(message, replies),
            "shutdown_request" => self.shutdown(&message, replies),
            "comm_open" | "comm_msg" | "comm_close" => {
                self.publish(&message, self.comms.handle(msg_type, message.content()));
            }
            _ if <dyn ShellHandler>::answers(msg_type) => {
                self.answer_aside(message, replies, |this, message| {
                    this.shell.answer(&message.header.msg_type, message.content())
                });
            }
            _ if <dyn MonitorHandler>::answers(msg_type) => {
                self.answer_aside(message, replies, |this, message| {
                    let monitor: &dyn MonitorHandler = &*this.usage;
                    monitor.answer(&message.header.msg_type, message.content())
                });
            }
            _ if <dyn ControlHandler>::answers(msg_type) => self.reply(&message, replies, self.answer(&message)),
            _ if msg_type.ends_with("_request") => {
                let refusal = Refusal::Unsupported(msg_type.to_owned());
                self.reply(&message, replies, Err(refusal));
            }
            _ => {
                log(format_args!("a `{msg_type}` is not a request, and is dropped"));
                self.publish(&message, None);
            }
        }
    }

    fn execute(&self, message: Received, replies: &Replies) {
        match wire::request(message.content()) {
            Ok(request) => {
                let replies = replies.clone();
                self.queue.push(Job::Cell(Box::new(QueuedCell { message, request, replies })));
            }
            Err(error) => self.reply(&message, replies, Err(Refusal::Malformed(error))),
        }
    }

    fn answer(&self, message: &Received) -> Result<Value, Refusal> {
        let handler: &dyn ControlHandler = self;
        handler.answer(&message.header.msg_type, message.content())
    }

    /// Answers on a thread of its own, because the language service, for example, may take its time.
    fn answer_aside(
        &self,
        message: Received,
        replies: &Replies,
        answer: fn(&Self, &Received) -> Result<Value, Refusal>,
    ) {
        let (this, replies) = (self.clone(), replies.clone());
        tokio::task::spawn_blocking(move || {
            let content = answer(&this, &message);
            this.reply(&message, &replies, content);
        });
    }

    fn reply(&self, message: &Received, replies: &Replies, content: Result<Value, Refusal>) {
        match wire::reply(message, content_of(content)) {
            Some(reply) => self.statuses.around(message, || {
                let _ = replies.send(reply);
            }),
            None => self.publish(message, None),
        }
    }

    /// Publishes the answer to a message that does not have a reply.
    fn publish(&self, message: &Received, content: Option<JupyterMessageContent>) {
        self.statuses
            .around(message, || content.into_iter().for_each(|content| self.iopub.send(wire::child(content, message))));
    }

    /// Replies at once, so that no front end mistakes a slow shutdown for a kernel that hangs, and tells all readers.
    fn shutdown(&self, message: &Received, replies: &Replies) {
        let content = content_of(self.answer(message));
        self.statuses.around(message, || {
            if let Some(reply) = wire::reply(message, content.clone()) {
                let _ = replies.send(reply);
            }
            let _ = wire::reply(message, content).map(|reply| self.iopub.send(reply));
        });
        let _ = self.stop.send(());
    }
}

/// Returns the content of a reply, or of one that says why the request was refused.
fn content_of(answer: Result<Value, Refusal>) -> Value {
    answer.unwrap_or_else(|refusal| wire::to_value(&refusal.reply()).unwrap_or_default())
}

impl ControlHandler for Dispatch {
    fn kernel_info(&self, _request: KernelInfoRequest) -> Result<KernelInfoReply, Refusal> {
        Ok(KernelInfoReply { info: (*self.info).clone(), supported_features: FEATURES })
    }

    fn connect(&self, _request: ConnectRequest) -> Result<ConnectReply, Refusal> {
        Ok(ConnectReply::from(&*self.connection))
    }

    fn interrupt(&self, _request: InterruptRequest) -> Result<InterruptReply, Refusal> {
        // The cell is told to stop before anything that might wait behind its output.
        self.queue.interrupt();
        Ok(InterruptReply::new())
    }

    fn shutdown(&self, request: ShutdownRequest) -> Result<ShutdownReply, Refusal> {
        Ok(ShutdownReply { restart: request.restart, ..Default::default() })
    }

    fn create_subshell(&self, _request: CreateSubshellRequest) -> Result<CreateSubshellReply, Refusal> {
        Ok(CreateSubshellReply { status: ReplyStatus::Ok, subshell_id: self.subshells.create() })
    }

    fn list_subshell(&self, _request: ListSubshellRequest) -> Result<ListSubshellReply, Refusal> {
        Ok(ListSubshellReply { status: ReplyStatus::Ok, subshell_id: self.subshells.list() })
    }

    fn delete_subshell(
        &self,
        DeleteSubshellRequest { subshell_id: subshell }: DeleteSubshellRequest,
    ) -> Result<DeleteSubshellReply, Refusal> {
        if !self.subshells.delete(&subshell) {
            return Err(Refusal::SubshellNotFound(subshell));
        }
        self.queue.push(Job::Close { subshell });
        Ok(DeleteSubshellReply { status: ReplyStatus::Ok })
    }

    fn comm_info(&self, request: CommInfoRequest) -> Result<CommInfoReply, Refusal> {
        Ok(self.comms.info(&request))
    }
}
