//! Cooperative interruption: long loops ask [`check`], a notebook's stop button calls [`request`].

use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// The work stopped because the user asked for it; everything made before is intact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Asks the running work to stop at its next [`check`]. Safe to call from a signal handler.
pub fn request() {
    REQUESTED.store(true, Ordering::SeqCst);
}

/// Forgets an earlier request; the kernel calls this before each cell.
pub fn reset() {
    REQUESTED.store(false, Ordering::SeqCst);
}

/// Fails once the user asked to stop. Call it in loops that may take longer than a second.
///
/// # Errors
/// [`Interrupted`] if [`request`] was called since the last [`reset`].
pub fn check() -> Result<(), Interrupted> {
    if REQUESTED.load(Ordering::SeqCst) { Err(Interrupted) } else { Ok(()) }
}
