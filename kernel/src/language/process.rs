//! One run of the language process.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::asked::{Asked, Questions};
use super::messages::{Crate, LanguageReply, LanguageRequest, STD};
use super::{Limits, lock};
use crate::private_folder::PrivateFolder;

/// The file of its standard error.
const ERRORS: &str = "errors";

pub(super) struct Process {
    child: Child,
    requests: Sender<LanguageRequest>,
    heard: Arc<Mutex<Heard>>,
    folder: PrivateFolder,
    began: Instant,
}

#[derive(Default)]
struct Heard {
    ready: Option<LanguageReply>,
    over: bool,
    /// Whether it was told to end, because there were no questions.
    resting: bool,
    questions: Questions,
}

/// The state of the process.
pub(super) enum Health {
    Good,
    /// It ended after a long time without questions.
    Resting,
    /// It failed after it was ready, so another may work.
    Lost(String),
    /// It failed in a way in which another would fail as well.
    Hopeless(String),
}

impl Process {
    /// Starts a process, with or without the types of the toolkit's dependencies.
    pub(super) fn start(
        program: &Path,
        rustc: &Path,
        crates: Vec<Crate>,
        dependencies: bool,
        rest: Duration,
    ) -> std::io::Result<Self> {
        if !program.is_file() {
            return Err(std::io::Error::other(
                "not installed; build it with `cargo build --release` in the toolkit's folder, and run `chandlery kernel install` again",
            ));
        }
        let folder = PrivateFolder::fresh(&std::env::temp_dir())?;
        let mut command = command(program, rustc, folder.path())?;
        // If rust-analyzer does not find the sources of the standard library, it has rustup fetch them, and waits for the network.
        // So it always gets a folder, which the process fills.
        command.env("RUST_SRC_PATH", folder.path().join(STD));
        // Temporary files of rust-analyzer are removed with the folder if it is killed.
        command.env("TMPDIR", folder.path());
        command.arg("language").arg(folder.path()).stderr(File::create(folder.path().join(ERRORS))?);
        let mut child = command.spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(std::io::Error::other("no pipes"));
        };
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (hears, tells) = (Arc::clone(&heard), Arc::clone(&heard));
        let (requests, told) = channel();
        // A pipe may be full, and questions must not wait for that.
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        thread("language in").spawn(move || tell(input, &told, rest, &tells))?;
        thread("language out").spawn(move || listen(output, &hears))?;
        let _ = requests.send(LanguageRequest::Start { crates, std: std_sources(rustc), dependencies });
        Ok(Self { child, requests, heard, folder, began: Instant::now() })
    }

    /// Sends a question, if the process is ready.
    pub(super) fn ask(&self, code: &str, cursor: usize, inspect: bool) -> Option<Asked> {
        let mut heard = lock(&self.heard);
        heard.ready.as_ref()?;
        let (asked, question) = heard.questions.ask(code, cursor, inspect);
        if let Some(question) = question {
            self.requests.send(LanguageRequest::Question(question)).ok()?;
        }
        Some(asked)
    }

    pub(super) fn health(&self, limits: &Limits) -> Health {
        let heard = lock(&self.heard);
        match (&heard.ready, heard.over) {
            _ if heard.resting => Health::Resting,
            (None, true) => Health::Hopeless(self.last_words()),
            (None, false) if self.began.elapsed() > limits.start => {
                Health::Hopeless(format!("not ready after {} s", limits.start.as_secs()))
            }
            (Some(_), true) => Health::Lost(format!("it crashed: {}", self.last_words())),
            (Some(_), false) if heard.questions.owed().is_some_and(|owed| owed > limits.astray) => {
                Health::Lost(format!("no answer for {} s", limits.astray.as_secs()))
            }
            _ => Health::Good,
        }
    }

    /// Returns the last line that it wrote.
    fn last_words(&self) -> String {
        let words = std::fs::read(self.folder.path().join(ERRORS)).unwrap_or_default();
        let words = String::from_utf8_lossy(&words);
        words.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("the process ended").to_owned()
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns whether another process would know more.
    pub(super) fn could_know_more(&self) -> bool {
        matches!(lock(&self.heard).ready, Some(LanguageReply::Ready { more: true, .. }))
    }

    /// Returns its message when it became ready.
    pub(super) fn ready(&self) -> Option<LanguageReply> {
        lock(&self.heard).ready.clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the folder with the standard library's sources for a compiler: `RUST_SRC_PATH`, or what
/// `rustup component add rust-src` installs.
pub fn std_sources(rustc: &Path) -> Option<PathBuf> {
    let named = std::env::var_os("RUST_SRC_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
    let installed = || Some(rustc.ancestors().nth(2)?.join("lib/rustlib/src/rust/library"));
    named.or_else(installed).filter(|folder| folder.is_absolute() && folder.join("core").is_dir())
}

/// Passes requests on. The process ends after a long time without one, because it uses much memory.
fn tell(mut input: ChildStdin, requests: &Receiver<LanguageRequest>, rest: Duration, heard: &Mutex<Heard>) {
    loop {
        let request = match requests.recv_timeout(rest) {
            Ok(request) => request,
            Err(RecvTimeoutError::Timeout) => {
                lock(heard).resting = true;
                break;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let Ok(mut line) = serde_json::to_vec(&request) else { continue };
        line.push(b'\n');
        if input.write_all(&line).is_err() {
            break;
        }
    }
}

fn listen(output: ChildStdout, heard: &Mutex<Heard>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        // evcxr may print other lines.
        let Ok(answer) = serde_json::from_str::<LanguageReply>(&line) else { continue };
        let mut heard = lock(heard);
        match answer {
            LanguageReply::Ready { .. } => heard.ready = Some(answer),
            LanguageReply::Completions { id, .. }
            | LanguageReply::Inspection { id, .. }
            | LanguageReply::Nothing { id } => {
                heard.questions.answered(id, answer);
            }
        }
    }
    let mut heard = lock(heard);
    heard.over = true;
    heard.questions.abandon();
}

/// Returns the command, with `folder` for its files and the tools of `rustc`'s toolchain.
///
/// # Errors
/// A folder whose name cannot be in a search path.
pub(crate) fn command(program: &Path, rustc: &Path, folder: &Path) -> std::io::Result<Command> {
    let tools = rustc.parent().unwrap_or(Path::new("/"));
    let beside = program.parent().unwrap_or(Path::new("/"));
    let joined = |first: &[&Path], variable: &str| {
        let rest = std::env::var_os(variable).unwrap_or_default();
        let rest = std::env::split_paths(&rest).filter(|path| !path.as_os_str().is_empty()).collect::<Vec<_>>();
        std::env::join_paths(first.iter().map(|path| (*path).to_owned()).chain(rest)).map_err(std::io::Error::other)
    };
    // The standard library is beside an installed command, and in the folder of the target in a toolchain.
    let targets = std::fs::read_dir(tools.with_file_name("lib").join("rustlib")).into_iter().flatten().flatten();
    let targets: Vec<PathBuf> = targets.map(|target| target.path().join("lib")).filter(|path| path.is_dir()).collect();
    let libraries: Vec<&Path> = std::iter::once(beside).chain(targets.iter().map(PathBuf::as_path)).collect();
    let mut command = Command::new(program);
    command
        .env("EVCXR_TMPDIR", folder.join("context"))
        // The user's startup file for evcxr is meant for evcxr's notebooks.
        .env("EVCXR_CONFIG_DIR", folder.join("config"))
        .env("CARGO_NET_OFFLINE", "true")
        .env("PATH", joined(&[tools], "PATH")?)
        .env("LD_LIBRARY_PATH", joined(&libraries, "LD_LIBRARY_PATH")?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    // Ctrl-C in the server's terminal is meant for the running cell.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Ok(command)
}
