//! The kernel's log: what nobody but the reader of its standard error can be told.

use std::io::Write;

/// Writes a line to the log.
pub(crate) fn log(message: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "chandlery: {message}");
}
