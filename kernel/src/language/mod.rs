//! The language process: evcxr's rust-analyzer, beside the kernel, which never delays a cell.
//!
//! It is the executable `chandlery-evcxr` beside this command. The first question starts it; until it is ready, some
//! seconds later, and where it cannot run, questions are not answered, and the names of the session are used. It knows the
//! toolkit then, in half a gigabyte. A second one, which loads the types of candle and polars as well, takes its place
//! after tens of seconds, with up to 2 GB. `CHANDLERY_LANGUAGE=off` leaves it out.

mod asked;
pub(crate) mod documentation;
mod messages;
mod process;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use asked::Asked;
pub use messages::{BODY, Crate, LanguageReply, LanguageRequest, Match, Question, STD};
pub(crate) use process::command;
pub use process::std_sources;
use process::{Health, Process};

/// The executable, beside the command.
pub const PROGRAM: &str = "chandlery-evcxr";

/// How often a process that hangs or crashes is restarted.
const RESTARTS: u32 = 3;

const SWITCHED_OFF: &str = "switched off by CHANDLERY_LANGUAGE";
const SHUT_DOWN: &str = "the engine was shut down";

/// The time limits.
#[derive(Clone, Copy)]
struct Limits {
    /// For an answer: a person who pressed Tab does not wait longer, and JupyterLab gives up after a second.
    answer: Duration,
    /// Analysis may not terminate for invalid code: a process that owes an answer and is silent for this long
    /// is restarted.
    astray: Duration,
    /// For starting: a process that is not ready by then never will be.
    start: Duration,
    /// Without questions: the process ends after this time, because it uses much memory.
    rest: Duration,
}

const LIMITS: Limits = Limits {
    answer: Duration::from_millis(800),
    astray: Duration::from_secs(30),
    start: Duration::from_secs(600),
    rest: Duration::from_secs(3600),
};

/// The process, from the first question on.
pub struct Language {
    program: PathBuf,
    /// The compiler that the toolkit belongs to, and cargo beside it.
    rustc: Option<PathBuf>,
    limits: Limits,
    restarts: AtomicU32,
    /// The crates that cells can use, and the library that they were built into.
    crates: Mutex<(PathBuf, Vec<Crate>)>,
    state: Mutex<State>,
}

enum State {
    Idle,
    Running {
        process: Process,
        /// The process that will replace it.
        next: Option<Process>,
        /// Whether there was a process to replace it.
        tried: bool,
    },
    /// It will not be started again, for this reason.
    Ended(String),
}

impl Language {
    /// Creates a process that will be started from beside `command`, for cells that `rustc` compiles.
    pub fn new(command: &Path, rustc: Option<PathBuf>) -> Self {
        let off = std::env::var_os("CHANDLERY_LANGUAGE").is_some_and(|value| value == "off");
        let state = if off { State::Ended(SWITCHED_OFF.to_owned()) } else { State::Idle };
        Self {
            program: command.with_file_name(PROGRAM),
            rustc,
            limits: LIMITS,
            restarts: AtomicU32::new(0),
            crates: Mutex::default(),
            state: Mutex::new(state),
        }
    }

    /// Completes at `cursor`, or inspects the name there. Returns `None` if the process is not ready, does not know, or takes too
    /// long since `since`; an answer that arrives late is returned when the question is asked again.
    pub fn ask(&self, code: &str, cursor: usize, inspect: bool, since: Instant) -> Option<LanguageReply> {
        match self.send(code, cursor, inspect)? {
            Asked::Known(answer) => Some(answer),
            Asked::Waits(answer) => {
                let answer = answer.recv_timeout(self.limits.answer.saturating_sub(since.elapsed())).ok();
                answer.filter(|answer| !matches!(answer, LanguageReply::Nothing { .. }))
            }
        }
    }

    /// Asks, and starts the process if needed. It holds the lock, so it never waits.
    fn send(&self, code: &str, cursor: usize, inspect: bool) -> Option<Asked> {
        let mut state = lock(&self.state);
        if let State::Running { process, next, tried } = &mut *state {
            if let Some(other) = next.take_if(|next| next.ready().is_some()) {
                *process = other;
            } else if next.as_ref().is_some_and(|next| !matches!(next.health(&self.limits), Health::Good)) {
                *next = None;
            } else if !*tried && process.could_know_more() {
                *tried = true;
                *next = self.start(true).ok();
            }
            match process.health(&self.limits) {
                Health::Good => {}
                Health::Resting => *state = State::Idle,
                Health::Lost(why) if self.restarts.fetch_add(1, Ordering::Relaxed) >= RESTARTS => {
                    *state = State::Ended(format!("{why}, {} times", RESTARTS + 1));
                }
                Health::Lost(_) => *state = State::Idle,
                Health::Hopeless(why) => *state = State::Ended(why),
            }
        }
        if let State::Idle = *state {
            *state = match self.start(false) {
                Ok(process) => State::Running { process, next: None, tried: false },
                Err(error) => State::Ended(format!("{}: {error}", self.program.display())),
            };
        }
        let State::Running { process, .. } = &*state else { return None };
        process.ask(code, cursor, inspect)
    }

    fn start(&self, dependencies: bool) -> std::io::Result<Process> {
        let rustc = self.rustc.as_ref().ok_or_else(|| std::io::Error::other("no compiler"))?;
        Process::start(&self.program, rustc, lock(&self.crates).1.clone(), dependencies, self.limits.rest)
    }

    /// Sets the crates that cells can use from now on, and the library that they were built into. If they changed,
    /// the next question restarts the process.
    pub(crate) fn depend_on(&self, library: &Path, crates: impl FnOnce() -> Vec<Crate>) {
        let mut known = lock(&self.crates);
        if known.0 != library {
            *known = (library.to_owned(), crates());
            drop(known);
            let mut state = lock(&self.state);
            if let State::Running { .. } = &*state {
                *state = State::Idle;
            }
        }
    }

    /// Returns its process id and its message when it became ready.
    pub fn running(&self) -> Option<(u32, Option<LanguageReply>)> {
        match &*lock(&self.state) {
            State::Running { process, .. } => Some((process.id(), process.ready())),
            State::Idle | State::Ended(_) => None,
        }
    }

    /// Returns why there is no process and will not be one.
    pub fn problem(&self) -> Option<String> {
        match &*lock(&self.state) {
            State::Ended(why) => Some(why.clone()),
            State::Idle | State::Running { .. } => None,
        }
    }

    /// Returns what to tell the user if there is no answer yet, or will not be one.
    pub(crate) fn excuse(&self) -> Option<String> {
        match &*lock(&self.state) {
            State::Running { process, .. } if process.ready().is_none() => {
                Some("rust-analyzer is still starting: ask again in a few seconds".to_owned())
            }
            State::Ended(why) if Self::is_wanted(why) => Some(format!("nothing is known about code here: {why}")),
            State::Idle | State::Running { .. } | State::Ended(_) => None,
        }
    }

    /// Returns whether a process that ended for this reason was supposed to run.
    fn is_wanted(why: &str) -> bool {
        ![SWITCHED_OFF, SHUT_DOWN].contains(&why)
    }

    /// Ends the process.
    pub fn stop(&self) {
        *lock(&self.state) = State::Ended(SHUT_DOWN.to_owned());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
