//! Signals that ask a run to stop: Ctrl-C, and those with which systems and build servers end a job.

use std::fmt::{Display, Formatter};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::engine::Interrupter;
use crate::system;

/// A signal that asks a run to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGINT, which Ctrl-C sends.
    Interrupt,
    /// SIGTERM, which systems send to end a process.
    Terminate,
    /// SIGHUP: the terminal is gone.
    HangUp,
}

impl StopSignal {
    /// Returns the exit code that shells report for a process that the signal ended.
    pub fn exit_code(self) -> u8 {
        let number = match self {
            Self::Interrupt => libc::SIGINT,
            Self::Terminate => libc::SIGTERM,
            Self::HangUp => libc::SIGHUP,
        };
        u8::try_from(128 + number).unwrap_or(u8::MAX)
    }

    /// How long a cell may take to stop before it is killed: the sender of the signal will kill this process soon.
    fn grace(self) -> Duration {
        match self {
            Self::Interrupt => Duration::from_secs(3),
            Self::Terminate | Self::HangUp => Duration::from_secs(1),
        }
    }
}

impl Display for StopSignal {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "Ctrl-C",
            Self::Terminate => "SIGTERM",
            Self::HangUp => "SIGHUP",
        })
    }
}

/// A request to stop the run, shared by everything that may make it and everything that obeys it.
#[derive(Clone, Default)]
pub struct StopRequest(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The first signal, and how many there were.
    first: Option<StopSignal>,
    count: u32,
    last: Option<Instant>,
    /// The engines that run, each under a number of its own.
    engines: Vec<(u64, Interrupter)>,
}

/// After this many signals, the last of them this long after the one before, the process ends without saving.
const LAST: (u32, Duration) = (3, Duration::from_secs(2));

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StopRequest {
    /// Catches the signals for the rest of the process.
    ///
    /// # Errors
    /// If the system refuses a handler.
    pub fn catch() -> std::io::Result<Self> {
        let this = Self::default();
        let watcher = this.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut interrupt, mut terminate, mut hang_up) = {
            let _inside = runtime.enter();
            // `nohup` makes programs ignore it.
            let ignored = system::is_ignored(libc::SIGHUP);
            let hang_up = if ignored { None } else { Some(signal(SignalKind::hangup())?) };
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, hang_up)
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                loop {
                    let hung_up = async {
                        match &mut hang_up {
                            Some(hang_up) => hang_up.recv().await,
                            None => std::future::pending().await,
                        }
                    };
                    let signal = tokio::select! {
                        _ = interrupt.recv() => StopSignal::Interrupt,
                        _ = terminate.recv() => StopSignal::Terminate,
                        _ = hung_up => StopSignal::HangUp,
                    };
                    if !watcher.make(signal) {
                        std::process::exit(i32::from(signal.exit_code()));
                    }
                }
            });
        })?;
        Ok(this)
    }

    /// Handles a signal; also called by the runner's tests. Returns false if the process must end.
    pub fn make(&self, signal: StopSignal) -> bool {
        let (first, engines) = {
            let mut state = locked(&self.0);
            state.first.get_or_insert(signal);
            state.count += 1;
            let waited = state.last.replace(Instant::now()).is_some_and(|last| last.elapsed() >= LAST.1);
            if state.count >= LAST.0 && waited {
                return false;
            }
            (state.count == 1, state.engines.clone())
        };
        for (_, interrupt) in engines {
            interrupt();
            if !first {
                interrupt(); // by force, even if the engine did not hear the first one
            }
        }
        if first {
            let state = Arc::downgrade(&self.0);
            // Without the thread, a second signal ends a cell that ignores the first.
            let _ = std::thread::Builder::new().name("stopping".to_owned()).spawn(move || insist(&state, signal));
        }
        true
    }

    /// Returns the signal that asked to stop, if one came.
    pub fn signal(&self) -> Option<StopSignal> {
        locked(&self.0).first
    }

    /// Returns whether a second signal came, so that there is only time to save.
    pub(super) fn is_urgent(&self) -> bool {
        locked(&self.0).count > 1
    }

    /// Adds an engine that is interrupted, until the guard is dropped.
    pub(super) fn attach(&self, interrupter: Interrupter) -> impl Drop + use<> {
        let mut state = locked(&self.0);
        let number = state.engines.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
        state.engines.push((number, interrupter));
        Attached(Arc::clone(&self.0), number)
    }
}

/// Interrupts the engines repeatedly: a cell that ignores the first interrupt is killed by the second.
fn insist(state: &Weak<Mutex<State>>, signal: StopSignal) {
    loop {
        std::thread::sleep(signal.grace());
        let Some(state) = state.upgrade() else { return };
        let engines = locked(&state).engines.clone();
        engines.iter().for_each(|(_, interrupt)| interrupt());
    }
}

struct Attached(Arc<Mutex<State>>, u64);

impl Drop for Attached {
    fn drop(&mut self) {
        locked(&self.0).engines.retain(|(number, _)| *number != self.1);
    }
}
