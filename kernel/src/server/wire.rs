//! Messages on the wire: received with their content unparsed, sent with the content that Jupyter expects.

use std::ops::Deref;

use jupyter_protocol::{ExecutionState, Header, JupyterMessage, JupyterMessageContent, Status, UnknownMessage};
use jupyter_zmq_client::{Connection, RawMessage, RuntimeError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::refusal::Refusal;
use super::replay::Replays;
use super::signature::SigningKey;

/// The protocol version of every message and of `kernel_info_reply`: 5.5 has subshells and `supported_features`.
pub(crate) const PROTOCOL: &str = "5.5";

/// A received message.
#[derive(Clone)]
pub(super) struct Received {
    message: JupyterMessage,
    /// Its header, with the fields that [`Header`] does not have.
    head: Vec<u8>,
    /// The subshell that its header names.
    pub(super) subshell: Option<String>,
    /// Whether its sender needs its `idle` to consider it answered; see [status](super::status).
    pub(super) awaits_idle: bool,
}

impl Received {
    /// Returns the received content.
    pub(super) fn content(&self) -> &Value {
        match &self.message.content {
            JupyterMessageContent::UnknownMessage(UnknownMessage { content, .. }) => content,
            _ => &Value::Null,
        }
    }
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
    /// The header of the message that it answers or follows, as it was received.
    parent: Vec<u8>,
}

/// Receives one message, and checks its signature and that it is not a replay. Its content stays JSON in an
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
        metadata: Value::Object(Default::default()),
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
    key: &SigningKey,
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

/// The delimiter between the routing frames of a message and its own.
const DELIMITER: &[u8] = b"<IDS|MSG>";

/// The protocol version that `@jupyterlab/services` writes.
const SERVICES: &str = "5.2";

/// The field of a header that [`Header`] does not have.
#[derive(Deserialize)]
struct Subshell {
    /// `None` if the field is missing; `Some(None)` if it is null, for the main shell.
    #[serde(default, deserialize_with = "given")]
    subshell_id: Option<Option<String>>,
}

fn given<'de, D: serde::Deserializer<'de>>(field: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(field).map(Some)
}

/// Returns whether a receive error means that the socket is closed, instead of one bad message.
pub(super) fn is_fatal(error: &RuntimeError) -> bool {
    matches!(error, RuntimeError::ZmqError(zeromq::ZmqError::NoMessage))
}

/// Reads a message's content as a typed request. A field that is null counts as left out, content that is not an object
/// as empty.
pub(super) fn request<T: DeserializeOwned>(content: &Value) -> serde_json::Result<T> {
    let given = content.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    serde_json::from_value(Value::Object(given.map(|(name, value)| (name.clone(), value.clone())).collect()))
}

/// Serializes the content of a reply.
pub(super) fn to_value<T: Serialize>(content: &T) -> Result<Value, Refusal> {
    Ok(serde_json::to_value(content)?)
}

/// Creates a message that answers or follows `parent`.
pub(super) fn child(content: impl Into<JupyterMessageContent>, parent: &Received) -> Outgoing {
    outgoing(JupyterMessage::new(content, Some(&parent.message)), parent.head.clone())
}

/// Creates a message without a parent.
pub(super) fn orphan(content: impl Into<JupyterMessageContent>) -> Outgoing {
    outgoing(JupyterMessage::new(content, None), b"{}".to_vec())
}

fn outgoing(mut message: JupyterMessage, parent: Vec<u8>) -> Outgoing {
    message.header.username = "chandlery".to_owned();
    message.header.version = PROTOCOL.to_owned();
    Outgoing { message, parent }
}

/// Creates the `status` of a request.
pub(super) fn status(state: ExecutionState, parent: &Received) -> Outgoing {
    child(Status { execution_state: state }, parent)
}

/// Returns the reply to a request; `None` if the message is not a request and does not have a reply.
pub(super) fn reply(request: &Received, content: Value) -> Option<Outgoing> {
    let stem = request.header.msg_type.strip_suffix("_request")?;
    Some(child(UnknownMessage { msg_type: format!("{stem}_reply"), content }, request))
}
