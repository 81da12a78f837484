//! A kernel in a separate process as an engine, asked over its sockets like a front end does.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chandlery::display::MimeBundle;
use jupyter_protocol::{ExecuteRequest, JupyterMessage, JupyterMessageContent, KernelInfoRequest, ShutdownRequest};
use jupyter_zmq_client::{Connection, RawMessage, RuntimeError};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::{Client, Kernelspec, tcp};
use crate::engine::{Assist, Cell, Engine, Event, Interrupter, Outcome, Output, Stream, Unavailable};
use crate::private_folder::PrivateFolder;
use crate::system;

/// How long a kernel may take to start, to run a cell, and to end.
const START: Duration = Duration::from_secs(60);
const CELL: Duration = Duration::from_secs(300);
const END: Duration = Duration::from_secs(5);

/// How long a kernel that is about to open its sockets is not asked.
const MOMENT: Duration = Duration::from_millis(2);

/// A kernel does not publish to a reader that it does not know yet: then it is asked again.
const AGAIN: Duration = Duration::from_millis(100);

/// A running kernel.
pub struct Peer {
    child: Child,
    client: Client,
    runtime: Runtime,
    _folder: PrivateFolder,
}

/// The relevant parts of a message.
struct KernelMessage {
    msg_type: String,
    parent: String,
    content: Value,
}

