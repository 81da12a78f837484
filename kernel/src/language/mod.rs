//! The language process: evcxr's rust-analyzer, beside the kernel and never in the way of a cell.
//!
//! It is the executable `chandlery-evcxr` beside this command. The first question starts it; until it is ready, which takes
//! it tens of seconds and up to 2 GB of memory, and wherever it cannot run, questions have no answer, and the kernel's
//! own names serve. `CHANDLERY_LANGUAGE=off` leaves it out.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::engine::direct::folder::Folder;

/// The executable, beside the command.
pub const PROGRAM: &str = "chandlery-evcxr";

/// A person who pressed Tab does not wait longer.
const LIMIT: Duration = Duration::from_secs(1);

/// Analysis may go astray in code that does not make sense; a process that says nothing for so long is started anew.
const ASTRAY: Duration = Duration::from_secs(30);

#[derive(Serialize)]
struct Question<'a> {
    id: u64,
    code: &'a str,
    cursor: usize,
    inspect: bool,
}

/// What the process says; positions are byte offsets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It answers from now on.
    Ready {
        /// How long it took.
        milliseconds: u64,
        /// The toolkit's dependencies whose types it knows.
        dependencies: Vec<String>,
    },
    /// What may stand in a place.
    Completions {
        /// The question's.
        id: u64,
        /// What may replace `start..end`.
        matches: Vec<Match>,
        /// Where the replaced text starts.
        start: usize,
        /// Where it ends.
        end: usize,
    },
    /// Documentation.
    Inspection {
        /// The question's.
        id: u64,
        /// As text.
        plain: String,
        /// As a page.
        html: String,
    },
    /// Nothing is known.
    Nothing {
        /// The question's.
        id: u64,
    },
}

/// One candidate.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Match {
    /// What to insert.
    pub text: String,
    /// `function`, `class`, `module`, `instance` or `keyword`.
    pub kind: String,
}

/// The process, from the first question on.
pub struct Language {
    program: PathBuf,
    /// The compiler that the toolkit belongs to, and cargo beside it.
    rustc: Option<PathBuf>,
    state: Mutex<State>,
}

enum State {
    Idle,
    Running(Process),
    /// It will not be started again, and why.
    Ended(String),
}

struct Process {
    child: Child,
    input: ChildStdin,
    heard: Arc<Mutex<Heard>>,
    _folder: Folder,
    questions: u64,
}

/// What a question asks: code, cursor, whether to inspect.
type Key = (String, usize, bool);

#[derive(Default)]
struct Heard {
    ready: Option<Answer>,
    over: bool,
    waiting: HashMap<u64, Sender<Answer>>,
    /// The questions that are open, by what they ask.
    open: HashMap<u64, Key>,
    /// The last answer. It may have come too late for the one who asked; asked again, it is at hand.
    last: Option<(Key, Answer)>,
    /// Since when questions are open.
    since: Option<Instant>,
}

impl Language {
    /// A process to be started beside `command`, for cells that `rustc` compiles.
    pub fn new(command: &Path, rustc: Option<PathBuf>) -> Self {
        let off = std::env::var_os("CHANDLERY_LANGUAGE").is_some_and(|value| value == "off");
        let state = if off { State::Ended("switched off by CHANDLERY_LANGUAGE".to_owned()) } else { State::Idle };
        Self { program: command.with_file_name(PROGRAM), rustc, state: Mutex::new(state) }
    }

    /// What may follow at `cursor`, or what stands there. None if the process is not ready, does not know, or takes too long.
    pub fn ask(&self, code: &str, cursor: usize, inspect: bool) -> Option<Answer> {
        let answers = {
            let mut state = lock(&self.state);
            if let State::Running(process) = &*state
                && lock(&process.heard).since.is_some_and(|since| since.elapsed() > ASTRAY)
            {
                *state = State::Idle;
            }
            if let State::Idle = *state {
                *state = self
                    .start()
                    .map_or_else(|error| State::Ended(format!("{}: {error}", self.program.display())), State::Running);
            }
            let State::Running(process) = &mut *state else { return None };
            process.questions += 1;
            let id = process.questions;
            let (sender, answers) = channel();
            {
                let mut heard = lock(&process.heard);
                if heard.over {
                    drop(heard);
                    *state = State::Ended("the process ended".to_owned());
                    return None;
                }
                heard.ready.as_ref()?;
                let key = (code.to_owned(), cursor, inspect);
                if let Some((_, answer)) = heard.last.as_ref().filter(|(asked, _)| *asked == key) {
                    return Some(answer.clone());
                }
                heard.open.insert(id, key);
                heard.waiting.insert(id, sender);
                heard.since.get_or_insert_with(Instant::now);
            }
            let mut line = serde_json::to_vec(&Question { id, code, cursor, inspect }).ok()?;
            line.push(b'\n');
            process.input.write_all(&line).ok()?;
            answers
        };
        answers.recv_timeout(LIMIT).ok().filter(|answer| !matches!(answer, Answer::Nothing { .. }))
    }

