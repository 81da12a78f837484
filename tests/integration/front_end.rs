//! A Jupyter front end that keeps transcripts: every message that a request causes is one line, and a line that no test
//! expects fails it. So does a request without exactly one reply, busy and idle.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chandlery_kernel::client::{Client, ipc};
use chandlery_kernel::engine::Echo;
use chandlery_kernel::jupyter::serve;
use chandlery_kernel::server::Outside;
use chandlery_kernel::session::History;
use jupyter_protocol::connection_info::Transport;
use jupyter_protocol::{
    ConnectionInfo, ExecuteReply, ExecuteRequest, JupyterMessage, JupyterMessageContent, ReplyStatus, Stdio,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// The sockets of one client, and the kernel with the echo engine if the client started it.
pub(crate) struct FrontEnd {
    client: Client,
    pub(crate) outside: mpsc::UnboundedSender<Outside>,
    kernel: Option<JoinHandle<()>>,
    /// The state of each request of this client, by its id.
    requests: HashMap<String, Standing>,
    _folder: Option<tempfile::TempDir>,
}

/// What has arrived for a request.
#[derive(Default)]
struct Standing {
    msg_type: String,
    replied: bool,
    status: Option<&'static str>,
}

impl Standing {
    fn wants_reply(&self) -> bool {
        self.msg_type.ends_with("_request")
    }
}

impl Deref for FrontEnd {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for FrontEnd {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl FrontEnd {
    /// Starts a kernel and waits for its welcome and nothing else.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}, History::default()).await
    }

    /// Starts a kernel whose history is kept in a file.
    pub(crate) async fn start_remembering(history: PathBuf) -> Self {
        Self::start_with(|_| {}, History::kept_in(history)).await
    }

    /// Starts a kernel on the usual sockets with a change.
    pub(crate) async fn start_with(change: impl FnOnce(&mut ConnectionInfo), history: History) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut info = ipc(folder.path());
        change(&mut info);
        let (outside, events) = mpsc::unbounded_channel();
        let served = serve(info.clone(), Box::new(|| Box::new(Echo::new())), history, events);
        let kernel = tokio::spawn(async { served.await.unwrap() });
        if matches!(info.transport, Transport::IPC) {
            while !Path::new(&format!("{}-1", info.ip)).exists() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        let mut front = Self::connect(info, "test").await;
        (front.outside, front.kernel, front._folder) = (outside, Some(kernel), Some(folder));
        front
    }

    /// Joins a running kernel and waits for its welcome and nothing else.
    pub(crate) async fn connect(info: ConnectionInfo, session: &str) -> Self {
        let mut client = Client::connect(info, session).await.unwrap();
        let welcome = timeout(PATIENCE, client.iopub.read()).await.expect("no iopub_welcome").unwrap();
        assert_eq!(welcome.message_type(), "iopub_welcome");
        Self { client, outside: mpsc::unbounded_channel().0, kernel: None, requests: HashMap::new(), _folder: None }
    }

    /// Notes a request that was sent to the kernel.
    pub(crate) fn expect(&mut self, id: &str, msg_type: &str) {
        let standing = Standing { msg_type: msg_type.to_owned(), ..Standing::default() };
        self.requests.insert(id.to_owned(), standing);
    }

    /// Sends a request on shell and returns its id.
    pub(crate) async fn send(&mut self, content: impl Into<JupyterMessageContent>) -> String {
        let message = JupyterMessage::new(content, None);
        let id = message.header.msg_id.clone();
        self.expect(&id, message.message_type());
        self.shell.send(message).await.unwrap();
        id
    }

    /// Sends a request on control and returns its id.
    pub(crate) async fn send_control(&mut self, content: impl Into<JupyterMessageContent>) -> String {
        let message = JupyterMessage::new(content, None);
        let id = message.header.msg_id.clone();
        self.expect(&id, message.message_type());
        self.control.send(message).await.unwrap();
        id
    }

    /// The next reply on shell, which must answer this request.
    pub(crate) async fn reply(&mut self, id: &str) -> JupyterMessageContent {
        let message = timeout(PATIENCE, self.shell.read()).await.expect("no reply").unwrap();
        self.answers(message, id)
    }

    /// The next reply on control, which must answer this request.
    pub(crate) async fn control_reply(&mut self, id: &str) -> JupyterMessageContent {
        let message = timeout(PATIENCE, self.control.read()).await.expect("no reply").unwrap();
        self.answers(message, id)
    }

    /// Notes a reply that a test read itself.
    pub(crate) fn replied(&mut self, id: &str) {
        let request = self.requests.get_mut(id).expect("a reply to a request of ours");
        assert!(!std::mem::replace(&mut request.replied, true), "a second reply to {}", request.msg_type);
    }

    fn answers(&mut self, message: JupyterMessage, id: &str) -> JupyterMessageContent {
        let parent = message.parent_header.as_ref().map(|header| header.msg_id.as_str());
        assert_eq!(parent, Some(id), "a {} for another request", message.message_type());
        assert_eq!(message.header.version, "5.5");
        self.replied(id);
        let request = &self.requests[id];
        assert_eq!(request.msg_type.strip_suffix("_request"), message.message_type().strip_suffix("_reply"));
        message.content
    }

    /// The messages on iopub about a request up to its idle; a message about anything else fails the test.
    pub(crate) async fn transcript(&mut self, id: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.last().map(String::as_str) != Some("idle") {
            let (parent, line) = self.published().await;
            assert_eq!(parent, id, "`{line}` belongs to another request; so far: {lines:?}");
            lines.push(line);
        }
        lines
    }

    /// The next message on iopub, as its parent's id and a line.
    pub(crate) async fn published(&mut self) -> (String, String) {
        let message = self.published_message().await;
        (parent_of(&message), line(&message.content))
    }

    /// The next message on iopub. About a request, busy comes first and nothing after idle.
    pub(crate) async fn published_message(&mut self) -> JupyterMessage {
        loop {
            let message = timeout(PATIENCE, self.iopub.read()).await.expect("iopub is silent").unwrap();
            let (parent, line) = (parent_of(&message), line(&message.content));
            if parent.is_empty() && line == "starting" {
                // The kernel's own first status, which may arrive this late after a slow start.
                continue;
            }
            assert_eq!(message.header.version, "5.5");
            if let Some(request) = self.requests.get_mut(&parent) {
                request.status = match (request.status, line.as_str()) {
                    (None, "busy") => Some("busy"),
                    (Some("busy"), "idle") => Some("idle"),
                    // While a cell runs, comm messages come before the busy of their requests.
                    (None, line) if line.starts_with("comm_") => None,
                    // The status of a cell is published again to clients that connect while it runs.
                    (Some("busy"), line) if line != "busy" || request.msg_type == "execute_request" => Some("busy"),
                    (status, line) => panic!("`{line}` while {} is {status:?}", request.msg_type),
                };
            }
            return message;
        }
    }

    /// Runs a cell; its transcript without busy and idle, which every request has, and its reply.
    pub(crate) async fn run(&mut self, code: &str) -> (Vec<String>, ExecuteReply) {
        self.run_request(ExecuteRequest::new(code.to_owned())).await
    }

    /// Runs a cell with options.
    pub(crate) async fn run_request(&mut self, request: ExecuteRequest) -> (Vec<String>, ExecuteReply) {
        let id = self.send(request).await;
        let reply = execute_reply(self.reply(&id).await);
        (between(self.transcript(&id).await), reply)
    }

    /// Fails on unread messages, and on requests that were not completed.
    pub(crate) async fn all_is_read(&mut self) {
        if let Ok(message) = timeout(Duration::from_millis(60), self.iopub.read()).await {
            let message = message.unwrap();
            let line = line(&message.content);
            assert!(parent_of(&message).is_empty() && line == "starting", "unread on iopub: {line}");
        }
        let moment = Duration::from_millis(1);
        if let Ok(message) = timeout(moment, self.shell.read()).await {
            panic!("unread on shell: {}", message.unwrap().message_type());
        }
        if let Ok(message) = timeout(moment, self.control.read()).await {
            panic!("unread on control: {}", message.unwrap().message_type());
        }
        if let Ok(message) = timeout(moment, self.stdin.read()).await {
            panic!("unread on stdin: {}", message.unwrap().message_type());
        }
        for request in self.requests.values() {
            assert_eq!(request.replied, request.wants_reply(), "the reply to {}", request.msg_type);
            assert_eq!(request.status, Some("idle"), "{}", request.msg_type);
        }
    }

    /// Stops the kernel when everything is read.
    pub(crate) async fn finish(mut self) {
        self.all_is_read().await;
        self.outside.send(Outside::Stop).unwrap();
        self.ended().await;
    }

    /// Waits for the kernel to end by itself.
    pub(crate) async fn ended(self) {
        let kernel = self.kernel.expect("the client that started the kernel");
        timeout(PATIENCE, kernel).await.expect("the kernel does not end").unwrap();
    }
}

fn parent_of(message: &JupyterMessage) -> String {
    message.parent_header.as_ref().map(|header| header.msg_id.clone()).unwrap_or_default()
}

/// The reply to a cell.
pub(crate) fn execute_reply(content: JupyterMessageContent) -> ExecuteReply {
    match content {
        JupyterMessageContent::ExecuteReply(reply) => reply,
        other => panic!("expected execute_reply, got {other:?}"),
    }
}

/// The lines between busy and idle.
pub(crate) fn between(lines: Vec<String>) -> Vec<String> {
    assert_eq!(lines.first().map(String::as_str), Some("busy"), "{lines:?}");
    lines[1..lines.len() - 1].to_vec()
}

/// An error reply as one line.
pub(crate) fn error_of(reply: &ExecuteReply) -> String {
    assert_eq!(reply.status, ReplyStatus::Error);
    let error = reply.error.as_ref().expect("an error reply has ename, evalue and traceback");
    assert!(!error.traceback.is_empty());
    format!("{}: {}", error.ename, error.evalue)
}

/// One message as a line of a transcript.
pub(crate) fn line(content: &JupyterMessageContent) -> String {
    use JupyterMessageContent as M;
    let plain = |media: &jupyter_protocol::Media| serde_json::to_value(media).unwrap()["text/plain"].to_string();
    match content {
        M::Status(status) => serde_json::to_value(status).unwrap()["execution_state"].as_str().unwrap().to_owned(),
        M::ExecuteInput(input) => format!("input {} {:?}", input.execution_count.0, input.code),
        M::StreamContent(stream) => {
            let name = if matches!(stream.name, Stdio::Stdout) { "stdout" } else { "stderr" };
            format!("{name} {:?}", stream.text)
        }
        M::DisplayData(display) => {
            let id = display.transient.as_ref().and_then(|transient| transient.display_id.as_deref());
            format!("display {} {}", id.unwrap_or("-"), plain(&display.data))
        }
        M::UpdateDisplayData(update) => {
            format!("update {} {}", update.transient.display_id.as_deref().unwrap_or("-"), plain(&update.data))
        }
        M::ExecuteResult(result) => format!("result {} {}", result.execution_count.0, plain(&result.data)),
        M::ClearOutput(clear) => format!("clear wait={}", clear.wait),
        M::CommMsg(message) => format!("comm_msg {} {}", message.comm_id.0, serde_json::json!(message.data)),
        M::CommClose(close) => format!("comm_close {}", close.comm_id.0),
        M::ErrorOutput(error) => format!("error {}: {}", error.ename, error.evalue),
        other => other.message_type().to_owned(),
    }
}
