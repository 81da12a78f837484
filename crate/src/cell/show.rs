//! How the value of a cell's last expression is shown: the richest rendering its type has.
//!
//! The kernel calls `(&&&&&Shown(&value)).show()` with these traits in scope. Method lookup takes the first trait whose
//! bounds hold, from the most references to the fewest, so one compile finds the best form without asking the compiler
//! twice. Cells do not use this module by hand.

use std::cell::RefCell;
use std::fmt::{Debug, Display, Write};

use crate::display::{MimeBundle, View};

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

simple!(i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize, f32, f64, bool, char, String, &str);

/// Before all others: what is simple.
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

/// Second choice: a result that holds something with a rendering of its own.
pub trait ByResult {
    /// Shows it.
    fn show(&self);
}
impl<T: View, E: Display> ByResult for &&Shown<'_, Result<T, E>> {
    fn show(&self) {
        match self.0 {
            Ok(value) => view(value),
            Err(error) => failed(error),
        }
    }
}

/// Third choice: `{:?}`.
pub trait ByDebug {
    /// Shows it.
    fn show(&self);
}
impl<T: Debug + ?Sized> ByDebug for &Shown<'_, T> {
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

/// What is simple has a display of ours.
pub trait OwnSimple {
    /// Whether it has.
    fn is_there(&self) -> bool {
        true
    }
}
impl<T: Simple + ?Sized> OwnSimple for &&&Own<'_, T> {}

/// What has a view, too.
pub trait OwnView {
    /// Whether it has.
    fn is_there(&self) -> bool {
        true
    }
}
impl<T: View + ?Sized> OwnView for &&Own<'_, T> {}

/// Results of such.
pub trait OwnResult {
    /// Whether it has.
    fn is_there(&self) -> bool {
        true
    }
}
impl<T: View, E: Display> OwnResult for &Own<'_, Result<T, E>> {}

/// All others have none.
pub trait OwnNone {
    /// Whether it has.
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

/// Whether the answer of `evcxr_display` says that there is no such method.
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

fn view(value: &dyn View) {
    RESULT.set(Some(value.view()));
}

fn failed(error: &dyn Display) {
    RESULT.set(Some(MimeBundle::text(format!("Err: {error}"))));
}

fn name(type_name: &str) {
    RESULT.set(Some(MimeBundle::text(super::short_type_name(type_name))));
}

fn debug(value: &dyn Debug, type_name: &str) {
    if matches!(type_name, "()" | "!") {
        return;
    }
    let mut short = Limited { text: String::new(), left: 100 };
    let text = if write!(short, "{value:?}").is_ok() {
        short.text
    } else {
        let mut long = Limited { text: String::new(), left: 100_000 };
        match write!(long, "{value:#?}") {
            Ok(()) => long.text,
            Err(_) => long.text + "\n… (cut)",
        }
    };
    RESULT.set(Some(MimeBundle::text(text)));
}

/// What `{:?}` writes, up to a number of bytes.
pub(super) fn limited(value: &dyn Debug, bytes: usize) -> String {
    let mut short = Limited { text: String::new(), left: bytes };
    let _ = write!(short, "{value:?}");
    short.text
}

/// Text up to a number of bytes; writing more fails, so a huge value costs no more than what is shown.
struct Limited {
    text: String,
    left: usize,
}

impl Write for Limited {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        if text.len() > self.left {
            let cut = (0..=self.left).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
            self.text.push_str(&text[..cut]);
            self.left = 0;
            return Err(std::fmt::Error);
        }
        self.left -= text.len();
        self.text.push_str(text);
        Ok(())
    }
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
    fn long_values_are_cut() {
        (&&&&&Shown(&vec!["x".repeat(1000); 200])).show();
        assert!(shown().len() < 100_100);
    }
}
