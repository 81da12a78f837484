//! Standard input of cells: every line is requested from the user.

use std::collections::VecDeque;
use std::io::{Error, Result, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chandlery::{cell, interrupt};

use crate::system;

/// What a user types for the end of input, as in a terminal (Ctrl-D).
const END: &str = "\u{4}";

/// An interrupt ends a question. Its signal may arrive a moment after the empty answer.
const SIGNAL: Duration = Duration::from_millis(50);

/// Makes `std::io::stdin()` ask the user.
pub(super) fn install() {
    let rest = Mutex::new(VecDeque::new());
    system::replace_stdin(move |count| {
        let mut rest = rest.lock().unwrap_or_else(PoisonError::into_inner);
        if rest.is_empty() {
            rest.extend(line()?.into_bytes());
        }
        let given = rest.len().min(count);
        Ok(rest.drain(..given).collect())
    });
}

/// Returns a line with its newline; empty at the end of input.
fn line() -> Result<String> {
    interrupted()?;
    // The cell's output comes before the question, so the question does not need a prompt.
    match cell::input("") {
        Some(line) if line == END => Ok(String::new()),
        Some(line) => Ok(line + "\n"),
        None => {
            std::thread::sleep(SIGNAL);
            interrupted()?;
            let _ = writeln!(std::io::stderr(), "standard input is empty: nobody can be asked for a line here");
            Ok(String::new())
        }
    }
}

/// Not `Interrupted`, after which readers retry.
fn interrupted() -> Result<()> {
    interrupt::check().map_err(|_| Error::from_raw_os_error(libc::ECANCELED))
}
