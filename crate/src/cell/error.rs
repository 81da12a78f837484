//! The error type of a cell's body: anything that can be displayed converts to it by `?`.

use std::fmt::{Debug, Display, Formatter};
use std::panic::Location;

use super::ending::{Ending, SourcePosition};
use crate::diagnostic::Diagnostic;
use crate::display::short_type_name;

/// An error that `?` converted in a cell: what it says, the name of its type, and the position of the `?`.
///
/// It does not implement `Display`, because then the conversion from every displayable type would also be a conversion
/// from itself, which the language reserves.
#[derive(Debug)]
pub struct CellError {
    diagnostic: Diagnostic,
    type_name: &'static str,
    location: &'static Location<'static>,
    /// Not an error: the cell's own `return` ended it.
    ended: bool,
}

/// Replaces `return` without a value in a cell: the cell ends there, with success.
///
/// # Errors
/// Always, because only an error leaves the closures that a cell's statements run in.
#[track_caller]
pub fn ended<T>() -> Result<T, CellError> {
    Err(CellError { diagnostic: Diagnostic::default(), type_name: "", location: Location::caller(), ended: true })
}

/// Replaces `return value` in a cell: `Ok` ends it with success, an error ends it as `?` would.
///
/// # Errors
/// Always; see [`ended`].
#[track_caller]
pub fn ended_with<T>(value: Result<(), CellError>) -> Result<T, CellError> {
    match value {
        Ok(()) => ended(),
        Err(error) => Err(error),
    }
}

/// Converts what `main` of a cell that is a program returned.
///
/// # Errors
/// An exit code other than success.
#[track_caller]
pub fn exited(code: std::process::ExitCode) -> Result<(), CellError> {
    if code == std::process::ExitCode::SUCCESS {
        return Ok(());
    }
    // `ExitCode` has no accessor; its `Debug` is `ExitCode(unix_exit_status(3))`.
    let text = format!("{code:?}");
    let number: String = text.chars().filter(char::is_ascii_digit).collect();
    let diagnostic = Diagnostic::new(format!("`main` returned exit code {number}"));
    Err(CellError { diagnostic, type_name: "ExitCode", location: Location::caller(), ended: false })
}

impl<E: Display> From<E> for CellError {
    #[track_caller]
    // rustc shares instances of functions that are never inlined.
    #[inline(never)]
    fn from(error: E) -> Self {
        // Never dropped: an error ends its cell, and the code that drops it, down to candle's and the file system's errors,
        // would be compiled into every cell that has a `?`.
        let error = std::mem::ManuallyDrop::new(error);
        Self::new(&*error, std::any::type_name::<E>(), Location::caller())
    }
}

/// An error that implements only `Debug`. Before a `?` that does not compile without it, the kernel writes
/// `.map_err(by_debug)`.
pub struct ByDebug<E>(E);

/// Wraps an error that cannot be displayed.
pub fn by_debug<E: Debug>(error: E) -> ByDebug<E> {
    ByDebug(error)
}

impl<E: Debug> Display for ByDebug<E> {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(out)
    }
}

impl CellError {
    fn new(error: &dyn Display, type_name: &'static str, location: &'static Location<'static>) -> Self {
        Self { diagnostic: Diagnostic::of(error), type_name, location, ended: false }
    }

    /// How a cell that returned this error ended.
    pub(super) fn ending(self) -> Ending {
        if self.ended {
            return Ending::Done;
        }
        let type_name = short_type_name(self.type_name);
        let inner = type_name.strip_prefix("ByDebug<").and_then(|inner| inner.strip_suffix('>'));
        Ending::Failed {
            type_name: inner.map(str::to_owned).unwrap_or(type_name),
            diagnostic: self.diagnostic,
            place: Some(SourcePosition::of(self.location)),
            interrupted: crate::interrupt::check().is_err(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails() -> Result<(), CellError> {
        let number: i32 = "x".parse()?;
        let _ = number;
        Ok(())
    }

    #[test]
    fn question_mark_keeps_type_and_place() {
        let Err(error) = fails() else { unreachable!("`x` is not a number") };
        assert_eq!(error.type_name, "core::num::error::ParseIntError");
        assert!(error.location.file().ends_with("error.rs"), "{}", error.location);
    }
}
