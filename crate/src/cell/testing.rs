//! Tests that cells define. The kernel compiles them apart, and calls [`run`] with those that `%test` chose.

use std::fmt::Debug;
use std::process::ExitCode;
use std::time::Instant;

use serde_json::{Value, json};

use super::ending::{Ending, SourcePosition, catch};
use crate::display::{MimeBundle, emit};
use crate::interrupt::{self, Interrupted};

/// The form of a display that is not shown: it tells the kernel that a test begins, or how it ended.
pub const FORM: &str = "application/x-chandlery-test";

/// What a test function may return.
pub trait TestResult {
    /// Why the test failed, if it did.
    fn failure(self) -> Option<String>;
}

impl TestResult for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl TestResult for ExitCode {
    fn failure(self) -> Option<String> {
        (self != ExitCode::SUCCESS).then(|| format!("returned {self:?}"))
    }
}

impl<T: TestResult, E: Debug> TestResult for Result<T, E> {
    fn failure(self) -> Option<String> {
        match self {
            Ok(value) => value.failure(),
            Err(error) => Some(format!("returned an error: {error:?}")),
        }
    }
}

/// Why a test that returned has failed.
pub fn failure(result: impl TestResult) -> Option<String> {
    result.failure()
}

/// Runs tests one after another and tells the kernel of each, by its number.
///
/// # Errors
/// The user's interrupt.
pub fn run(tests: &[(usize, fn() -> Option<String>)]) -> Result<(), Interrupted> {
    for (number, test) in tests {
        interrupt::check()?;
        tell(json!({"test": number}));
        let begun = Instant::now();
        let mut failed = None;
        let ending = catch(&mut || {
            failed = test();
            Ok(())
        });
        let seconds = begun.elapsed().as_secs_f64();
        let (panicked, place) = match ending {
            Ending::Failed { interrupted: true, .. } => return Err(Interrupted),
            Ending::Panicked { message, place } => (Some(message), place),
            _ => (None, None),
        };
        let place = place.map(|SourcePosition { file, line, column }| format!("{file}:{line}:{column}"));
        tell(json!({"test": number, "seconds": seconds, "failed": failed, "panicked": panicked, "place": place}));
    }
    interrupt::check()
}

fn tell(value: Value) {
    emit(&MimeBundle::text("").with(FORM, value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_return_value_of_a_test_decides() {
        assert_eq!(failure(()), None);
        assert_eq!(failure(Ok::<(), String>(())), None);
        assert_eq!(failure(Err::<(), _>("gone")).as_deref(), Some("returned an error: \"gone\""));
        assert!(failure(ExitCode::from(3)).is_some() && failure(Ok::<_, String>(ExitCode::SUCCESS)).is_none());
    }
}
