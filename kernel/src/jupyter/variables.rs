//! The comm target `chandlery.variables`, which sends the variables after every cell, for a pane that shows them.

use serde::Serialize;
use serde_json::Value;

use super::Started;
use crate::engine::VariableSummary;
use crate::server::{CommData, CommHandler};

/// The target whose comms are sent the variables.
const TARGET: &str = "chandlery.variables";

/// Sends the variables.
pub(super) struct Variables(pub(super) Started);

/// The kernel's messages in these comms.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum VariablesMessage<'a> {
    /// The variables, by name.
    Variables(Vec<Variable<'a>>),
    /// An error in the front end's message.
    Error(&'a str),
}

/// One variable; its value is a few words, or null.
#[derive(Serialize)]
struct Variable<'a> {
    name: &'a str,
    r#type: &'a str,
    value: Option<&'a str>,
}

impl<'a> From<&'a VariableSummary> for Variable<'a> {
    fn from(VariableSummary { name, type_name, value }: &'a VariableSummary) -> Self {
        Self { name, r#type: type_name, value: value.as_deref() }
    }
}

impl VariablesMessage<'_> {
    fn data(&self) -> CommData {
        match serde_json::to_value(self) {
            Ok(Value::Object(data)) => data,
            _ => CommData::new(),
        }
    }
}

impl Variables {
    fn told(&self) -> CommData {
        let known = self.0.get().map(|session| session.assist.variables()).unwrap_or_default();
        VariablesMessage::Variables(known.iter().map(Variable::from).collect()).data()
    }
}

impl CommHandler for Variables {
    fn open(&self, target: &str, _data: CommData) -> Option<CommData> {
        (target == TARGET).then(|| self.told())
    }

    fn message(&self, _target: &str, data: CommData) -> CommData {
        match data.get("method").and_then(Value::as_str) {
            Some("refresh") => self.told(),
            _ => VariablesMessage::Error("the only method of this comm is `refresh`").data(),
        }
    }

    fn after_cell(&self, _target: &str) -> Option<CommData> {
        Some(self.told())
    }
}
