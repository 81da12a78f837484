//! Comms: channels that front ends open to the kernel, each with a target that says what it is for.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jupyter_protocol::{
    CommClose, CommId, CommInfo, CommInfoReply, CommInfoRequest, CommMsg, JupyterMessageContent, ReplyStatus,
};
use serde_json::Value;

use super::handler::{CommData, CommHandler};
use super::messages::{CommClosed, CommMessage, CommOpen};
use super::wire;
use crate::log::log;

/// The open comms; clones share them.
#[derive(Clone)]
pub(super) struct Comms {
    handler: Arc<dyn CommHandler>,
    /// The targets of the open comms, by their ids.
    open: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Comms {
    pub(super) fn new(handler: Arc<dyn CommHandler>) -> Self {
        Self { handler, open: Arc::default() }
    }

    fn open_comms(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Handles `comm_open`, `comm_msg` or `comm_close`. Returns what the kernel says to it on iopub.
    pub(super) fn handle(&self, msg_type: &str, content: &Value) -> Option<JupyterMessageContent> {
        let said = match msg_type {
            "comm_open" => wire::request(content).map(|message| Some(self.open(message))),
            "comm_msg" => wire::request(content).map(|message| Some(self.message(message))),
            _ => wire::request(content).map(|CommClosed { comm_id }| {
                self.open_comms().remove(&comm_id.0);
                None
            }),
        };
        said.unwrap_or_else(|error| {
            log(format_args!("a malformed {msg_type} is dropped: {error}"));
            None
        })
    }

    fn open(&self, CommOpen { comm_id, target_name, data }: CommOpen) -> JupyterMessageContent {
        let Some(first) = self.handler.open(&target_name, data) else {
            let reason = format!("Chandlery has no comm target `{target_name}`");
            return CommClose { comm_id, data: CommData::from_iter([("reason".to_owned(), reason.into())]) }.into();
        };
        self.open_comms().insert(comm_id.0.clone(), target_name);
        CommMsg { comm_id, data: first }.into()
    }

    fn message(&self, CommMessage { comm_id, data }: CommMessage) -> JupyterMessageContent {
        let target = self.open_comms().get(&comm_id.0).cloned();
        match target {
            Some(target) => CommMsg { comm_id, data: self.handler.message(&target, data) }.into(),
            // A front end that writes to a closed comm should learn that it is closed.
            None => CommClose { comm_id, data: CommData::new() }.into(),
        }
    }

    /// Returns what the open comms are told after a cell.
    pub(super) fn after_cell(&self) -> Vec<JupyterMessageContent> {
        let open = self.open_comms().clone();
        let told = open.into_iter().filter_map(|(id, target)| Some((CommId(id), self.handler.after_cell(&target)?)));
        told.map(|(comm_id, data)| CommMsg { comm_id, data }.into()).collect()
    }

    /// Closes all, when the kernel ends.
    pub(super) fn close_all(&self) -> Vec<JupyterMessageContent> {
        let closed = std::mem::take(&mut *self.open_comms());
        closed.into_keys().map(|id| CommClose { comm_id: CommId(id), data: CommData::new() }.into()).collect()
    }

    /// Lists the open comms of a target, or all.
    pub(super) fn info(&self, request: &CommInfoRequest) -> CommInfoReply {
        let wanted = |target: &str| request.target_name.as_deref().is_none_or(|name| name == target);
        let comms: HashMap<CommId, CommInfo> = self
            .open_comms()
            .iter()
            .filter(|(_, target)| wanted(target))
            .map(|(id, target)| (CommId(id.clone()), CommInfo { target_name: target.clone() }))
            .collect();
        CommInfoReply { status: ReplyStatus::Ok, comms, error: None }
    }
}
