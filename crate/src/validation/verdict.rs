//! What a comparison of logits says.

use std::fmt;

/// The verdict on a conversion's logits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The reference forward, which covers all that the model does, computes the same logits.
    Agree,
    /// It computes other logits, or continues the prompt otherwise.
    Differ,
    /// Nothing can be said, for this reason.
    NotJudged(String),
}

impl Verdict {
    /// `agree`, `differ` or `not judged`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Agree => "agree",
            Self::Differ => "differ",
            Self::NotJudged(_) => "not judged",
        }
    }

    /// Why nothing was judged.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::NotJudged(reason) => Some(reason),
            Self::Agree | Self::Differ => None,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJudged(reason) => write!(f, "not judged ({reason})"),
            _ => f.write_str(self.name()),
        }
    }
}
