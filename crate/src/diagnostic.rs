//! What the person reads when something fails: the fault, its place, and what to do about it, as a value.
//!
//! Every error of the toolkit implements [`Diagnose`], and its text is the [`Diagnostic`] as text. Reports that fail go
//! along as values inside the errors. The shell, `--json`, the error box of a notebook and the traceback of a cell take
//! the value, so nothing takes an error's text apart.

use std::cell::RefCell;
use std::fmt::{Display, Formatter, Write};

use serde::{Deserialize, Serialize};

/// An error that says what is wrong, where, and what to do.
///
/// The text of an error is its diagnostic as text: `#[error("{}", self.diagnostic())]`.
pub trait Diagnose: std::error::Error {
    /// Returns what is wrong, where, and what to do.
    fn diagnostic(&self) -> Diagnostic;
}

/// What is wrong, where, and what to do about it.
///
/// ```
/// use chandlery::diagnostic::Diagnostic;
///
/// let diagnostic = Diagnostic::new("no weights found").at("models/tiny").advise("copy the folder again");
/// assert_eq!(diagnostic.to_string(), "no weights found\n  where: models/tiny\n  do: copy the folder again");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Diagnostic {
    /// The fault, as a lower-case statement.
    pub what: String,
    /// The entries of a report that failed, such as missing tensors, one line each.
    pub details: Vec<String>,
    /// The place: a file, a field of it, an option.
    pub origin: Option<String>,
    /// What to do, as an imperative.
    pub advice: Option<String>,
}

/// How many entries of one list a diagnostic holds.
const LISTED: usize = 10;

impl Diagnostic {
    /// Returns a diagnostic of a fault, without place or advice.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), ..Self::default() }
    }

    /// Sets the place.
    #[must_use]
    pub fn at(mut self, origin: impl Display) -> Self {
        self.origin = Some(origin.to_string());
        self
    }

    /// Sets place and advice, unless the diagnostic has a place already.
    #[must_use]
    pub(crate) fn unless_placed(self, origin: &str, advice: &str) -> Self {
        if self.origin.is_some() { self } else { self.at(origin).advise(advice) }
    }

    /// Sets what to do.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Adds the first entries of a list, each behind `title`, and how many more there are.
    #[must_use]
    pub fn list(mut self, title: &str, entries: impl ExactSizeIterator<Item = String>) -> Self {
        let more = entries.len().saturating_sub(LISTED);
        self.details.extend(entries.take(LISTED).map(|entry| format!("{title} {entry}").trim_start().to_owned()));
        if more > 0 {
            let title = if title.is_empty() { "…" } else { title };
            self.details.push(format!("{title} and {more} more"));
        }
        self
    }

    /// Returns the diagnostic that an error's text is made of. Works for every error that displays a [`Diagnostic`] at the
    /// end of its text, through any number of wrapping types; what they write before it is a part of `what`. Any other text
    /// is `what` as a whole.
    pub fn of(error: &dyn Display) -> Self {
        let listening = Listening::new();
        let text = error.to_string();
        let heard = listening.heard();
        match heard.and_then(|(rendered, diagnostic)| Some((text.strip_suffix(&rendered)?, diagnostic))) {
            Some((before, diagnostic)) => Self { what: format!("{before}{}", diagnostic.what), ..diagnostic },
            None => Self::new(text),
        }
    }

    /// Returns the fields of the JSON form, with the error's kind.
    pub fn report(&self, kind: &str) -> serde_json::Value {
        serde_json::json!({
            "kind": kind,
            "what": self.what,
            "details": self.details,
            "origin": self.origin,
            "advice": self.advice,
        })
    }
}

impl From<String> for Diagnostic {
    fn from(what: String) -> Self {
        Self::new(what)
    }
}

impl Display for Diagnostic {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        let mut text = self.what.clone();
        for detail in &self.details {
            write!(text, "\n  {detail}")?;
        }
        if let Some(origin) = &self.origin {
            write!(text, "\n  where: {origin}")?;
        }
        if let Some(advice) = &self.advice {
            write!(text, "\n  do: {advice}")?;
        }
        out.write_str(&text)?;
        tell(text, self);
        Ok(())
    }
}

/// The texts of errors of other crates: text is all that they give.
pub(crate) mod foreign {
    use std::fmt::Display;

