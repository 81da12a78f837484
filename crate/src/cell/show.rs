//! How the value of a cell's last expression is shown: the richest rendering its type has.
//!
//! The kernel calls `(&&&&&Shown(&value)).show()` with these traits in scope. Method lookup takes the first trait whose
//! bounds hold, from the most references to the fewest, so one compile finds the best form without asking the compiler
//! twice. Cells do not use this module by hand.

use std::cell::RefCell;
use std::error::Error;
use std::fmt::{Debug, Display};

pub use super::sequence::Sequence;
use super::sequence::sequence;
use crate::display::{MimeBundle, View, debug_bundle, error_bundle, failed_bundle, text_bundle};

/// The value to show.
pub struct Shown<'a, T: ?Sized>(pub &'a T);

/// Numbers, truth values and text. Their `Debug` would do; but looking for it among the thousands of its
/// implementations takes the compiler 10 ms, and most cells end in one of these.
pub trait Simple {
    /// Shows it as `{:?}` does.
    fn show_simple(&self);
}

macro_rules! simple {
    ($($simple:ty),+) => {
        $(impl Simple for $simple {
            fn show_simple(&self) {
                debug(self, "");
            }
        })+
    };
}

simple!(i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize, f32, f64, bool, char);

impl Simple for String {
    fn show_simple(&self) {
        text(self);
    }
}

impl Simple for &str {
    fn show_simple(&self) {
        text(self);
    }
}

/// Before all other choices: simple values.
pub trait BySimple {
    /// Shows it.
    fn show(&self);
}
impl<T: Simple + ?Sized> BySimple for &&&&Shown<'_, T> {
    fn show(&self) {
        self.0.show_simple();
    }
}

/// First choice: a rendering of its own.
pub trait ByView {
    /// Shows it.
    fn show(&self);
}
impl<T: View + ?Sized> ByView for &&&Shown<'_, T> {
    fn show(&self) {
        view(&self.0);
    }
}

/// Second choice: a result, whose error is shown as one.
pub trait ByResult {
    /// Shows it.
    fn show(&self);
}
impl<T: Debug, E: Display> ByResult for &&Shown<'_, Result<T, E>> {
    #[inline(never)]
    fn show(&self) {
        match self.0 {
            Ok(value) => succeeded(value, std::any::type_name::<T>()),
            Err(error) => failed(error, std::any::type_name::<E>()),
        }
    }
}

/// At the same rank, because no result is an error: an error.
pub trait ByError {
    /// Shows it.
    fn show(&self);
}
impl<T: Error> ByError for &&Shown<'_, T> {
    fn show(&self) {
        error(self.0, std::any::type_name::<T>());
    }
}

/// At the same rank: a list or map, of which only the ends are written if it is long.
pub trait BySequence {
    /// Shows it.
    fn show(&self);
}
impl<T: Sequence> BySequence for &&Shown<'_, T> {
    // rustc shares instances of functions that are never inlined.
    #[inline(never)]
    fn show(&self) {
        sequence(self.0);
    }
}

/// Third choice: `{:?}`.
pub trait ByDebug {
    /// Shows it.
    fn show(&self);
}
impl<T: Debug + ?Sized> ByDebug for &Shown<'_, T> {
    // rustc shares instances of functions that are never inlined.
    #[inline(never)]
    fn show(&self) {
        debug(&self.0, std::any::type_name::<T>());
    }
}

/// Last choice: the name of its type.
pub trait ByName {
    /// Shows it.
    fn show(&self);
}
impl<T: ?Sized> ByName for Shown<'_, T> {
    fn show(&self) {
        name(std::any::type_name::<T>());
    }
}

/// A value that may have evcxr's method `evcxr_display`, which prints its renderings. The kernel asks only in notebooks
/// that know such a method, with `(&&&Own(value)).is_there()` before: displays of ours come first.
pub struct Own<'a, T: ?Sized>(pub &'a T);

/// Simple values have a display of ours.
pub trait OwnSimple {
    /// Whether the value has a display of ours.
    fn is_there(&self) -> bool {
        true
    }
}
impl<T: Simple + ?Sized> OwnSimple for &&&Own<'_, T> {}

/// Values with a view have one, too.
pub trait OwnView {
    /// Whether the value has a display of ours.
    fn is_there(&self) -> bool {
        true
    }
}
impl<T: View + ?Sized> OwnView for &&Own<'_, T> {}

/// So do results of these.
pub trait OwnResult {
    /// Whether the value has a display of ours.
    fn is_there(&self) -> bool {
        true
    }
}
impl<T: View, E: Display> OwnResult for &Own<'_, Result<T, E>> {}

/// All other values do not.
pub trait OwnNone {
    /// Whether the value has a display of ours.
    fn is_there(&self) -> bool {
        false
    }
}
impl<T: ?Sized> OwnNone for Own<'_, T> {}