impl Peer {
    /// Starts a kernel, in a folder if one is given, and waits until it answers on shell and on iopub.
    ///
    /// # Errors
    /// Why it does not run.
    pub fn start(spec: &Kernelspec, within: Option<&Path>) -> std::io::Result<Self> {
        // One thread: the one that waits for an answer receives it.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let folder = PrivateFolder::fresh(&std::env::temp_dir())?;
        let info = runtime.block_on(tcp()).map_err(std::io::Error::other)?;
        let file = folder.path().join("connection.json");
        std::fs::write(&file, serde_json::to_string(&info)?)?;
        let mut command = spec.command(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(within) = within {
            command.current_dir(within);
        }
        system::end_with_parent(&mut command);
        let program = command.get_program().display().to_string();
        let mut child = command.spawn().map_err(|error| std::io::Error::other(format!("{program}: {error}")))?;
        let until = Instant::now() + START;
        for port in [info.shell_port, info.iopub_port, info.stdin_port, info.control_port] {
            while TcpStream::connect((info.ip.as_str(), port)).is_err() {
                if let Some(status) = child.try_wait()? {
                    return Err(std::io::Error::other(format!("the kernel ended before it answered: {status}")));
                }
                if Instant::now() > until {
                    let _ = child.kill();
                    return Err(std::io::Error::other("the kernel does not open its sockets"));
                }
                std::thread::sleep(MOMENT);
            }
        }
        let client = runtime.block_on(Client::connect(info, "front")).map_err(std::io::Error::other)?;
        let mut peer = Self { child, client, runtime, _folder: folder };
        peer.greet(until)?;
        Ok(peer)
    }

    /// Asks for `kernel_info` until there is an answer on both sockets.
    fn greet(&mut self, until: Instant) -> std::io::Result<()> {
        let Client { shell, iopub, .. } = &mut self.client;
        let (mut asked, mut replied) = (Vec::new(), false);
        self.runtime.block_on(async {
            while Instant::now() < until {
                asked.push(send(shell, KernelInfoRequest {}).await.map_err(std::io::Error::other)?);
                let heard = async {
                    if !replied {
                        reply(shell, &asked).await?;
                        replied = true;
                    }
                    until_idle(iopub, &asked, &mut |_| {}).await
                };
                match timeout(AGAIN, heard).await {
                    Ok(heard) => return heard.map_err(std::io::Error::other),
                    Err(_) => continue,
                }
            }
            Err(std::io::Error::other("the kernel does not answer `kernel_info_request`"))
        })
    }
}

/// Sends a request and returns its id.
async fn send<S: zeromq::SocketSend>(
    socket: &mut Connection<S>,
    content: impl Into<JupyterMessageContent>,
) -> Result<String, RuntimeError> {
    let message = JupyterMessage::new(content, None);
    let id = message.header.msg_id.clone();
    socket.send(message).await?;
    Ok(id)
}

/// Returns the next message. Its content is not parsed, because kernels leave out different fields.
async fn hear<S: zeromq::SocketRecv>(socket: &mut Connection<S>) -> Result<KernelMessage, RuntimeError> {
    let raw = RawMessage::from_multipart(socket.socket.recv().await?, &socket.mac)?;
    let part = |at: usize| serde_json::from_slice::<Value>(&raw.jparts[at]).unwrap_or_default();
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    Ok(KernelMessage { msg_type: text(&part(0), "msg_type"), parent: text(&part(1), "msg_id"), content: part(3) })
}

/// Returns the content of the reply to one of these requests; replies to others are late ones.
async fn reply<S: zeromq::SocketRecv>(socket: &mut Connection<S>, ids: &[String]) -> Result<Value, RuntimeError> {
    loop {
        let heard = hear(socket).await?;
        if ids.contains(&heard.parent) {
            return Ok(heard.content);
        }
    }
}

/// Forwards everything that is published about one of these requests, up to its idle.
async fn until_idle<S: zeromq::SocketRecv>(
    socket: &mut Connection<S>,
    ids: &[String],
    each: &mut dyn FnMut(KernelMessage),
) -> Result<(), RuntimeError> {
    loop {
        let heard = hear(socket).await?;
        if !ids.contains(&heard.parent) {
            continue;
        }
        if heard.msg_type == "status" && heard.content["execution_state"] == "idle" {
            return Ok(());
        }
        each(heard);
    }
}

/// Completes when the process has ended.
async fn ended(child: &mut Child) {
    while matches!(child.try_wait(), Ok(None)) {
        tokio::time::sleep(AGAIN).await;
    }
}

/// Returns the error in a reply or a message on iopub.
fn error(content: &Value) -> Outcome {
    let text = |field: &str| content[field].as_str().unwrap_or_default().to_owned();
    let lines = content["traceback"].as_array().into_iter().flatten();
    let traceback = lines.filter_map(|line| Some(line.as_str()?.to_owned())).collect();
    // The protocol has no other word for it: ipykernel says `KeyboardInterrupt`.
    let name = text("ename");
    let interrupted = ["Interrupted", "KeyboardInterrupt"].contains(&name.as_str());
    Outcome::Error { name, value: text("evalue"), traceback, diagnostic: None, interrupted }
}

/// Returns the event in a message on iopub.
fn event(heard: &KernelMessage) -> Option<Event> {
    let content = &heard.content;
    let id = || content["transient"]["display_id"].as_str().map(str::to_owned);
    let data = || {
        let forms = content["data"].as_object();
        let plain = content["data"]["text/plain"].as_str().unwrap_or_default();
        let other = forms.into_iter().flatten().filter(|(mime, _)| *mime != "text/plain");
        other.fold(MimeBundle::text(plain), |bundle, (mime, form)| bundle.with(mime, form.clone()))
    };
    Some(match heard.msg_type.as_str() {
        "stream" => {
            let stream = if content["name"] == "stderr" { Stream::Stderr } else { Stream::Stdout };
            Event::Text { stream, text: content["text"].as_str().unwrap_or_default().to_owned() }
        }
        "display_data" => Event::Display { data: data(), id: id() },
        "update_display_data" => Event::Update { data: data(), id: id()? },
        "execute_result" => Event::Result { data: data() },
        "clear_output" => Event::Clear { wait: content["wait"] == true },
        _ => return None,
    })
}

impl Engine for Peer {
    /// Waits until both the reply and the idle of the request have arrived.
    fn execute(&mut self, cell: &Cell, output: &mut dyn Output) -> Outcome {
        let Self { child, client: Client { shell, iopub, .. }, runtime, .. } = self;
        let request = ExecuteRequest { allow_stdin: false, ..ExecuteRequest::new(cell.code.clone()) };
        // evcxr reports only on iopub that a cell failed.
        let mut told = None;
        let run = async {
            let id = [send(shell, request).await?];
            let shown = &mut |heard: KernelMessage| match event(&heard) {
                Some(event) => output.event(event),
                None if heard.msg_type == "error" => told = Some(error(&heard.content)),
                None => {}
            };
            until_idle(iopub, &id, shown).await?;
            reply(shell, &id).await
        };
        let ran = runtime.block_on(async {
            tokio::select! {
                ran = run => ran.map_err(|problem| problem.to_string()),
                () = ended(child) => Err("the kernel ended".to_owned()),
                () = tokio::time::sleep(CELL) => Err(format!("no reply within {} s", CELL.as_secs())),
            }
        });
        match (ran, told) {
            (Ok(_), Some(told)) => told,
            (Ok(reply), None) if reply["status"] == "ok" => Outcome::Ok,
            (Ok(reply), None) => error(&reply),
            (Err(problem), _) => {
                let traceback = vec![format!("KernelLost: {problem}")];
                Outcome::Error {
                    name: "KernelLost".to_owned(),
                    value: problem,
                    traceback,
                    diagnostic: None,
                    interrupted: false,
                }
            }
        }
    }

    fn interrupter(&self) -> Interrupter {
        let process = self.child.id();
        Arc::new(move || system::send(process, system::INTERRUPT))
    }

    fn assist(&self) -> Arc<dyn Assist> {
        Unavailable::new("").assist()
    }

    fn process(&self) -> Option<u32> {
        Some(self.child.id())
    }

    fn shutdown(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let control = &mut self.client.control;
            let asked = async {
                let id = [send(control, ShutdownRequest { restart: false }).await?];
                reply(control, &id).await
            };
            let _ = self.runtime.block_on(async { timeout(END, asked).await });
            let until = Instant::now() + END;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
                std::thread::sleep(MOMENT);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shutdown();
    }
}
