//! Timeouts of cells in headless runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crate::engine::Interrupter;

/// After the first interrupt, how long a cell may take to stop before a second one kills it.
const GRACE: Duration = Duration::from_secs(1);

/// Runs `work`, and interrupts it after `limit`. The flag tells whether that happened.
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