    /// Its process id and what it said when it became ready.
    pub fn running(&self) -> Option<(u32, Option<Answer>)> {
        match &*lock(&self.state) {
            State::Running(process) => Some((process.child.id(), lock(&process.heard).ready.clone())),
            State::Idle | State::Ended(_) => None,
        }
    }

    /// Why there is no process and will be none.
    pub fn problem(&self) -> Option<String> {
        match &*lock(&self.state) {
            State::Ended(why) => Some(why.clone()),
            State::Idle | State::Running(_) => None,
        }
    }

    /// Ends the process.
    pub fn stop(&self) {
        *lock(&self.state) = State::Ended("the engine was shut down".to_owned());
    }

    fn start(&self) -> std::io::Result<Process> {
        let rustc = self.rustc.as_ref().ok_or_else(|| std::io::Error::other("no compiler"))?;
        if !self.program.is_file() {
            return Err(std::io::Error::other("not installed"));
        }
        let folder = Folder::fresh(&std::env::temp_dir())?;
        let mut command = command(&self.program, rustc, folder.path())?;
        command.arg("language").arg(folder.path()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(std::io::Error::other("no pipes"));
        };
        let heard = Arc::new(Mutex::new(Heard::default()));
        let hears = Arc::clone(&heard);
        std::thread::Builder::new().name("language".into()).spawn(move || listen(output, &hears))?;
        Ok(Process { child, input, heard, _folder: folder, questions: 0 })
    }
}

/// The executable, to be started with `folder` for its files and with the tools of `rustc`'s toolchain.
///
/// # Errors
/// A folder whose name cannot stand in a search path.
pub(crate) fn command(program: &Path, rustc: &Path, folder: &Path) -> std::io::Result<Command> {
    let tools = rustc.parent().unwrap_or(Path::new("/"));
    let beside = program.parent().unwrap_or(Path::new("/"));
    let joined = |first: &[&Path], variable: &str| {
        let rest = std::env::var_os(variable).unwrap_or_default();
        let rest = std::env::split_paths(&rest).filter(|path| !path.as_os_str().is_empty()).collect::<Vec<_>>();
        std::env::join_paths(first.iter().map(|path| (*path).to_owned()).chain(rest)).map_err(std::io::Error::other)
    };
    // The standard library lies beside an installed command, and by target in a toolchain.
    let targets = std::fs::read_dir(tools.with_file_name("lib").join("rustlib")).into_iter().flatten().flatten();
    let targets: Vec<PathBuf> = targets.map(|target| target.path().join("lib")).filter(|path| path.is_dir()).collect();
    let libraries: Vec<&Path> = std::iter::once(beside).chain(targets.iter().map(PathBuf::as_path)).collect();
    let mut command = Command::new(program);
    command
        .env("EVCXR_TMPDIR", folder.join("context"))
        // A person's start-up file for evcxr is meant for evcxr's notebooks.
        .env("EVCXR_CONFIG_DIR", folder.join("config"))
        .env("CARGO_NET_OFFLINE", "true")
        .env("PATH", joined(&[tools], "PATH")?)
        .env("LD_LIBRARY_PATH", joined(&libraries, "LD_LIBRARY_PATH")?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    // Ctrl-C in the server's terminal is for the running cell.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Ok(command)
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(output: ChildStdout, heard: &Mutex<Heard>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        // evcxr may print a line of its own.
        let Ok(answer) = serde_json::from_str::<Answer>(&line) else { continue };
        let mut heard = lock(heard);
        heard.since = None;
        match answer {
            Answer::Ready { .. } => heard.ready = Some(answer),
            Answer::Completions { id, .. } | Answer::Inspection { id, .. } | Answer::Nothing { id } => {
                if let Some(key) = heard.open.remove(&id).filter(|_| !matches!(answer, Answer::Nothing { .. })) {
                    heard.last = Some((key, answer.clone()));
                }
                if let Some(waiting) = heard.waiting.remove(&id) {
                    // One that waited too long is gone.
                    let _ = waiting.send(answer);
                }
            }
        }
    }
    let mut heard = lock(heard);
    heard.over = true;
    heard.waiting.clear();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
