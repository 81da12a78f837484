//! The convention of the builders' setters.
//!
//! A builder ([`convert()`](crate::convert()), [`finalize()`](crate::finalize()), [`update()`](crate::update()),
//! [`compare()`](crate::compare()), [`ProjectConfig::construct`](crate::project::ProjectConfig::construct) …) takes what it
//! cannot do without as arguments, and everything else by setters that are named as the flags of the shell:
//!
//! - A setting that always has a value takes it: `steps(12)`, `force(true)`, `format(WeightsFormat::Pytorch)`.
//! - A setting that may be unset takes an [`impl Setting<T>`](Setting): the value, `Some` of it, or `None`; texts and paths
//!   also as `&str`.
//! - `run()` or `build()` does the work, `plan()` only says what would be done.

use std::path::{Path, PathBuf};

/// What a setter of an optional setting takes: a value, or an `Option` of one. See the convention above.
///
/// ```
/// use chandlery::{convert, prelude::DType};
/// let chosen: Option<DType> = None;
/// let _ = convert("a", "b").dtype(DType::BF16).prompt("Once upon a time");
/// let _ = convert("a", "b").dtype(chosen).prompt(None);
/// ```
pub trait Setting<T> {
    /// The value, or `None` for the default.
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
