//! The contents of messages for which `jupyter_protocol` has no type, or one that asks for fields that front ends leave out.
//!
//! A field that is null counts as left out.

use std::collections::HashMap;

use jupyter_protocol::{CommId, ConnectionInfo, ReplyStatus};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::handler::CommData;

/// `execute_request`: runs a cell.
#[derive(Clone, Debug, Deserialize)]
pub struct ExecuteRequest {
    /// The source of the cell.
    pub code: String,
    /// Shows nothing and does not count.
    #[serde(default)]
    pub silent: bool,
    /// Counts the cell and keeps it in the history.
    #[serde(default = "yes")]
    pub store_history: bool,
    /// Expressions to evaluate after the cell, by the names that the reply gives their values.
    #[serde(default)]
    pub user_expressions: HashMap<String, String>,
    /// The front end can ask the user for a line.
    #[serde(default)]
    pub allow_stdin: bool,
    /// A failure aborts the cells that wait behind this one.
    #[serde(default = "yes")]
    pub stop_on_error: bool,
}

fn yes() -> bool {
    true
}

/// `is_complete_request`: asks whether code can run as it is.
#[derive(Clone, Debug, Deserialize)]
pub struct IsCompleteRequest {
    /// The code; `None` if it is not text. The reply has no status `error`: such code is of the status `unknown`.
    #[serde(default, deserialize_with = "text")]
    pub code: Option<String>,
}

fn text<'de, D: Deserializer<'de>>(field: D) -> Result<Option<String>, D::Error> {
    Value::deserialize(field).map(|value| value.as_str().map(str::to_owned))
}

/// `history_request`: asks for earlier cells. Front ends leave out what they do not need, so every field has a default.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct HistoryRequest {
    /// `range`, `search` or `tail`.
    pub hist_access_type: String,
    /// Asks for the results as well.
    pub output: bool,
    /// The session of a range: 0 is this one, -1 the one before.
    pub session: Option<i64>,
    /// The first cell of a range.
    pub start: Option<i64>,
    /// The cell behind the last one of a range.
    pub stop: Option<i64>,
    /// At most so many cells, the last ones.
    pub n: Option<usize>,
    /// What a search looks for: `*` matches any text, `?` any one character.
    pub pattern: Option<String>,
    /// Leaves out all but the last cell of the same source.
    pub unique: bool,
}

impl Default for HistoryRequest {
    fn default() -> Self {
        Self {
            hist_access_type: "tail".to_owned(),
            output: false,
            session: None,
            start: None,
            stop: None,
            n: None,
            pattern: None,
            unique: false,
        }
    }
}

/// `kernel_info_reply`, with the field that came with protocol 5.5.
#[derive(Clone, Debug, Serialize)]
pub(super) struct KernelInfoReply {
    #[serde(flatten)]
    pub(super) info: jupyter_protocol::KernelInfoReply,
    pub(super) supported_features: &'static [&'static str],
}

/// `connect_request`: asks for the ports of all sockets.
#[derive(Debug, Deserialize)]
pub(super) struct ConnectRequest {}

/// `connect_reply`.
#[derive(Debug, Serialize)]
pub(super) struct ConnectReply {
    status: ReplyStatus,
    shell_port: u16,
    iopub_port: u16,
    stdin_port: u16,
    control_port: u16,
    hb_port: u16,
}

impl From<&ConnectionInfo> for ConnectReply {
    fn from(info: &ConnectionInfo) -> Self {
        Self {
            status: ReplyStatus::Ok,
            shell_port: info.shell_port,
            iopub_port: info.iopub_port,
            stdin_port: info.stdin_port,
            control_port: info.control_port,
            hb_port: info.hb_port,
        }
    }
}

/// `shutdown_request`: ends the kernel, whatever else it says.
#[derive(Debug, Deserialize)]
pub(super) struct ShutdownRequest {
    /// The front end starts the kernel again.
    #[serde(default, deserialize_with = "truth")]
    pub(super) restart: bool,
}

fn truth<'de, D: Deserializer<'de>>(field: D) -> Result<bool, D::Error> {
    Value::deserialize(field).map(|value| value == true)
}

/// `create_subshell_request`: opens a subshell.
#[derive(Debug, Deserialize)]
pub(super) struct CreateSubshellRequest {}

/// `create_subshell_reply`.
#[derive(Debug, Serialize)]
pub(super) struct CreateSubshellReply {
    pub(super) status: ReplyStatus,
    pub(super) subshell_id: String,
}

/// `list_subshell_request`: asks for the open subshells.
#[derive(Debug, Deserialize)]
pub(super) struct ListSubshellRequest {}

/// `list_subshell_reply`.
#[derive(Debug, Serialize)]
pub(super) struct ListSubshellReply {
    pub(super) status: ReplyStatus,
    pub(super) subshell_id: Vec<String>,
}

/// `delete_subshell_request`: closes a subshell.
#[derive(Debug, Deserialize)]
pub(super) struct DeleteSubshellRequest {
    pub(super) subshell_id: String,
}

/// `delete_subshell_reply`.
#[derive(Debug, Serialize)]
pub(super) struct DeleteSubshellReply {
    pub(super) status: ReplyStatus,
}

/// `usage_request`: asks what the kernel and the machine use. It is ipykernel's, and what resource monitors of front ends send.
#[derive(Debug, Deserialize)]
pub(super) struct UsageRequest {}

/// `usage_reply`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct UsageReply {
    pub(super) status: ReplyStatus,
    pub(super) hostname: String,
    /// The process that serves.
    pub(super) pid: u32,
    /// Percent of one processor that the kernel's processes use, since the last request.
    pub(super) kernel_cpu: f32,
    /// Bytes of memory of the kernel's processes.
    pub(super) kernel_memory: u64,
    pub(super) cpu_count: usize,
    /// Percent of all processors that all processes use, since the last request.
    pub(super) host_cpu_percent: f32,
    pub(super) host_virtual_memory: HostMemory,
}

/// The machine's memory in bytes, by psutil's names.
#[derive(Clone, Debug, Serialize)]
pub(super) struct HostMemory {
    pub(super) total: u64,
    pub(super) available: u64,
    pub(super) used: u64,
    pub(super) free: u64,
    /// The part that is not available, in percent.
    pub(super) percent: f64,
}

/// `comm_open`: a front end opens a comm.
#[derive(Debug, Deserialize)]
pub(super) struct CommOpen {
    pub(super) comm_id: CommId,
    pub(super) target_name: String,
    #[serde(default)]
    pub(super) data: CommData,
}

/// `comm_msg`: a front end says something in a comm.
#[derive(Debug, Deserialize)]
pub(super) struct CommMessage {
    pub(super) comm_id: CommId,
    #[serde(default)]
    pub(super) data: CommData,
}

/// `comm_close`: a front end closes a comm.
#[derive(Debug, Deserialize)]
pub(super) struct CommClosed {
    pub(super) comm_id: CommId,
}
