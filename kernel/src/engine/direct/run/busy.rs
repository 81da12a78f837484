//! What the engine is doing right now, so that another thread can stop it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::system;

/// How long a cell may take to stop before the user is told why it still runs.
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
    /// When the worker was asked, until the user was told that it has not stopped.
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

    /// A cell is announced.
    pub(crate) fn announce(&self) {
        *self.state() = State { phase: Phase::Between, ..State::default() };
    }

    /// A cell begins, announced or not.
    pub(crate) fn begin(&self) {
        if matches!(self.state().phase, Phase::Idle) {
            self.announce();
        }
    }

    /// The cell ended.
    pub(crate) fn end(&self) {
        self.state().phase = Phase::Idle;
    }

    /// A compiler starts. Until [`compiled`](Self::compiled), its process may be killed, so nobody may wait for it.
    pub(crate) fn compiling(&self, process: u32) -> Result<(), Stopped> {
        self.enter(Phase::Compiling(process))
    }

    /// The compiler is about to be waited for.
    pub(crate) fn compiled(&self) -> Result<(), Stopped> {
        self.enter(Phase::Between)
    }

    /// The worker starts on a request.
    pub(crate) fn running(&self, process: u32) -> Result<(), Stopped> {
        self.enter(Phase::Running(process))
    }

    /// The worker is done, or about to be waited for.
    pub(crate) fn rested(&self) {
        let mut state = self.state();
        (state.phase, state.waiting) = (Phase::Between, None);
    }

    /// Whether the worker was asked to stop and still runs; true once for each cell.
    pub(crate) fn is_overdue(&self) -> bool {
        self.state().waiting.take_if(|asked| asked.elapsed() >= OVERDUE).is_some()
    }

    /// How often the user asked to stop this cell.
    pub(crate) fn asked(&self) -> u32 {
        self.state().asked
    }

    fn enter(&self, phase: Phase) -> Result<(), Stopped> {
        let mut state = self.state();
        state.phase = phase;
        if state.asked > 0 { Err(Stopped) } else { Ok(()) }
    }

    /// Stops what is going on: a compiler at once; the worker first by asking, the second time by force.
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
                // It leads a group: cargo has compilers of its own.
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
        // A child of ours that was not waited for: the phase changes before that. It leads a group, as a shell's job does, so
        // programs that the cell waits for are stopped, too.
        system::send_group(process, signal);
    }
}
