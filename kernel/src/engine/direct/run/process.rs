//! The worker process: starting it, sending requests, forwarding its reports.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use chandlery::cell::{Ending, Variable};

use super::text::Decoder;
use crate::cgroup::MemoryGroups;
use crate::descendants;
use crate::engine::direct::generate::content::Contents;
use crate::engine::{Event, Output, Stream};
use crate::system;
use crate::worker::frame::{self, Report, WorkerRequest};
use crate::worker::{GREETING, SOCKET};

/// After this long without more text, a possible start of a marker is passed on as text.
const SETTLED: Duration = Duration::from_millis(30);

/// How long a worker may take to exit after its variables are dropped.
const EXIT: Duration = Duration::from_millis(300);

/// How often the engine checks on a worker that is silent.
const LOOK_UP: Duration = Duration::from_millis(250);

/// What the engine does while a request is served.
pub(crate) struct Watch<'a> {
    /// Is called before a dead worker is waited for.
    pub(crate) before_wait: &'a dyn Fn(),
    /// Returns what to tell the user about a cell that was asked to stop and has not.
    pub(crate) overdue: &'a dyn Fn() -> Option<String>,
}

impl Watch<'_> {
    /// For requests that end at once.
    pub(crate) const NONE: Self = Self { before_wait: &|| {}, overdue: &|| None };
}

/// A running worker.
pub(crate) struct Worker {
    child: Child,
    socket: UnixStream,
    out: (ChildStdout, Decoder),
    err: (ChildStderr, Decoder),
    /// The end of its standard error, which explains its death.
    last_words: String,
    /// The control groups that count out-of-memory kills, and their count when the last request began.
    groups: MemoryGroups,
    kills: u64,
    contents: Contents,
    /// Internal type names and public paths, from the worker's toolkit.
    pub(crate) type_paths: Vec<(String, String)>,
}

/// The result of a request: it was served, or the worker died.
pub(crate) enum Served {
    Done {
        ending: Ending,
        variables: Vec<Variable>,
        /// How long it took to load a cell, and to run it.
        load: Duration,
        run: Duration,
    },
    /// Its last output was forwarded; how it ended.
    Died(String),
}

impl Worker {
    /// Starts a worker, in a folder if one is given, and waits until it is ready.
    pub(crate) fn start(program: &Path, folder: Option<&Path>) -> std::io::Result<Self> {
        let (mut ours, theirs) = UnixStream::pair()?;
        // Passed this way and not by an argument or a variable, which cells would see.
        ours.write_all(GREETING)?;
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(folder) = folder {
            command.current_dir(folder);
        }
        // A session of its own: Ctrl-C in the server's terminal must not reach the worker, which treats it as "stop the
        // cell", and what cells start is known by it.
        system::lead_session(&mut command);
        system::hand_over(&mut command, theirs.into(), SOCKET);
        let mut child = command.spawn()?;
        drop(command); // and with it our copy of the worker's end
        let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(std::io::Error::other("the worker has no output pipes"));
        };
        system::never_wait(&out);
        system::never_wait(&err);
        let mut socket = ours;
        let type_paths = match frame::read(&mut socket) {
            Ok(Report::Ready { type_paths }) => type_paths,
            _ => {
                let mut words = String::new();
                let mut err = err;
                let _ = child.wait().and_then(|_| err.read_to_string(&mut words));
                return Err(std::io::Error::other(format!("the worker did not start: {}", words.trim())));
            }
        };
        let (out, err) = ((out, Decoder::default()), (err, Decoder::default()));
        let contents = Contents::default();
        let groups = MemoryGroups::of_process(child.id());
        let kills = groups.kills();
        Ok(Self { child, socket, out, err, last_words: String::new(), groups, kills, contents, type_paths })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a request and forwards reports until it is served. All its text is forwarded before this returns.
    pub(crate) fn serve(&mut self, request: &WorkerRequest, output: &mut dyn Output, watch: &Watch<'_>) -> Served {
        self.kills = self.groups.kills();
        if frame::write(&mut self.socket, request).is_err() {
            return self.died(output, watch.before_wait);
        }
        loop {
            let ready = self.wait(output);
            // Text first: the worker flushed it before it sent the frame, and waits until displays are forwarded.
            self.drain(output);
            let report = match ready.then(|| frame::read::<Report>(&mut self.socket)) {
                Some(Err(_)) => return self.died(output, watch.before_wait),
                Some(Ok(report)) => Some(report),
                None => None,
            };
            let runs = !matches!(report, Some(Report::Done { .. }));
            if let Some(text) = runs.then(watch.overdue).flatten() {
                self.contents.settle(&mut |event| output.event(event));
                output.event(Event::Text { stream: Stream::Stderr, text });
            }
            let Some(report) = report else { continue };
            self.drain(output);
            self.contents.settle(&mut |event| output.event(event));
            let answer = match report {
                Report::Done { ending, variables, load, run } => {
                    self.finish_text(output);
                    return Served::Done { ending, variables, load, run };
                }
                Report::Ready { .. } => continue,
                Report::Shown { data } => {
                    output.event(Event::Display { data, id: None });
                    continue;
                }
                Report::Result { data } => {
                    output.event(Event::Result { data });
                    continue;
                }
                Report::Ask { prompt, password } => WorkerRequest::Answer { text: output.input(&prompt, password) },
                Report::Display { data, .. } if self.contents.is_announced(&data) => WorkerRequest::Forwarded,
                Report::Display { data, id } => forward(output, Event::Display { data, id }),
                Report::Update { data, id } => forward(output, Event::Update { data, id }),
                Report::Clear { wait } => forward(output, Event::Clear { wait }),
            };
            if frame::write(&mut self.socket, &answer).is_err() {
                return self.died(output, watch.before_wait);
            }
        }
    }

