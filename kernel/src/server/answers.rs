//! Replies that do not need the engine's thread: they are given while a cell runs.

use jupyter_protocol::{
    CodeMirrorMode, CompleteReply, CompleteRequest, ConnectionInfo, InspectReply, InspectRequest, IsCompleteReply,
    IsCompleteRequest, JupyterMessage, JupyterMessageContent, LanguageInfo, ReplyStatus,
};
use serde_json::{Map, Value, json};

use super::history::HistoryQuery;
use super::queue::Handles;
use super::{position, question, wire};
use crate::engine::Completeness;
use crate::toolkit::BUILT_WITH;

/// The content of the reply to `kernel_info_request`, which also names features that came with protocol 5.5.
pub(super) fn kernel_info() -> Value {
    let version = env!("CARGO_PKG_VERSION");
    json!({
        "status": ReplyStatus::Ok,
        "protocol_version": wire::PROTOCOL,
        "implementation": "chandlery",
        "implementation_version": version,
        "language_info": language(),
        "banner": format!("Chandlery {version}: causal language models on candle, cell by cell"),
        "help_links": [
            {"text": "The Rust standard library", "url": "https://doc.rust-lang.org/std/"},
            {"text": "The Rust book", "url": "https://doc.rust-lang.org/book/"},
            {"text": "candle: tensors and layers", "url": "https://docs.rs/candle-core"},
            {"text": "polars: data frames", "url": "https://docs.rs/polars"},
        ],
        "debugger": false,
        "supported_features": ["kernel subshells"],
    })
}

fn language() -> LanguageInfo {
    // "rustc 1.95.0 (59807616e 2026-04-14)": the only compiler whose cells fit this library.
    let version = BUILT_WITH.split(' ').nth(1).unwrap_or(env!("CARGO_PKG_RUST_VERSION"));
    LanguageInfo {
        name: "rust".to_owned(),
        version: version.to_owned(),
        mimetype: Some("text/x-rust".to_owned()),
        file_extension: Some(".rs".to_owned()),
        pygments_lexer: Some("rust".to_owned()),
        codemirror_mode: Some(CodeMirrorMode::Simple("rust".to_owned())),
        nbconvert_exporter: Some("script".to_owned()),
    }
}

/// The content of the reply to `connect_request`, by which old front ends find the other sockets.
pub(super) fn connect(info: &ConnectionInfo) -> Value {
    json!({
        "status": ReplyStatus::Ok,
        "shell_port": info.shell_port,
        "iopub_port": info.iopub_port,
        "stdin_port": info.stdin_port,
        "control_port": info.control_port,
        "hb_port": info.hb_port,
    })
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
        // This reply has no status "error": what cannot be understood is unknown.
        "is_complete_request" => wire::content(message, json!({}))
            .map_or_else(|_| IsCompleteReply::unknown(), |request| is_complete(&request, handles))
            .into(),
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
    if question::subject(&request.code).is_some() {
        return IsCompleteReply::complete();
    }
    match handles.assist.is_complete(&request.code) {
        Completeness::Complete => IsCompleteReply::complete(),
        Completeness::Incomplete(indent) => IsCompleteReply::incomplete(indent),
        Completeness::Invalid => IsCompleteReply::invalid(),
    }
}

/// The language as notebooks name it in their metadata.
pub fn language_info() -> Value {
    serde_json::to_value(language()).unwrap_or_default()
}
