//! The language process: evcxr's rust-analyzer, beside the kernel and never in the way of a cell.
//!
//! It is the executable `chandlery-evcxr` beside this command. The first question starts it; until it is ready, some
//! seconds later, and wherever it cannot run, questions have no answer, and the kernel's own names serve. It knows the
//! toolkit then, in half a gigabyte. A second one, which learns the types of candle and polars as well, takes its place
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

/// A process that hung or broke off is started anew so many times.
const RESTARTS: u32 = 3;

const SWITCHED_OFF: &str = "switched off by CHANDLERY_LANGUAGE";
const SHUT_DOWN: &str = "the engine was shut down";

/// How long is waited, for what.
#[derive(Clone, Copy)]
struct Limits {
    /// A person who pressed Tab does not wait longer. JupyterLab gives up after a second.
    answer: Duration,
    /// Analysis may go astray in code that does not make sense; a process that owes an answer and says nothing for so long
    /// is started anew.
    astray: Duration,
    /// A process that is not ready by then never will be.
    start: Duration,
    /// One that nobody asked for so long ends, since it holds much memory.
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
    /// The crates that cells can use, and the library that was built of them.
    crates: Mutex<(PathBuf, Vec<Crate>)>,
    state: Mutex<State>,
}

enum State {
    Idle,
    Running {
        process: Process,
        /// The one that will take its place.
        next: Option<Process>,
        /// Whether there was one to take its place.
        tried: bool,
    },
    /// It will not be started again, and why.
    Ended(String),
}

impl Language {
    /// A process to be started beside `command`, for cells that `rustc` compiles.
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

    /// What may follow at `cursor`, or what stands there. None if the process is not ready, does not know, or takes too
    /// long for somebody who waits since then; an answer that comes late is there for the same question asked again.
    pub fn ask(&self, code: &str, cursor: usize, inspect: bool, since: Instant) -> Option<LanguageReply> {
        match self.send(code, cursor, inspect)? {
            Asked::Known(answer) => Some(answer),
            Asked::Waits(answer) => {
                let answer = answer.recv_timeout(self.limits.answer.saturating_sub(since.elapsed())).ok();
                answer.filter(|answer| !matches!(answer, LanguageReply::Nothing { .. }))
            }
        }
    }

    /// Asks, and starts the process if need be. Nobody else can ask meanwhile, so nothing here waits.
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

    /// The crates that cells can use from now on, and the library that was built of them. If they are others than before,
    /// the next question starts the process anew.
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

    /// Its process id and what it said when it became ready.
    pub fn running(&self) -> Option<(u32, Option<LanguageReply>)> {
        match &*lock(&self.state) {
            State::Running { process, .. } => Some((process.id(), process.ready())),
            State::Idle | State::Ended(_) => None,
        }
    }

    /// Why there is no process and will be none.
    pub fn problem(&self) -> Option<String> {
        match &*lock(&self.state) {
            State::Ended(why) => Some(why.clone()),
            State::Idle | State::Running { .. } => None,
        }
    }

    /// What to say to somebody who asks when there is no answer yet, or will be none.
    pub(crate) fn excuse(&self) -> Option<String> {
        match &*lock(&self.state) {
            State::Running { process, .. } if process.ready().is_none() => {
                Some("rust-analyzer is still starting: ask again in a few seconds".to_owned())
            }
            State::Ended(why) if Self::is_wanted(why) => Some(format!("nothing is known about code here: {why}")),
            State::Idle | State::Running { .. } | State::Ended(_) => None,
        }
    }

    /// Whether a process that ended for this reason was meant to run.
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
