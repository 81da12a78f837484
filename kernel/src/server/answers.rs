//! Replies that do not need the engine's thread: they are given while a cell runs.

use jupyter_protocol::{
    CodeMirrorMode, CommClose, CommInfoReply, CommOpen, CompleteReply, CompleteRequest, HelpLink, InspectReply,
    InspectRequest, IsCompleteReply, IsCompleteRequest, JupyterMessage, JupyterMessageContent, KernelInfoReply,
    LanguageInfo, ReplyStatus,
};
use serde_json::{Map, json};

use super::history::HistoryQuery;
use super::queue::Handles;
use super::{position, wire};
use crate::engine::Completeness;

/// The reply to `kernel_info_request`.
pub(super) fn kernel_info() -> KernelInfoReply {
    let version = env!("CARGO_PKG_VERSION");
    KernelInfoReply {
        status: ReplyStatus::Ok,
        protocol_version: wire::PROTOCOL.to_owned(),
        implementation: "chandlery".to_owned(),
        implementation_version: version.to_owned(),
        language_info: LanguageInfo {
            name: "rust".to_owned(),
            version: env!("CARGO_PKG_RUST_VERSION").to_owned(),
            mimetype: Some("text/x-rust".to_owned()),
            file_extension: Some(".rs".to_owned()),
            pygments_lexer: Some("rust".to_owned()),
            codemirror_mode: Some(CodeMirrorMode::Simple("rust".to_owned())),
            nbconvert_exporter: Some("script".to_owned()),
        },
        banner: format!("Chandlery {version}: causal language models on candle, cell by cell"),
        help_links: vec![
            HelpLink { text: "candle".to_owned(), url: "https://docs.rs/candle-core".to_owned() },
            HelpLink { text: "Rust".to_owned(), url: "https://doc.rust-lang.org/std/".to_owned() },
        ],
        debugger: false,
        error: None,
    }
}

/// Whether [`about_code`] answers this kind of request.
pub(super) fn is_about_code(msg_type: &str) -> bool {
    matches!(msg_type, "complete_request" | "inspect_request" | "is_complete_request" | "history_request")
}

/// Completion, inspection, completeness and history. May take as long as the language service takes.
///
/// # Errors
/// What is wrong with the request's content.
pub(super) fn about_code(
    message: &JupyterMessage,
    handles: &Handles,
) -> Result<JupyterMessageContent, serde_json::Error> {
    Ok(match message.header.msg_type.as_str() {
        "complete_request" => complete(&wire::content(message, json!({}))?, handles).into(),
        "inspect_request" => inspect(&wire::content(message, json!({}))?, handles).into(),
        "is_complete_request" => is_complete(&wire::content(message, json!({}))?, handles).into(),
        _ => {
            let query: HistoryQuery = wire::content(message, json!({}))?;
            handles.history.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).answer(&query).into()
        }
    })
}

fn complete(request: &CompleteRequest, handles: &Handles) -> CompleteReply {
    let cursor = position::to_bytes(&request.code, request.cursor_pos);
    let found = handles.assist.complete(&request.code, cursor);
    let cursor_start = position::to_code_points(&request.code, found.start);
    let cursor_end = position::to_code_points(&request.code, found.end);
    let mut metadata = Map::new();
    if found.kinds.iter().any(|kind| !kind.is_empty()) {
        // Front ends show its types; JupyterLab takes the matches from it, so it lists all of them or is left out.
        let all = found.matches.iter().zip(found.kinds.iter().map(String::as_str));
        let all = all.map(|(text, kind)| json!({"text": text, "type": kind, "start": cursor_start, "end": cursor_end}));
        metadata.insert("_jupyter_types_experimental".to_owned(), all.collect());
    }
    CompleteReply { matches: found.matches, cursor_start, cursor_end, metadata, ..Default::default() }
}

fn inspect(request: &InspectRequest, handles: &Handles) -> InspectReply {
    let cursor = position::to_bytes(&request.code, request.cursor_pos);
    match handles.assist.inspect(&request.code, cursor) {
        Some(bundle) => InspectReply { found: true, data: wire::media(&bundle), ..Default::default() },
        None => InspectReply::default(),
    }
}

fn is_complete(request: &IsCompleteRequest, handles: &Handles) -> IsCompleteReply {
    match handles.assist.is_complete(&request.code) {
        Completeness::Complete => IsCompleteReply::complete(),
        Completeness::Incomplete(indent) => IsCompleteReply::incomplete(indent),
        Completeness::Invalid => IsCompleteReply::invalid(),
    }
}

/// No comm target is registered, so no comm is open.
pub(super) fn comm_info() -> CommInfoReply {
    CommInfoReply { status: ReplyStatus::Ok, comms: Default::default(), error: None }
}

/// What the protocol prescribes for a comm whose target the kernel does not know: close it.
pub(super) fn refuse_comm(message: &JupyterMessage) -> Option<CommClose> {
    let open: CommOpen = wire::content(message, json!({ "data": {} })).ok()?;
    Some(CommClose { comm_id: open.comm_id, data: Default::default() })
}

/// The language as notebooks name it in their metadata.
pub fn language_info() -> serde_json::Value {
    serde_json::to_value(kernel_info().language_info).unwrap_or_default()
}
