//! What is wrong with a family: the file, the line, and what to do about it.

use super::AskedPart;
use crate::diagnostic::{Diagnose, Diagnostic};
use crate::spec::ConfigError;

/// Why a family cannot be read, or cannot be applied to a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum FamilyError {
    /// A file that is missing, too large or not a family.
    File {
        /// What is wrong.
        what: String,
        /// The file.
        place: String,
        /// What to do.
        advice: String,
    },
    /// A `model_type` that no family has.
    Unknown {
        /// The type.
        model_type: String,
        /// The types that families have, for messages.
        known: String,
        /// The parts that its config.json asks for, if that is known.
        parts: Vec<AskedPart>,
        /// The file or option that names it.
        place: String,
    },
    /// YAML that is not a valid family.
    Syntax {
        /// What is wrong.
        reason: String,
        /// File, line and column.
        place: String,
        /// What to do.
        advice: String,
    },
    /// A pattern that is not a regular expression.
    Pattern {
        /// The pattern.
        pattern: String,
        /// What the parser says.
        reason: String,
        /// File, line and column.
        place: String,
    },
    /// A rule that cannot be inverted.
    NotInvertible {
        /// The pattern.
        pattern: String,
        /// Why not.
        reason: String,
        /// File, line and column.
        place: String,
        /// What to do.
        advice: String,
    },
    /// An operation that does not fit the tensors it is applied to.
    Operation {
        /// What does not fit, with the tensor's name.
        what: String,
        /// File, line and column of the rule.
        place: String,
        /// What to do.
        advice: String,
    },
    /// A configuration that the family does not cover.
    Config {
        /// What is wrong.
        what: String,
        /// The configuration.
        origin: String,
        /// File, line and column of the entry or check.
        place: String,
        /// What to do.
        advice: String,
    },
    /// The configuration itself.
    #[error(transparent)]
    Field(#[from] ConfigError),
}

impl Diagnose for FamilyError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::File { what, place, advice } => Diagnostic::new(what).at(place).advise(advice),
            Self::Unknown { model_type, known, parts, place } => {
                let lines = |exists: bool| {
                    let parts = parts.iter().filter(|part| part.family.is_some() == exists);
                    parts.map(AskedPart::in_words).collect::<Vec<_>>()
                };
                let draft = match parts.as_slice() {
                    [] => "",
                    _ => "; `chandlery convert SRC --draft-family FILE` writes a first one",
                };
                Diagnostic::new(format!("model_type `{model_type}` is not supported; supported are {known}"))
                    .list("it needs, and there is:", lines(true).into_iter())
                    .list("it needs, and there is not:", lines(false).into_iter())
                    .at(place)
                    .advise(format!(
                        "use one of these, or describe the family in a YAML file and name it with --converter-path{draft}"
                    ))
            }
            Self::Syntax { reason, place, advice } => {
                Diagnostic::new(format!("the family cannot be read: {reason}")).at(place).advise(advice)
            }
            Self::Pattern { pattern, reason, place } => {
                Diagnostic::new(format!("pattern `{pattern}` is not a regular expression: {reason}"))
                    .at(place)
                    .advise("correct the pattern")
            }
            Self::NotInvertible { pattern, reason, place, advice } => {
                Diagnostic::new(format!("rule `{pattern}` cannot be inverted: {reason}")).at(place).advise(advice)
            }
            Self::Operation { what, place, advice } => Diagnostic::new(what).at(place).advise(advice),
            Self::Config { what, origin, place, advice } => {
                Diagnostic::new(what).at(format_args!("{origin}, by {place}")).advise(advice)
            }
            Self::Field(error) => error.diagnostic(),
        }
    }
}