    /// Waits for text or a report; true if there is a report, or the worker is gone.
    fn wait(&mut self, output: &mut dyn Output) -> bool {
        if self.contents.is_waiting()
            && !system::has_more([self.socket.as_fd(), self.out.0.as_fd(), self.err.0.as_fd()], SETTLED)
        {
            self.contents.settle(&mut |event| output.event(event));
        }
        system::wait_for(self.socket.as_fd(), [self.out.0.as_fd(), self.err.0.as_fd()], LOOK_UP)
    }

    fn drain(&mut self, output: &mut dyn Output) {
        let Self { out, err, contents, last_words, .. } = self;
        pour(&mut out.0, &mut out.1, &mut |text| contents.push(&text, &mut |event| output.event(event)));
        pour(&mut err.0, &mut err.1, &mut |text| {
            contents.settle(&mut |event| output.event(event));
            last_words.push_str(&text);
            let cut = last_words.len().saturating_sub(WORDS);
            last_words.drain(..(cut..=last_words.len()).find(|at| last_words.is_char_boundary(*at)).unwrap_or(0));
            output.event(Event::Text { stream: Stream::Stderr, text });
        });
    }

    fn finish_text(&mut self, output: &mut dyn Output) {
        self.drain(output);
        if let Some(text) = self.out.1.finish() {
            self.contents.push(&text, &mut |event| output.event(event));
        }
        self.contents.finish(&mut |event| output.event(event));
        if let Some(text) = self.err.1.finish() {
            output.event(Event::Text { stream: Stream::Stderr, text });
        }
    }

    fn died(&mut self, output: &mut dyn Output, before_wait: &dyn Fn()) -> Served {
        self.finish_text(output);
        before_wait();
        descendants::end(self.id());
        // Its socket is closed, so it is ending; a worker that only closed its socket is killed.
        let gone = (0..50).any(|_| {
            let gone = matches!(self.child.try_wait(), Ok(Some(_)));
            if !gone {
                std::thread::sleep(Duration::from_millis(10));
            }
            gone
        });
        if !gone {
            let _ = self.child.kill();
        }
        let status = self.child.wait();
        self.finish_text(output);
        Served::Died(status.map_or_else(|error| error.to_string(), |status| self.describe(status)))
    }

    /// Waits a moment for the end of a worker that was asked to exit, and forwards its last text.
    pub(crate) fn finish(&mut self, output: &mut dyn Output) {
        let until = Instant::now() + EXIT;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.finish_text(output);
    }

    /// Forwards the available text.
    pub(crate) fn drain_background_output(&mut self, output: &mut dyn Output) {
        self.drain(output);
    }

    /// Returns how it ended, if it did.
    pub(crate) fn dead(&mut self, output: &mut dyn Output) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        descendants::end(self.id());
        self.finish_text(output);
        Some(self.describe(status))
    }

    fn describe(&self, status: ExitStatus) -> String {
        let Some(signal) = status.signal() else {
            return format!(
                "exit status {} (the process was ended from inside, as by `std::process::exit`)",
                status.code().unwrap_or_default()
            );
        };
        if let (libc::SIGKILL, Some(why)) = (signal, self.groups.blame(self.kills)) {
            return format!("SIGKILL: {why}");
        }
        let said = |words: &str| self.last_words.contains(words);
        let why = match signal {
            libc::SIGABRT if said("memory allocation of") => "SIGABRT: out of memory, an allocation failed",
            libc::SIGABRT if said("overflowed its stack") => "SIGABRT: stack overflow, perhaps infinite recursion",
            libc::SIGABRT if said("non-unwinding panic") || said("while processing panic") => {
                "SIGABRT: a panic where none is allowed, such as in `drop` during another panic"
            }
            libc::SIGABRT => "SIGABRT: abort",
            libc::SIGSEGV => "SIGSEGV: invalid memory access, or a stack overflow",
            libc::SIGBUS => "SIGBUS: memory that does not exist, such as of a mapped file that was truncated",
            libc::SIGFPE => "SIGFPE: arithmetic error",
            libc::SIGILL => "SIGILL: illegal instruction",
            libc::SIGKILL => "SIGKILL: ended from outside, perhaps because memory ran out",
            libc::SIGTERM => "SIGTERM: ended from outside",
            _ => return format!("signal {signal}"),
        };
        why.to_owned()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may be in the middle of a cell, so closing the socket is not enough.
        let _ = self.child.kill();
        descendants::end(self.id());
        let _ = self.child.wait();
    }
}

fn forward(output: &mut dyn Output, event: Event) -> WorkerRequest {
    output.event(event);
    WorkerRequest::Forwarded
}

fn pour(pipe: &mut impl Read, decoder: &mut Decoder, pass: &mut dyn FnMut(String)) {
    let mut bytes = [0; 16384];
    while let Ok(count @ 1..) = pipe.read(&mut bytes) {
        if let Some(text) = decoder.push(&bytes[..count]) {
            pass(text);
        }
    }
}

/// How much of its last output is kept.
const WORDS: usize = 4096;
