//! Converts the output of engines and sessions to the contents of messages.

use jupyter_protocol::{
    ClearOutput, DisplayData, ErrorOutput, ExecuteInput, ExecuteResult, ExecutionCount, ExpressionResult,
    JupyterMessageContent, Media, MediaType, Stdio, StreamContent, Transient, UpdateDisplayData,
};
use serde_json::{Map, Value};

use chandlery::display::MimeBundle;

use crate::engine::{Event, Outcome, Stream};
use crate::session::Publication;

/// Converts a bundle with every form unchanged: the typed forms of [`MediaType`] would parse and reformat some.
pub(super) fn media(bundle: &MimeBundle) -> Media {
    Media::new(bundle.forms().iter().map(|(mime, value)| MediaType::Other((mime.clone(), value.clone()))).collect())
}

/// Converts the answer to one of a request's `user_expressions`.
pub(super) fn expression(value: Result<Option<MimeBundle>, Outcome>) -> ExpressionResult {
    if let Err(Outcome::Error { name, value, traceback, .. }) = value {
        return ExpressionResult::Error { ename: name, evalue: value, traceback };
    }
    let data = value.ok().flatten().map_or_else(|| Media::new(Vec::new()), |bundle| media(&bundle));
    ExpressionResult::Ok { data, metadata: Map::new() }
}

/// Converts a session's publication to iopub content.
pub(super) fn publication(publication: Publication) -> JupyterMessageContent {
    match publication {
        Publication::Started { code, number } => {
            ExecuteInput { code, execution_count: ExecutionCount::new(number as usize) }.into()
        }
        Publication::Shown { event, number } => shown(event, number),
        Publication::Failed { name, value, traceback, .. } => {
            ErrorOutput { ename: name, evalue: value, traceback }.into()
        }
    }
}

/// Returns the metadata of a publication's message: what an error says, as fields. The content of an error has no place for them.
pub(super) fn metadata(publication: &Publication) -> Map<String, Value> {
    match publication {
        Publication::Failed { name, diagnostic: Some(diagnostic), .. } => {
            let mut report = diagnostic.report(name);
            report["kind"] = "error".into();
            report["type"] = name.as_str().into();
            Map::from_iter([("application/vnd.chandlery.error+json".to_owned(), report)])
        }
        _ => Map::new(),
    }
}

fn shown(event: Event, number: u32) -> JupyterMessageContent {
    let metadata = Map::new();
    match event {
        Event::Text { stream: Stream::Stdout, text } => StreamContent { name: Stdio::Stdout, text }.into(),
        Event::Text { stream: Stream::Stderr, text } => StreamContent { name: Stdio::Stderr, text }.into(),
        Event::Display { data, id } => {
            let transient = Some(Transient { display_id: id });
            DisplayData { data: media(&data), metadata, transient }.into()
        }
        Event::Update { data, id } => {
            UpdateDisplayData { data: media(&data), metadata, transient: Transient { display_id: Some(id) } }.into()
        }
        Event::Clear { wait } => ClearOutput { wait }.into(),
        Event::Result { data } => ExecuteResult {
            execution_count: ExecutionCount::new(number as usize),
            data: media(&data),
            metadata,
            // Not `None`, which is serialized as null, on which nbclient fails.
            transient: Some(Transient::default()),
        }
        .into(),
    }
}
