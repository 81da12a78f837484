//! evcxr as an engine, for comparison with `direct`: its context is in a separate process, `chandlery-evcxr engine`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chandlery::display::MimeBundle;
use serde::Deserialize;

use super::{Assist, Cell, Engine, Event, Interrupter, Outcome, Output, Stream, Unavailable};
use crate::private_folder::PrivateFolder;
use crate::{language, system};

/// A message from the process.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum EvcxrMessage {
    Ready(#[allow(dead_code, reason = "it is always true")] bool),
    Stdout(String),
    Stderr(String),
    Done(Done),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Done {
    Ok { content: BTreeMap<String, String> },
    Failed { name: String, value: String, traceback: Vec<String> },
}

/// The evcxr engine. It does not have displays while a cell runs or input, and an interrupt ends its process with all variables.
pub struct Evcxr {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    folder: PrivateFolder,
    /// The user asked the running cell to stop.
    stopped: Arc<AtomicBool>,
}

impl Evcxr {
    /// Starts the process beside `command`, with the compiler `rustc`, in a folder, and waits until it takes cells.
    ///
    /// # Errors
    /// The error of starting the process.
    pub fn start(command: &Path, rustc: &Path, within: Option<&Path>) -> std::io::Result<Self> {
        let folder = PrivateFolder::fresh(&std::env::temp_dir())?;
        let program = command.with_file_name(language::PROGRAM);
        let mut command = language::command(&program, rustc, folder.path())?;
        command.arg("engine").arg(folder.path()).env_remove("CARGO_NET_OFFLINE");
        if let Some(within) = within {
            command.current_dir(within);
        }
        let mut child =
            command.spawn().map_err(|error| std::io::Error::other(format!("{}: {error}", program.display())))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(std::io::Error::other("no pipes"));
        };
        let mut engine = Self { child, input, output: BufReader::new(output), folder, stopped: Arc::default() };
        match engine.next() {
            Some(EvcxrMessage::Ready(_)) => Ok(engine),
            _ => Err(std::io::Error::other("evcxr did not start; it needs cargo beside rustc")),
        }
    }

    fn next(&mut self) -> Option<EvcxrMessage> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.output.read_line(&mut line).ok()? == 0 {
                return None;
            }
            // evcxr may print other lines.
            if let Ok(said) = serde_json::from_str(&line) {
                return Some(said);
            }
        }
    }
}

impl Engine for Evcxr {
    fn execute(&mut self, cell: &Cell, output: &mut dyn Output) -> Outcome {
        self.stopped.store(false, Ordering::SeqCst);
        let died = |value: &str| Outcome::Error {
            name: "WorkerDied".to_owned(),
            value: value.to_owned(),
            traceback: vec![format!("WorkerDied: {value}")],
            diagnostic: None,
            interrupted: false,
        };
        let line = serde_json::to_string(&cell.code).unwrap_or_default() + "\n";
        if self.input.write_all(line.as_bytes()).is_err() {
            return died("evcxr is not running; restart the kernel");
        }
        loop {
            match self.next() {
                None => return died("evcxr ended; restart the kernel"),
                Some(EvcxrMessage::Ready(_)) => {}
                Some(EvcxrMessage::Stdout(text)) => output.event(Event::Text { stream: Stream::Stdout, text }),
                Some(EvcxrMessage::Stderr(text)) => output.event(Event::Text { stream: Stream::Stderr, text }),
                Some(EvcxrMessage::Done(Done::Ok { content })) => {
                    if !content.is_empty() {
                        output.event(Event::Result { data: bundle(content) });
                    }
                    return Outcome::Ok;
                }
                Some(EvcxrMessage::Done(Done::Failed { name, value, traceback })) => {
                    if self.stopped.load(Ordering::SeqCst) {
                        let value = "evcxr can only end its process; all variables were lost".to_owned();
                        let traceback = vec![format!("Interrupted: {value}")];
                        let name = "Interrupted".to_owned();
                        return Outcome::Error { name, value, traceback, diagnostic: None, interrupted: true };
                    }
                    return Outcome::Error { name, value, traceback, diagnostic: None, interrupted: false };
                }
            }
        }
    }

    fn interrupter(&self) -> Interrupter {
        let (stopped, notes) = (Arc::clone(&self.stopped), self.folder.path().join("notes"));
        Arc::new(move || {
            stopped.store(true, Ordering::SeqCst);
            // The numbers in the notes are the processes that ran cells; the last one does.
            let notes = std::fs::read_to_string(&notes).unwrap_or_default();
            if let Some(process) = notes.lines().rev().find_map(|line| line.parse().ok()) {
                system::send(process, system::KILL);
            }
        })
    }

    fn assist(&self) -> Arc<dyn Assist> {
        Unavailable::new("").assist()
    }

    fn shutdown(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Evcxr {
    fn drop(&mut self) {
        self.shutdown();
    }
}

fn bundle(content: BTreeMap<String, String>) -> MimeBundle {
    let plain = content.get("text/plain").cloned();
    let named = || format!("[{}]", content.keys().cloned().collect::<Vec<_>>().join(", "));
    let bundle = MimeBundle::text(plain.unwrap_or_else(named));
    content.iter().filter(|(mime, _)| *mime != "text/plain").fold(bundle, |bundle, (mime, text)| {
        let parsed = mime.ends_with("json").then(|| serde_json::from_str::<serde_json::Value>(text).ok()).flatten();
        match parsed {
            Some(value) => bundle.with(mime, value),
            None => bundle.with(mime, text.as_str()),
        }
    })
}
