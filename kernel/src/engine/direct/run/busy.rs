//! What the engine is doing right now, so that another thread can stop it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::system;

/// How long a cell may take to stop before the user is told why it is still running.
const OVERDUE: Duration = Duration::from_secs(1);

/// The user asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stopped;

/// Shared between the running cell and its interrupter.
#[derive(Default)]
pub(crate) struct Busy(Mutex<State>);

#[derive(Default)]
struct State {
    phase: Phase,
    asked: u32,
    /// When the worker was asked to stop; cleared once the user has been told that it did not.
    waiting: Option<Instant>,
}

#[derive(Default)]
enum Phase {
    /// No cell.
    #[default]
    Idle,
    /// Between two processes.
    Between,
    /// A compiler runs.
    Compiling(u32),
    /// The worker runs.
    Running(u32),
}

impl Busy {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces a cell.
    pub(crate) fn announce(&self) {
        *self.state() = State { phase: Phase::Between, ..State::default() };
    }

    /// Begins a cell, whether it was announced or not.
    pub(crate) fn begin(&self) {
        if matches!(self.state().phase, Phase::Idle) {
            self.announce();
        }
    }

    /// Ends the cell.
    pub(crate) fn end(&self) {
        self.state().phase = Phase::Idle;
    }

    /// Notes that a compiler starts. Until [`compiled`](Self::compiled), its process may be killed, so it must not be waited for.
    pub(crate) fn compiling(&self, process: u32) -> Result<(), Stopped> {
        self.enter(Phase::Compiling(process))
    }

    /// Notes that the compiler is about to be waited for.
    pub(crate) fn compiled(&self) -> Result<(), Stopped> {
        self.enter(Phase::Between)
    }

    /// Notes that the worker starts a request.
    pub(crate) fn running(&self, process: u32) -> Result<(), Stopped> {
        self.enter(Phase::Running(process))
    }

    /// Notes that the worker is done, or about to be waited for.
    pub(crate) fn rested(&self) {
        let mut state = self.state();
        (state.phase, state.waiting) = (Phase::Between, None);
    }

    /// Returns whether the worker was asked to stop and is still running; true once for each cell.
    pub(crate) fn is_overdue(&self) -> bool {
        self.state().waiting.take_if(|asked| asked.elapsed() >= OVERDUE).is_some()
    }

    /// Returns how often the user asked to stop this cell.
    pub(crate) fn asked(&self) -> u32 {
        self.state().asked
    }

    fn enter(&self, phase: Phase) -> Result<(), Stopped> {
        let mut state = self.state();
        state.phase = phase;
        if state.asked > 0 { Err(Stopped) } else { Ok(()) }
    }

    /// Stops the current work: a compiler at once; the worker by request the first time, by force the second time.
    pub(crate) fn interrupt(&self) {
        let mut state = self.state();
        let (process, signal) = match state.phase {
            Phase::Idle => return,
            Phase::Between => {
                state.asked += 1;
                return;
            }
            Phase::Compiling(process) => {
                state.asked += 1;
                // It leads a process group, because cargo starts compilers.
                system::send_group(process, system::KILL);
                return;
            }
            Phase::Running(process) if state.asked == 0 => {
                state.waiting = Some(Instant::now());
                (process, system::INTERRUPT)
            }
            Phase::Running(process) => {
                state.waiting = None;
                (process, system::KILL)
            }
        };
        state.asked += 1;
        // A child that has not been waited for, because the phase changes before that. It leads a process group, like a shell's job, so
        // programs that the cell waits for are stopped as well.
        system::send_group(process, signal);
    }
}
