//! What is wrong with a family: the file, the line, and what to do about it.

use crate::spec::ConfigError;

/// Why a family cannot be read, or cannot be applied to a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FamilyError {
    /// A file that is missing, too large or no family at all.
    #[error("{what}\n  where: {place}\n  do: {advice}")]
    File {
        /// What is wrong.
        what: String,
        /// The file.
        place: String,
        /// What to do.
        advice: String,
    },
    /// YAML that says something a family cannot say.
    #[error("the family cannot be read: {reason}\n  where: {place}\n  do: {advice}")]
    Syntax {
        /// What is wrong.
        reason: String,
        /// File, line and column.
        place: String,
        /// What to do.
        advice: String,
    },
    /// A pattern that is not a regular expression.
    #[error("pattern `{pattern}` is not a regular expression: {reason}\n  where: {place}\n  do: correct the pattern")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What the parser says.
        reason: String,
        /// File, line and column.
        place: String,
    },
    /// A rule without a way back.
    #[error("rule `{pattern}` cannot be inverted: {reason}\n  where: {place}\n  do: {advice}")]
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
    #[error("{what}\n  where: {place}\n  do: {advice}")]
    Operation {
        /// What does not fit, with the tensor's name.
        what: String,
        /// File, line and column of the rule.
        place: String,
        /// What to do.
        advice: String,
    },
    /// A configuration that the family does not cover.
    #[error("{what}\n  where: {origin}, by {place}\n  do: {advice}")]
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
