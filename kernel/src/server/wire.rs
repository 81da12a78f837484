//! Messages as they travel: received with their content unparsed, sent with the content Jupyter expects.

use std::io::Write;
use std::ops::Deref;

use jupyter_protocol::{
    ClearOutput, DisplayData, ErrorOutput, ExecuteInput, ExecuteResult, ExecutionCount, ExecutionState,
    ExpressionResult, Header, JupyterMessage, JupyterMessageContent, Media, MediaType, ReplyError, Status, Stdio,
    StreamContent, Transient, UnknownMessage, UpdateDisplayData,
};
use jupyter_zmq_client::{Connection, RawMessage, RuntimeError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::replay::Replays;
use super::session::Publication;
use super::signature::Key;
use crate::engine::{Event, Outcome, Stream};
use chandlery::display::MimeBundle;

/// The protocol version of every message and of `kernel_info_reply`: 5.5 has subshells and `supported_features`.
pub(super) const PROTOCOL: &str = "5.5";

/// A message as it came.
#[derive(Clone)]
pub(super) struct Received {
    message: JupyterMessage,
    /// Its header, with the fields that [`Header`] does not have.
    head: Vec<u8>,
    /// The subshell that its header names.
    pub(super) subshell: Option<String>,
    /// Its sender takes it as answered only with its `idle`: the [state](super::status) says who does.
    pub(super) awaits_idle: bool,
}

impl Deref for Received {
    type Target = JupyterMessage;

    fn deref(&self) -> &JupyterMessage {
        &self.message
    }
}

/// A message on its way out.
pub(super) struct Outgoing {
    pub(super) message: JupyterMessage,
    /// The header of the message that it answers or follows, as it came.
    parent: Vec<u8>,
}

/// Receives one message and checks that it is signed and comes for the first time. Its content stays JSON in an
/// [`UnknownMessage`], because a request whose content has an unexpected shape must be answered too.
pub(super) async fn receive<S: zeromq::SocketRecv>(
    connection: &mut Connection<S>,
    replays: &Replays,
) -> Result<Received, RuntimeError> {
    let frames = connection.socket.recv().await?;
    let signature = frames.iter().skip_while(|frame| frame[..] != *DELIMITER).nth(1).map(|frame| frame.to_vec());
    let raw = RawMessage::from_multipart(frames, &connection.mac)?;
    if connection.mac.is_some() && !signature.is_some_and(|signature| replays.is_new(signature)) {
        return Err(RuntimeError::ZmqMessageError("its signature was used before".to_owned()));
    }
    let header: Header = serde_json::from_slice(&raw.jparts[0])?;
    let more: Subshell = serde_json::from_slice(&raw.jparts[0])?;
    let content = serde_json::from_slice(&raw.jparts[3]).unwrap_or(Value::Null);
    let message = JupyterMessage {
        zmq_identities: raw.zmq_identities,
        parent_header: serde_json::from_slice(&raw.jparts[1]).ok(),
        metadata: json!({}),
        content: UnknownMessage { msg_type: header.msg_type.clone(), content }.into(),
        header,
        buffers: Vec::new(),
        channel: None,
    };
    let awaits_idle = message.header.version == SERVICES || more.subshell_id == Some(None);
    Ok(Received { message, head: raw.jparts[0].to_vec(), subshell: more.subshell_id.flatten(), awaits_idle })
}

/// Signs a message and sends it.
pub(super) async fn send<S: zeromq::SocketSend>(
    connection: &mut Connection<S>,
    key: &Key,
    Outgoing { mut message, parent }: Outgoing,
) -> Result<(), RuntimeError> {
    message.header.session.clone_from(&connection.session_id);
    let header = serde_json::to_vec(&message.header)?;
    let frames = [header, parent, serde_json::to_vec(&message.metadata)?, serde_json::to_vec(&message.content)?];
    let mut out = zeromq::ZmqMessage::from(DELIMITER.to_vec());
    out.push_back(key.sign(&frames).into_bytes().into());
    frames.into_iter().for_each(|frame| out.push_back(frame.into()));
    message.zmq_identities.into_iter().rev().for_each(|identity| out.push_front(identity));
    Ok(connection.socket.send(out).await?)
}

/// What stands between the frames that say where a message goes and its own.
const DELIMITER: &[u8] = b"<IDS|MSG>";

/// The protocol version that `@jupyterlab/services` writes.
const SERVICES: &str = "5.2";

/// The field of a header that [`Header`] does not have.
#[derive(Deserialize)]
struct Subshell {
    /// `None` where it is left out, and a null in it for the main shell.
    #[serde(default, deserialize_with = "given")]
    subshell_id: Option<Option<String>>,
}

fn given<'de, D: serde::Deserializer<'de>>(field: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(field).map(Some)
}

/// Whether a receive error is the end of the socket rather than one bad message.
pub(super) fn is_fatal(error: &RuntimeError) -> bool {
    matches!(error, RuntimeError::ZmqError(zeromq::ZmqError::NoMessage))
}

/// A received message's content as a typed request; `missing` are the fields that some front ends leave out.
pub(super) fn content<T: DeserializeOwned>(message: &JupyterMessage, missing: Value) -> Result<T, serde_json::Error> {
    let JupyterMessageContent::UnknownMessage(UnknownMessage { content: Value::Object(given), .. }) = &message.content
    else {
        return serde_json::from_value(missing);
    };
    let Value::Object(mut fields) = missing else {
        return serde_json::from_value(Value::Object(given.clone()));
    };
    fields.extend(given.iter().filter(|(_, value)| !value.is_null()).map(|(k, v)| (k.clone(), v.clone())));
    serde_json::from_value(Value::Object(fields))
}

/// A message that answers or follows `parent`.
pub(super) fn child(content: impl Into<JupyterMessageContent>, parent: &Received) -> Outgoing {
    outgoing(JupyterMessage::new(content, Some(&parent.message)), parent.head.clone())
}

/// A message that follows none.
pub(super) fn orphan(content: impl Into<JupyterMessageContent>) -> Outgoing {
    outgoing(JupyterMessage::new(content, None), b"{}".to_vec())
}

fn outgoing(mut message: JupyterMessage, parent: Vec<u8>) -> Outgoing {
    message.header.username = "chandlery".to_owned();
    message.header.version = PROTOCOL.to_owned();
    Outgoing { message, parent }
}

/// `status` for a request.
pub(super) fn status(state: ExecutionState, parent: &Received) -> Outgoing {
    child(Status { execution_state: state }, parent)
}

/// The reply to a request, for replies that the protocol's crate has no type for; `None` where the message is no
/// request, and has no reply.
pub(super) fn reply(request: &Received, content: Value) -> Option<Outgoing> {
    let stem = request.header.msg_type.strip_suffix("_request")?;
    Some(child(UnknownMessage { msg_type: format!("{stem}_reply"), content }, request))
}

/// The content of a reply that says why a request was refused.
pub(super) fn refusal(name: &str, value: &str) -> Value {
    json!({"status": "error", "ename": name, "evalue": value, "traceback": [format!("{name}: {value}")]})
}

/// Tells whoever reads the kernel's log; nobody else could be told.
pub(super) fn log(what: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "chandlery: {what}");
}

