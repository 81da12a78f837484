//! What setters of optional settings take.

use std::path::{Path, PathBuf};

/// The argument of a setter for an optional setting: a value, or an `Option` of one. Text and paths may also be `&str`.
///
/// Builders ([`convert()`](crate::convert()), [`finalize()`](crate::finalize()), [`update()`](crate::update()),
/// [`compare()`](crate::compare()), [`ProjectConfig::construct`](crate::project::ProjectConfig::construct) …) take what they
/// require as arguments, and everything else by setters, which follow one convention:
///
/// - A setter has the name of the shell's flag.
/// - A setting that always has a value takes it: `steps(12)`, `force(true)`, `format(WeightsFormat::Pytorch)`.
/// - A setting that may be unset takes an `impl Setting<T>`.
/// - `run()` or `build()` does the work; `plan()`, where there is one, only says what would be done.
///
/// ```
/// use chandlery::{convert, prelude::DType};
/// let chosen: Option<DType> = None;
/// let _ = convert("a", "b").dtype(DType::BF16).prompt("Once upon a time");
/// let _ = convert("a", "b").dtype(chosen).prompt(None);
/// ```
pub trait Setting<T> {
    /// Returns the value, or `None` for the default.
    fn into_setting(self) -> Option<T>;
}

impl<T> Setting<T> for T {
    fn into_setting(self) -> Option<T> {
        Some(self)
    }
}

impl<T> Setting<T> for Option<T> {
    fn into_setting(self) -> Option<T> {
        self
    }
}

impl Setting<String> for &str {
    fn into_setting(self) -> Option<String> {
        Some(self.to_owned())
    }
}

impl Setting<String> for &String {
    fn into_setting(self) -> Option<String> {
        Some(self.clone())
    }
}

impl Setting<PathBuf> for &str {
    fn into_setting(self) -> Option<PathBuf> {
        Some(PathBuf::from(self))
    }
}

impl Setting<PathBuf> for &Path {
    fn into_setting(self) -> Option<PathBuf> {
        Some(self.to_owned())
    }
}

impl Setting<PathBuf> for &PathBuf {
    fn into_setting(self) -> Option<PathBuf> {
        Some(self.clone())
    }
}
