//! Comms: channels that front ends open to the kernel. The target `chandlery.variables` tells the variables after
//! every cell, for a pane that shows them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jupyter_protocol::{
    CommClose, CommId, CommInfo, CommInfoReply, CommMsg, CommOpen, JupyterMessage, JupyterMessageContent, ReplyStatus,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::wire;
use crate::engine::Assist;

/// The target whose comms are told the variables.
pub(super) const VARIABLES: &str = "chandlery.variables";

/// The open comms and their targets.
#[derive(Clone, Default)]
pub(super) struct Comms(Arc<Mutex<BTreeMap<String, String>>>);

/// A `comm_info_request`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct InfoQuery {
    target_name: Option<String>,
}

impl Comms {
    fn open_comms(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Handles `comm_open`, `comm_msg` or `comm_close`: what the kernel has to say to it, on iopub.
    pub(super) fn handle(&self, message: &JupyterMessage, assist: Option<&dyn Assist>) -> Vec<JupyterMessageContent> {
        let given = match message.header.msg_type.as_str() {
            "comm_open" => self.open(message, assist),
            "comm_msg" => self.told(message, assist),
            _ => wire::content(message, json!({"data": {}})).map(|CommClose { comm_id, .. }| {
                self.open_comms().remove(&comm_id.0);
                Vec::new()
            }),
        };
        given.unwrap_or_else(|error| {
            wire::log(format_args!("a {} without sense: {error}", message.header.msg_type));
            Vec::new()
        })
    }

    fn open(
        &self,
        message: &JupyterMessage,
        assist: Option<&dyn Assist>,
    ) -> Result<Vec<JupyterMessageContent>, serde_json::Error> {
        let CommOpen { comm_id, target_name, .. } = wire::content(message, json!({"data": {}}))?;
        if target_name != VARIABLES {
            let mut why = Map::new();
            why.insert("reason".to_owned(), format!("Chandlery has no comm target `{target_name}`").into());
            return Ok(vec![CommClose { comm_id, data: why }.into()]);
        }
        self.open_comms().insert(comm_id.0.clone(), target_name);
        Ok(vec![says(&comm_id.0, variables(assist))])
    }

    fn told(
        &self,
        message: &JupyterMessage,
        assist: Option<&dyn Assist>,
    ) -> Result<Vec<JupyterMessageContent>, serde_json::Error> {
        let CommMsg { comm_id, data } = wire::content(message, json!({"data": {}}))?;
        if !self.open_comms().contains_key(&comm_id.0) {
            // Whoever speaks into a comm that is closed should know that it is.
            return Ok(vec![CommClose { comm_id, data: Map::new() }.into()]);
        }
        let answer = match data.get("method").and_then(Value::as_str) {
            Some("refresh") => variables(assist),
            _ => json!({"error": "the one method of this comm is `refresh`"}),
        };
        Ok(vec![says(&comm_id.0, answer)])
    }

    /// What every open comm is told after a cell.
    pub(super) fn after_cell(&self, assist: &dyn Assist) -> Vec<JupyterMessageContent> {
        let ids: Vec<String> = self.open_comms().keys().cloned().collect();
        ids.iter().map(|id| says(id, variables(Some(assist)))).collect()
    }

    /// Closes all, when the kernel ends.
    pub(super) fn close_all(&self) -> Vec<JupyterMessageContent> {
        let closed = std::mem::take(&mut *self.open_comms());
        closed.into_keys().map(|id| CommClose { comm_id: CommId(id), data: Map::new() }.into()).collect()
    }

    /// The open comms of a target, or all.
    pub(super) fn info(&self, query: &InfoQuery) -> CommInfoReply {
        let wanted = |target: &str| query.target_name.as_deref().is_none_or(|name| name == target);
        let comms: HashMap<CommId, CommInfo> = self
            .open_comms()
            .iter()
            .filter(|(_, target)| wanted(target))
            .map(|(id, target)| (CommId(id.clone()), CommInfo { target_name: target.clone() }))
            .collect();
        CommInfoReply { status: ReplyStatus::Ok, comms, error: None }
    }
}

fn says(comm: &str, data: Value) -> JupyterMessageContent {
    let Value::Object(data) = data else { unreachable!("comm data is made as an object") };
    CommMsg { comm_id: CommId(comm.to_owned()), data }.into()
}

/// `{"variables": [{"name", "type", "value"}]}`, by name; the value is a few words, or null.
fn variables(assist: Option<&dyn Assist>) -> Value {
    let known = assist.map(Assist::variables).unwrap_or_default();
    let one = |variable: &crate::engine::VariableSummary| json!({"name": variable.name, "type": variable.type_name, "value": variable.value});
    json!({"variables": known.iter().map(one).collect::<Vec<_>>()})
}