    /// Returns the first line, which says what is wrong before it is drawn or traced.
    pub(crate) fn first_line(error: &dyn Display) -> String {
        error.to_string().lines().next().unwrap_or_default().trim().to_owned()
    }

    /// Returns the last line, which says what is wrong after it was drawn.
    pub(crate) fn last_line(error: &dyn Display) -> String {
        error.to_string().lines().last().unwrap_or_default().trim().to_owned()
    }
}

thread_local! {
    /// The last diagnostic that was rendered, with its text, while somebody listens.
    static HEARD: RefCell<Option<Option<(String, Diagnostic)>>> = const { RefCell::new(None) };
}

/// Leaves a diagnostic for whoever listens.
fn tell(text: String, diagnostic: &Diagnostic) {
    HEARD.with_borrow_mut(|heard| {
        if let Some(last) = heard {
            *last = Some((text, diagnostic.clone()));
        }
    });
}

/// While this lives, rendered diagnostics are kept: a `?` in a cell takes any type that can be displayed, and its structure
/// cannot come along in the type.
struct Listening {
    outer: Option<Option<(String, Diagnostic)>>,
}

impl Listening {
    fn new() -> Self {
        Self { outer: HEARD.replace(Some(None)) }
    }

    fn heard(&self) -> Option<(String, Diagnostic)> {
        HEARD.with_borrow_mut(|heard| heard.as_mut().and_then(Option::take))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        HEARD.set(self.outer.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{}", self.diagnostic())]
    struct NotFound;

    impl Diagnose for NotFound {
        fn diagnostic(&self) -> Diagnostic {
            Diagnostic::new("no weights found").at("/models/x").advise("copy the folder again")
        }
    }

    #[derive(Debug, thiserror::Error)]
    enum Loading {
        #[error(transparent)]
        Weights(#[from] NotFound),
        #[error("model `x`: {0}")]
        Model(NotFound),
        #[error("{0}, and that is all")]
        Swallowed(NotFound),
    }

    #[test]
    fn entries_stand_between_the_fault_and_its_place() {
        let entries = (0_u16..12).map(|number| format!("`layer {number}`"));
        let text = NotFound.diagnostic().list("missing:", entries).list("unused:", Vec::new().into_iter()).to_string();
        assert!(text.starts_with("no weights found\n  missing: `layer 0`\n  missing: `layer 1`\n"), "{text}");
        let end = "\n  missing: `layer 9`\n  missing: and 2 more\n  where: /models/x\n  do: copy the folder again";
        assert!(text.ends_with(end), "{text}");
        let one = Diagnostic::new("x").list("", (0_u16..11).map(|number| number.to_string())).to_string();
        assert!(one.starts_with("x\n  0\n  1\n") && one.ends_with("\n  9\n  … and 1 more"), "{one}");
    }

    #[test]
    fn a_diagnostic_is_found_behind_any_displayed_type() {
        let boxed: Box<dyn std::error::Error> = Box::new(Loading::from(NotFound));
        assert_eq!(Diagnostic::of(&boxed), NotFound.diagnostic());
        let context = Diagnostic::of(&Loading::Model(NotFound));
        assert_eq!(context, Diagnostic { what: "model `x`: no weights found".to_owned(), ..NotFound.diagnostic() });
    }

    #[test]
    fn text_without_a_diagnostic_is_the_fault() {
        assert_eq!(Diagnostic::of(&"one\n  where: two"), Diagnostic::new("one\n  where: two"));
        let swallowed = Loading::Swallowed(NotFound);
        assert_eq!(Diagnostic::of(&swallowed), Diagnostic::new(swallowed.to_string()));
    }

    #[test]
    fn nobody_hears_what_was_rendered_before() {
        let _ = NotFound.to_string();
        assert_eq!(Diagnostic::of(&"plain"), Diagnostic::new("plain"));
        struct Panics;
        impl Display for Panics {
            fn fmt(&self, _: &mut Formatter<'_>) -> std::fmt::Result {
                let _ = NotFound.to_string();
                panic!("no text")
            }
        }
        assert!(std::panic::catch_unwind(|| Diagnostic::of(&Panics)).is_err());
        assert_eq!(HEARD.take(), None);
        assert_eq!(Diagnostic::of(&"plain"), Diagnostic::new("plain"));
    }
}
