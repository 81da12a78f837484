//! A Jupyter front end that speaks in transcripts: every message a request causes is one line, and a line that no test
//! expected fails it.

use std::time::Duration;

use chandlery_kernel::engine::Echo;
use chandlery_kernel::server::{Outside, serve};
use jupyter_protocol::connection_info::Transport;
use jupyter_protocol::{
    ConnectionInfo, ExecuteReply, ExecuteRequest, JupyterMessage, JupyterMessageContent, ReplyStatus, Stdio,
};
use jupyter_zmq_client as zmq;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(5);

/// A kernel with the echo engine, and the sockets of one client.
pub(crate) struct FrontEnd {
    pub(crate) shell: zmq::ClientShellConnection,
    pub(crate) control: zmq::ClientControlConnection,
    pub(crate) iopub: zmq::ClientIoPubConnection,
    pub(crate) stdin: zmq::ClientStdinConnection,
    pub(crate) info: ConnectionInfo,
    pub(crate) outside: mpsc::UnboundedSender<Outside>,
    kernel: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl FrontEnd {
    /// Starts a kernel and waits for its welcome and nothing else.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let info = ConnectionInfo {
            ip: folder.path().join("k").display().to_string(),
            transport: Transport::IPC,
            shell_port: 1,
            iopub_port: 2,
            stdin_port: 3,
            control_port: 4,
            hb_port: 5,
            key: "a key".to_owned(),
            signature_scheme: "hmac-sha256".to_owned(),
            kernel_name: None,
        };
        let (outside, events) = mpsc::unbounded_channel();
        let served = serve(info.clone(), Box::new(|| Box::new(Echo::new())), events);
        let kernel = tokio::spawn(async { served.await.unwrap() });
        while !std::path::Path::new(&format!("{}-1", info.ip)).exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }

        let id = zmq::peer_identity_for_session("test").unwrap();
        let mut iopub = zmq::create_client_iopub_connection(&info, "", "test").await.unwrap();
        let welcome = timeout(PATIENCE, iopub.read()).await.expect("no iopub_welcome").unwrap();
        assert_eq!(welcome.message_type(), "iopub_welcome");
        Self {
            shell: zmq::create_client_shell_connection_with_identity(&info, "test", id.clone()).await.unwrap(),
            control: zmq::create_client_control_connection(&info, "test").await.unwrap(),
            stdin: zmq::create_client_stdin_connection_with_identity(&info, "test", id).await.unwrap(),
            iopub,
            info,
            outside,
            kernel,
            _folder: folder,
        }
    }

    /// Sends a request on shell and returns its id.
    pub(crate) async fn send(&mut self, content: impl Into<JupyterMessageContent>) -> String {
        let message = JupyterMessage::new(content, None);
        let id = message.header.msg_id.clone();
        self.shell.send(message).await.unwrap();
        id
    }

    /// Sends a request on control and returns its id.
    pub(crate) async fn send_control(&mut self, content: impl Into<JupyterMessageContent>) -> String {
        let message = JupyterMessage::new(content, None);
        let id = message.header.msg_id.clone();
        self.control.send(message).await.unwrap();
        id
    }

    /// The next reply on shell, which must answer this request.
    pub(crate) async fn reply(&mut self, id: &str) -> JupyterMessageContent {
        let message = timeout(PATIENCE, self.shell.read()).await.expect("no reply").unwrap();
        answers(message, id)
    }

    /// The next reply on control, which must answer this request.
    pub(crate) async fn control_reply(&mut self, id: &str) -> JupyterMessageContent {
        let message = timeout(PATIENCE, self.control.read()).await.expect("no reply").unwrap();
        answers(message, id)
    }

    /// What iopub says about a request up to its idle; a message about anything else fails the test.
    pub(crate) async fn transcript(&mut self, id: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.last().map(String::as_str) != Some("idle") {
            let (parent, line) = self.published().await;
            if parent.is_empty() && line == "starting" {
                // The kernel's own first word, which a slow start may bring this late.
                continue;
            }
            assert_eq!(parent, id, "`{line}` belongs to another request; so far: {lines:?}");
            lines.push(line);
        }
        lines
    }

    /// The next message on iopub, as its parent's id and a line.
    pub(crate) async fn published(&mut self) -> (String, String) {
        let message = timeout(PATIENCE, self.iopub.read()).await.expect("iopub is silent").unwrap();
        let parent = message.parent_header.as_ref().map(|header| header.msg_id.clone()).unwrap_or_default();
        (parent, line(&message.content))
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

    /// Stops the kernel and fails on anything that nobody read.
    pub(crate) async fn finish(mut self) {
        let quiet = Duration::from_millis(60);
        if let Ok(message) = timeout(quiet, self.iopub.read()).await {
            panic!("unread on iopub: {}", line(&message.unwrap().content));
        }
        if let Ok(message) = timeout(Duration::from_millis(1), self.shell.read()).await {
            panic!("unread on shell: {}", message.unwrap().message_type());
        }
        self.outside.send(Outside::Stop).unwrap();
        self.ended().await;
    }

    /// Waits for the kernel to end by itself.
    pub(crate) async fn ended(self) {
        timeout(PATIENCE, self.kernel).await.expect("the kernel does not end").unwrap();
    }
}

fn answers(message: JupyterMessage, id: &str) -> JupyterMessageContent {
    let parent = message.parent_header.as_ref().map(|header| header.msg_id.as_str());
    assert_eq!(parent, Some(id), "a {} for another request", message.message_type());
    message.content
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
fn line(content: &JupyterMessageContent) -> String {
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
        M::ErrorOutput(error) => format!("error {}: {}", error.ename, error.evalue),
        other => other.message_type().to_owned(),
    }
}
