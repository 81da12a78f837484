//! Why a request is refused.

use serde::Serialize;

/// Why a request is refused. The sender gets the variant's name and its text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Its content is not that of such a request.
    #[error("{0}")]
    Malformed(#[from] serde_json::Error),
    /// It names a subshell that is not open.
    #[error("there is no subshell `{0}`")]
    SubshellNotFound(String),
    /// No method answers it.
    #[error("Chandlery does not answer `{0}`")]
    Unsupported(String),
}

impl Refusal {
    /// The name of the error in the reply.
    fn name(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "MalformedRequest",
            Self::SubshellNotFound(_) => "SubshellNotFound",
            Self::Unsupported(_) => "UnsupportedRequest",
        }
    }

    /// The content of the reply.
    pub(super) fn reply(&self) -> ErrorReply {
        let (name, value) = (self.name(), self.to_string());
        ErrorReply { status: "error", ename: name, traceback: vec![format!("{name}: {value}")], evalue: value }
    }
}

/// A reply that has no fields but those of the error.
#[derive(Debug, Serialize)]
pub(super) struct ErrorReply {
    status: &'static str,
    ename: &'static str,
    evalue: String,
    traceback: Vec<String>,
}
