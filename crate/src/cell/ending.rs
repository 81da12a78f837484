//! How a cell's body ended, panics included.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io::Write;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};

use serde::{Deserialize, Serialize};

use super::CellError;
use crate::diagnostic::{Diagnose, Diagnostic};
use crate::interrupt::Interrupted;

/// A position in the generated source of a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePosition {
    /// The file the compiler read.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl SourcePosition {
    pub(super) fn of(location: &Location<'_>) -> Self {
        Self { file: location.file().to_owned(), line: location.line(), column: location.column() }
    }
}

/// How a cell or a magic ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// It completed.
    Done,
    /// It returned an error.
    Failed {
        /// The error's type, without module paths.
        type_name: String,
        /// What it says.
        diagnostic: Diagnostic,
        /// The position of the `?`.
        place: Option<SourcePosition>,
        /// Whether the user had asked it to stop.
        interrupted: bool,
    },
    /// It panicked.
    Panicked {
        /// The message.
        message: String,
        /// Where.
        place: Option<SourcePosition>,
    },
    /// It did not start, because stored variables do not have the types that its code expects. Nothing was changed.
    Refused {
        /// One line for each variable.
        reasons: Vec<String>,
    },
    /// It did not start, because it would store closures, which works only when its statements run in one piece.
    /// Nothing was changed.
    HoldsClosures,
}

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
    /// The last panic, until it is known whether it ends the cell.
    static PANIC: RefCell<Option<(SourcePosition, String)>> = const { RefCell::new(None) };
}

/// Runs a cell's body or a magic, catching panics.
pub(super) fn catch(body: &mut dyn FnMut() -> Result<(), CellError>) -> Ending {
    let outer = RUNNING.replace(true);
    PANIC.set(None);
    let caught = catch_unwind(AssertUnwindSafe(body));
    RUNNING.set(outer);
    if caught.is_ok() {
        write_pending(); // the cell caught it itself
    }
    match caught {
        Ok(Ok(())) => Ending::Done,
        Ok(Err(error)) => error.ending(),
        // A loop that is watched by `progress` was stopped by the user.
        Err(payload) if payload.is::<Interrupted>() => Ending::Failed {
            type_name: "Interrupted".to_owned(),
            diagnostic: Interrupted.diagnostic(),
            place: None,
            interrupted: true,
        },
        Err(payload) => {
            let message = panic_message(&*payload);
            // A payload whose own drop panics must not end the worker.
            let _ = catch_unwind(AssertUnwindSafe(move || drop(payload)));
            let place = PANIC.take().map(|(place, _)| place);
            // For example, a thread was stopped and the cell unwraps its result.
            if crate::interrupt::check().is_err() {
                let type_name = "Panic".to_owned();
                return Ending::Failed { type_name, diagnostic: message.into(), place, interrupted: true };
            }
            Ending::Panicked { message, place }
        }
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "panicked with a value that is not text".to_owned()
    }
}

/// Writes a panic that did not end the cell, as the standard library would have done at once.
fn write_pending() {
    if let Some((place, message)) = PANIC.take() {
        write("the cell", &place, &message);
    }
}

fn write(thread: &str, SourcePosition { file, line, column }: &SourcePosition, message: &str) {
    // In one piece, so that the kernel finds the place in it.
    let _ = std::io::stderr().write_all(format!("{thread} panicked at {file}:{line}:{column}: {message}\n").as_bytes());
}

/// Runs at the start of each loop iteration of a cell: ends the cell if the user asked it to stop.
#[inline(always)]
pub fn tick() {
    if crate::interrupt::is_requested() {
        stop();
    }
}

#[cold]
#[inline(never)]
fn stop() {
    // A second panic during unwinding would abort the process.
    if !std::thread::panicking() {
        std::panic::resume_unwind(Box::new(Interrupted));
    }
}

/// Makes the panic that ends a cell silent, because the kernel reports it with cell and line. Panics of other threads
/// are written to standard error, as are those that the cell caught, or that come while it unwinds.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let place =
            info.location().map_or(SourcePosition { file: String::new(), line: 0, column: 0 }, SourcePosition::of);
        let message = panic_message(info.payload());
        if !RUNNING.get() {
            let thread = std::thread::current();
            write(&format!("thread '{}'", thread.name().unwrap_or("<unnamed>")), &place, &message);
            return;
        }
        write_pending();
        if place.file.starts_with("library/core/src/panicking") || place.file.contains("/core/src/panicking") {
            write("the cell", &place, &message); // it aborts
        } else {
            PANIC.set(Some((place, message)));
        }
    }));
}
