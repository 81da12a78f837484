//! The contents of a table: cells with a value for programs and sorting, and the marks of rows.

use serde_json::{Number, Value};

use super::super::Html;
use super::super::numbers::{binary_bytes, signed_thousands, thousands};

/// The alignment of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

impl Align {
    pub(super) fn name(self) -> &'static str {
        match self {
            Align::Left => "left",
            Align::Right => "right",
        }
    }
}

/// The mark of a row. Its letter is for text and for readers who do not see color.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mark {
    /// Nothing.
    #[default]
    None,
    /// Added or passed (`+`).
    Good,
    /// Missing, failed or different (`!`).
    Bad,
    /// Taken away (`-`).
    Removed,
    /// Another value than before (`~`).
    Changed,
    /// Left out on purpose (`·`).
    Muted,
    /// A sum or a heading (bold).
    Strong,
}

impl Mark {
    pub(super) fn letter(self) -> &'static str {
        match self {
            Mark::None | Mark::Strong => " ",
            Mark::Good => "+",
            Mark::Bad => "!",
            Mark::Removed => "-",
            Mark::Changed => "~",
            Mark::Muted => "·",
        }
    }

    /// Translucent backgrounds are legible on light and dark pages, and pass the sanitizer of untrusted notebooks.
    pub(in crate::display) fn style(self) -> &'static str {
        match self {
            Mark::None | Mark::Strong => "",
            Mark::Good => "background-color:rgba(46,160,67,0.15)",
            Mark::Bad | Mark::Removed => "background-color:rgba(248,81,73,0.20)",
            Mark::Changed => "background-color:rgba(210,153,34,0.18)",
            Mark::Muted => "background-color:rgba(128,128,128,0.10)",
        }
    }
}

/// One cell: its text, markup that replaces it in HTML, and the exact value if the text is rounded.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    pub(super) text: String,
    pub(super) html: Option<String>,
    pub(super) value: Option<Value>,
}

impl Cell {
    /// Text that also has markup, made by [`Html`].
    pub fn rich(text: impl Into<String>, html: Html) -> Self {
        Self { text: text.into(), html: Some(html.finish()), value: None }
    }

    /// A count, its thousands separated.
    pub fn count(count: u64) -> Self {
        Self::from(thousands(count)).valued(count)
    }

    /// A whole number, its thousands separated.
    pub fn integer(number: i128) -> Self {
        let exact = i64::try_from(number).map(Number::from).or_else(|_| u64::try_from(number).map(Number::from));
        let cell = Self::from(signed_thousands(number));
        match exact {
            Ok(exact) => cell.valued(Value::Number(exact)),
            Err(_) => cell,
        }
    }

    /// A size in binary units.
    pub fn bytes(bytes: u64) -> Self {
        Self::from(binary_bytes(bytes)).valued(bytes)
    }

    /// A share of a whole (0 to 1): per cent and a bar.
    pub fn share(share: f64) -> Self {
        let text = format!("{:.1}%", share * 100.0);
        let mut html = bar(share);
        // As wide as `100.0%`, so that bars stand below each other.
        html.raw(" <span style=\"display:inline-block;min-width:3.8em;text-align:right\">").text(&text).raw("</span>");
        Self::rich(text, html).valued(share)
    }

    /// Its text.
    pub(in super::super) fn text(&self) -> &str {
        &self.text
    }

    /// The same cell with the value behind it, which programs compare and readers sort by.
    pub fn valued(mut self, value: impl Into<Value>) -> Self {
        self.value = Some(value.into());
        self
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), html: None, value: None }
    }
}

/// The color of bars: visible on light and dark pages, and on marked rows.
pub(in super::super) const BAR: &str = "rgb(192,95,14)";

/// A bar whose length is `share` (0 to 1) of its box, for shares and magnitudes.
pub(in super::super) fn bar(share: f64) -> Html {
    let width = (share.clamp(0.0, 1.0) * 80.0).round();
    let mut html = Html::new();
    html.raw(format!(
        "<span style=\"display:inline-block;width:80px;text-align:left;background-color:rgba(128,128,128,0.15)\">\
         <span style=\"display:inline-block;width:{width}px;height:0.7em;background-color:{BAR}\"></span></span>"
    ));
    html
}
