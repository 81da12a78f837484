//! Stopping a cell of a headless run: by the clock, and by Ctrl-C.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::Duration;

use crate::engine::Interrupter;

/// After the first interrupt, how long a cell may take to stop before the engine is told again, which kills it.
const GRACE: Duration = Duration::from_secs(1);

/// Runs `work`; interrupts it once `limit` has passed. The flag says whether that happened.
pub fn with_timeout<R>(limit: Option<Duration>, interrupter: &Interrupter, work: impl FnOnce() -> R) -> (R, bool) {
    let Some(limit) = limit else { return (work(), false) };
    let fired = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        let (done, finished) = mpsc::channel::<()>();
        let fired = &fired;
        scope.spawn(move || {
            let mut wait = limit;
            while finished.recv_timeout(wait) == Err(mpsc::RecvTimeoutError::Timeout) {
                fired.store(true, Ordering::SeqCst);
                interrupter();
                wait = GRACE;
            }
        });
        let result = work();
        drop(done);
        result
    });
    (result, fired.into_inner())
}

/// Ctrl-C as a request to stop the running cell, instead of the end of the process.
#[derive(Clone, Default)]
pub struct CtrlC {
    pressed: Arc<AtomicBool>,
    targets: Targets,
}

/// The engines that run, each under a number of its own.
type Targets = Arc<Mutex<Vec<(u64, Interrupter)>>>;

fn all(targets: &Targets) -> MutexGuard<'_, Vec<(u64, Interrupter)>> {
    targets.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl CtrlC {
    /// Catches Ctrl-C for the rest of the process.
    ///
    /// # Errors
    /// If the system refuses the handler.
    pub fn catch() -> std::io::Result<Self> {
        let this = Self::default();
        let watcher = this.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let mut signals = {
            let _inside = runtime.enter();
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?
        };
        std::thread::Builder::new().name("ctrl-c".to_owned()).spawn(move || {
            runtime.block_on(async {
                while signals.recv().await.is_some() {
                    watcher.press();
                }
            });
        })?;
        Ok(this)
    }

    /// What the handler does; the runner's tests press it too.
    pub fn press(&self) {
        self.pressed.store(true, Ordering::SeqCst);
        let targets = all(&self.targets).clone();
        targets.iter().for_each(|(_, interrupt)| interrupt());
    }

    /// Whether the user asked to stop.
    pub fn was_pressed(&self) -> bool {
        self.pressed.load(Ordering::SeqCst)
    }

    /// Directs Ctrl-C at one more engine, until the guard is dropped.
    pub(super) fn attach(&self, interrupter: Interrupter) -> impl Drop + use<> {
        let mut targets = all(&self.targets);
        let number = targets.iter().map(|(number, _)| number + 1).max().unwrap_or(0);
        targets.push((number, interrupter));
        Attached(Arc::clone(&self.targets), number)
    }
}

struct Attached(Targets, u64);

impl Drop for Attached {
    fn drop(&mut self) {
        all(&self.0).retain(|(number, _)| *number != self.1);
    }
}
