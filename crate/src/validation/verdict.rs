//! What a comparison of logits says.

use std::fmt;

/// The verdict on a conversion's logits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The reference forward covers everything that the model computes, and computes the same logits.
    Agree,
    /// The reference forward computes other logits, or continues the prompt differently.
    Differ,
    /// The logits could not be judged, for this reason.
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

    /// Returns why nothing was judged.
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