/// What `evcxr_display` returns for a type that has no such method.
pub struct NoMethod;

/// The method for types without one. A type's own comes before it, and a trait's that the user imported: both take
/// `&T` as it stands, this one a reference to it.
pub trait WithoutMethod {
    /// Shows nothing.
    fn evcxr_display(&self) -> NoMethod {
        NoMethod
    }
}
impl<T: ?Sized> WithoutMethod for &T {}

/// Whether the answer of `evcxr_display` says that the method does not exist.
pub fn is_missing<R>(_answer: &R) -> bool {
    std::any::type_name::<R>() == std::any::type_name::<NoMethod>()
}

thread_local! {
    static RESULT: RefCell<Option<MimeBundle>> = const { RefCell::new(None) };
}

/// The bundle of the last value shown, once.
pub fn take_result() -> Option<MimeBundle> {
    RESULT.take()
}

pub(super) fn set_result(bundle: MimeBundle) {
    RESULT.set(Some(bundle));
}

fn view(value: &dyn View) {
    RESULT.set(Some(value.view()));
}

fn succeeded(value: &dyn Debug, type_name: &str) {
    if type_name != "()" {
        RESULT.set(Some(debug_bundle(&format_args!("Ok({value:?})"), &format_args!("Ok({value:#?})"))));
    }
}

fn failed(error: &dyn Display, type_name: &str) {
    RESULT.set(Some(failed_bundle(error, type_name)));
}

fn error(error: &dyn Error, type_name: &str) {
    RESULT.set(Some(error_bundle(error, type_name)));
}

/// Shows a type, without its module paths.
pub fn name(type_name: &str) {
    RESULT.set(Some(MimeBundle::text(super::short_type_name(type_name))));
}

fn text(text: &str) {
    RESULT.set(Some(text_bundle(text)));
}

fn debug(value: &dyn Debug, type_name: &str) {
    if matches!(type_name, "()" | "!") {
        return;
    }
    RESULT.set(Some(debug_bundle(&format_args!("{value:?}"), &format_args!("{value:#?}"))));
}

#[cfg(test)]
#[expect(clippy::needless_borrow, reason = "the call as the kernel writes it, whatever the type")]
mod tests {
    use super::*;

    struct Plain;

    fn shown() -> String {
        take_result().map(|bundle| bundle.plain().to_owned()).unwrap_or_default()
    }

    #[test]
    fn takes_the_richest_form() {
        (&&&&&Shown(&MimeBundle::text("rich"))).show();
        assert_eq!(shown(), "rich");
        (&&&&&Shown(&Ok::<_, String>(MimeBundle::text("inside")))).show();
        assert_eq!(shown(), "inside");
        (&&&&&Shown(&vec![1, 2])).show();
        assert_eq!(shown(), "[1, 2]");
        (&&&&&Shown(&Some([1, 2]))).show();
        assert_eq!(shown(), "Some([1, 2])");
        (&&&&&Shown(&Plain)).show();
        assert_eq!(shown(), "Plain");
        (&&&&&Shown("text")).show();
        assert_eq!(shown(), "\"text\"");
        (&&&&&Shown(&())).show();
        assert_eq!(take_result(), None);
    }

    struct Chart;

    impl Chart {
        fn evcxr_display(&self) -> u8 {
            7
        }
    }

    #[test]
    fn a_method_of_evcxr_comes_after_views_and_before_debug() {
        let has_own = [
            (&&&Own(&MimeBundle::text("rich"))).is_there(),
            (&&&Own(&1)).is_there(),
            (&&&Own(&Ok::<_, String>(MimeBundle::text("inside")))).is_there(),
            (&&&Own(&vec![1])).is_there(),
            (&&&Own(&Chart)).is_there(),
        ];
        assert_eq!(has_own, [true, true, true, false, false]);
        let (chart, plain, text): (&Chart, &Vec<i32>, &str) = (&Chart, &vec![1], "text");
        assert!(!is_missing(&chart.evcxr_display()));
        assert!(is_missing(&plain.evcxr_display()) && is_missing(&(&text).evcxr_display()));
    }

    #[test]
    fn errors_and_results_say_what_they_are() {
        (&&&&&Shown(&"x".parse::<i32>())).show();
        assert_eq!(shown(), "Err: invalid digit found in string");
        (&&&&&Shown(&"7".parse::<i32>())).show();
        assert_eq!(shown(), "Ok(7)");
        (&&&&&Shown(&std::io::Error::other("disk on fire"))).show();
        assert_eq!(shown(), "disk on fire");
        (&&&&&Shown(&Ok::<(), String>(()))).show();
        assert_eq!(take_result(), None);
    }

    #[test]
    fn long_values_are_cut() {
        (&&&&&Shown(&vec!["x".repeat(1000); 200])).show();
        assert!(shown().len() < 20_000, "{}", shown().len());
    }
}
