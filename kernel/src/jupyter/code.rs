//! Questions about code and history, answered while a cell runs.

use std::sync::PoisonError;

use jupyter_protocol::{CompleteReply, CompleteRequest, HistoryReply, InspectReply, InspectRequest, IsCompleteReply};
use serde::Serialize;
use serde_json::Map;

use super::{SharedSession, Started, content, position};
use crate::engine::Completeness;
use crate::server::{HistoryRequest, IsCompleteRequest, Refusal, ShellHandler};
use crate::session;

/// Answers questions about code; waits for the engine to start.
pub(super) struct Code(pub(super) Started);

impl Code {
    fn session(&self) -> &SharedSession {
        self.0.wait()
    }
}

/// One match of a completion, as JupyterLab reads it with its type.
#[derive(Serialize)]
struct TypedMatch<'a> {
    text: &'a str,
    r#type: &'a str,
    start: usize,
    end: usize,
}

/// Where replies to completions have the types of their matches.
const TYPED_MATCHES: &str = "_jupyter_types_experimental";

impl ShellHandler for Code {
    fn complete(&self, request: CompleteRequest) -> Result<CompleteReply, Refusal> {
        let cursor = position::to_bytes(&request.code, request.cursor_pos);
        let found = self.session().assist.complete(&request.code, cursor);
        let start = position::to_code_points(&request.code, found.start);
        let end = position::to_code_points(&request.code, found.end);
        let mut metadata = Map::new();
        if found.kinds.iter().any(|kind| !kind.is_empty()) {
            // Front ends show its types; JupyterLab takes the matches from it, so it lists all of them or is left out.
            let matches = found.matches.iter().zip(&found.kinds);
            let matches = matches.map(|(text, kind)| TypedMatch { text, r#type: kind, start, end });
            metadata.insert(TYPED_MATCHES.to_owned(), serde_json::to_value(matches.collect::<Vec<_>>())?);
        }
        Ok(CompleteReply {
            matches: found.matches,
            cursor_start: start,
            cursor_end: end,
            metadata,
            ..Default::default()
        })
    }

    fn inspect(&self, request: InspectRequest) -> Result<InspectReply, Refusal> {
        let cursor = position::to_bytes(&request.code, request.cursor_pos);
        Ok(match self.session().assist.inspect(&request.code, cursor) {
            Some(bundle) => InspectReply { found: true, data: content::media(&bundle), ..Default::default() },
            None => InspectReply::default(),
        })
    }

    fn is_complete(&self, request: IsCompleteRequest) -> Result<IsCompleteReply, Refusal> {
        let Some(code) = request.code else { return Ok(IsCompleteReply::unknown()) };
        if session::subject(&code).is_some() {
            return Ok(IsCompleteReply::complete());
        }
        Ok(match self.session().assist.is_complete(&code) {
            Completeness::Complete => IsCompleteReply::complete(),
            Completeness::Incomplete(indent) => IsCompleteReply::incomplete(indent),
            Completeness::Invalid => IsCompleteReply::invalid(),
        })
    }

    fn history(&self, request: HistoryRequest) -> Result<HistoryReply, Refusal> {
        Ok(self.session().history.lock().unwrap_or_else(PoisonError::into_inner).answer(&request))
    }
}
