//! Why a template could not be read or evaluated.

/// What went wrong.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// The text is not a template.
    Syntax,
    /// What Python or Jinja refuses.
    Failed,
    /// The template called `raise_exception`.
    Raised,
    /// It took too many steps, or wrote too much.
    Endless,
}

/// A fault with its line.
#[derive(Clone, Debug)]
pub(in crate::tokenizer::chat) struct Error {
    pub(super) kind: Kind,
    pub(in crate::tokenizer::chat) what: String,
    /// 0 where it is not known yet.
    pub(in crate::tokenizer::chat) line: usize,
}

impl Error {
    pub(in crate::tokenizer::chat) fn syntax(what: impl Into<String>, line: usize) -> Self {
        Self { kind: Kind::Syntax, what: what.into(), line }
    }

    /// What Python refuses, or what is not supported here: the two are alike, because neither has a right text.
    pub(in crate::tokenizer::chat) fn new(what: impl Into<String>) -> Self {
        Self { kind: Kind::Failed, what: what.into(), line: 0 }
    }

    pub(in crate::tokenizer::chat) fn raised(what: impl Into<String>) -> Self {
        Self { kind: Kind::Raised, what: what.into(), line: 0 }
    }

    pub(in crate::tokenizer::chat) fn endless() -> Self {
        Self { kind: Kind::Endless, what: String::new(), line: 0 }
    }
}

/// What an evaluation gives.
pub(in crate::tokenizer::chat) type Outcome<T> = Result<T, Error>;

/// Returns an error of Python's own.
pub(in crate::tokenizer::chat) fn fail<T>(what: impl Into<String>) -> Outcome<T> {
    Err(Error::new(what))
}
