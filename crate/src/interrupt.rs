//! Cooperative interruption: long loops ask [`check`], a notebook's stop button calls [`request`].

use std::sync::atomic::{AtomicBool, Ordering};

use crate::diagnostic::{Diagnose, Diagnostic};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// The work stopped because the user asked for it; earlier results are intact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.diagnostic())]
pub struct Interrupted;

impl Diagnose for Interrupted {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new("interrupted")
    }
}

/// Asks the running work to stop at its next [`check`]. Safe to call from a signal handler.
pub fn request() {
    REQUESTED.store(true, Ordering::SeqCst);
}

/// Returns the flag that [`request`] sets, for what sets it in a signal handler.
#[doc(hidden)]
pub fn flag() -> &'static AtomicBool {
    &REQUESTED
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

/// Whether the user asked to stop, as quickly as that can be told in code that is not optimized: [`AtomicBool::load`] is
/// three calls there.
#[doc(hidden)]
#[inline(always)]
pub fn is_requested() -> bool {
    flag::is_set(&REQUESTED)
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod flag {
    #![expect(unsafe_code, reason = "a relaxed load as one instruction")]

    use std::sync::atomic::AtomicBool;

    #[inline(always)]
    pub(super) fn is_set(flag: &AtomicBool) -> bool {
        let value: u32;
        let address = flag as *const AtomicBool;
        // SAFETY: reads one byte of a live `AtomicBool`, which is what a relaxed load does on this machine.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            std::arch::asm!("movzx {0:e}, byte ptr [{1}]", out(reg) value, in(reg) address, options(nostack, readonly, preserves_flags));
            #[cfg(target_arch = "aarch64")]
            std::arch::asm!("ldrb {0:w}, [{1}]", out(reg) value, in(reg) address, options(nostack, readonly, preserves_flags));
        }
        value != 0
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod flag {
    use std::sync::atomic::{AtomicBool, Ordering};

    #[inline]
    pub(super) fn is_set(flag: &AtomicBool) -> bool {
        flag.load(Ordering::Relaxed)
    }
}