/// The error fields of a reply.
pub(super) fn reply_error(name: &str, value: &str, traceback: &[String]) -> Option<Box<ReplyError>> {
    Some(Box::new(ReplyError { ename: name.to_owned(), evalue: value.to_owned(), traceback: traceback.to_vec() }))
}

/// A bundle with every form as it is: the typed forms of [`MediaType`] would parse and reformat some.
pub(super) fn media(bundle: &MimeBundle) -> Media {
    Media::new(bundle.forms().iter().map(|(mime, value)| MediaType::Other((mime.clone(), value.clone()))).collect())
}

/// The answer to one of a request's `user_expressions`.
pub(super) fn expression(value: Result<Option<MimeBundle>, Outcome>) -> ExpressionResult {
    if let Err(Outcome::Error { name, value, traceback }) = value {
        return ExpressionResult::Error { ename: name, evalue: value, traceback };
    }
    let data = value.ok().flatten().map_or_else(|| Media::new(Vec::new()), |bundle| media(&bundle));
    ExpressionResult::Ok { data, metadata: serde_json::Map::new() }
}

/// A session's publication as iopub content.
pub(super) fn publication(publication: Publication) -> JupyterMessageContent {
    match publication {
        Publication::Started { code, number } => {
            ExecuteInput { code, execution_count: ExecutionCount::new(number as usize) }.into()
        }
        Publication::Shown { event, number } => shown(event, number),
        Publication::Failed { name, value, traceback } => ErrorOutput { ename: name, evalue: value, traceback }.into(),
    }
}

fn shown(event: Event, number: u32) -> JupyterMessageContent {
    let metadata = serde_json::Map::new();
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
            // Not `None`: that travels as null, on which nbclient fails.
            transient: Some(Transient::default()),
        }
        .into(),
    }
}
