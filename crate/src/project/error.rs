//! Why a project cannot be used: always which file and line, where there is one.

use crate::spec::ConfigError;
use crate::tokenizer::TokenizerError;

/// Why a project could not be opened or rendered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectError {
    /// A name that nothing has.
    #[error("there is no {kind} `{name}`{suggestion}\n  where: {place}\n  do: use one of: {known}", suggestion = meant(hint.as_deref()))]
    Unknown {
        /// Project, configuration, argument, template or tokenizer.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// The closest name there is.
        hint: Option<String>,
        /// Where it was looked for.
        place: String,
        /// What there is.
        known: String,
    },
    /// An argument with a value of another type.
    #[error("`{argument}` is `{found}`, expected {expected}\n  where: {place}\n  do: correct the value")]
    Argument {
        /// The argument.
        argument: String,
        /// What it was given.
        found: String,
        /// What it takes.
        expected: String,
        /// The project.
        place: String,
    },
    /// An argument that the configuration never reads.
    #[error(
        "argument `{argument}` has no effect\n  where: {place}\n  do: leave it out, or choose another configuration"
    )]
    Unused {
        /// The argument.
        argument: String,
        /// The configuration.
        place: String,
    },
    /// A template or its YAML is wrong.
    #[error("the configuration cannot be rendered: {reason}\n  where: {place}\n  do: {advice}")]
    Template {
        /// What is wrong.
        reason: String,
        /// The template, the line's number, and the line.
        place: String,
        /// What to do.
        advice: String,
    },
    /// A file or folder that is missing, unreadable, or not what it should be.
    #[error("{what}\n  where: {place}\n  do: {advice}")]
    Refused {
        /// What is wrong.
        what: String,
        /// The file or folder.
        place: String,
        /// What to do.
        advice: String,
    },
    /// The rendered configuration describes no model.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A part of the user's.
    #[error(transparent)]
    Part(#[from] crate::spec::PartError),
    /// Its tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The folder of a new project.
    #[error(transparent)]
    Folder(#[from] crate::checkpoint::CheckpointError),
}

fn meant(hint: Option<&str>) -> String {
    hint.map_or_else(String::new, |hint| format!(" (is `{hint}` meant?)"))
}

/// A name that is none of `known`, with the one that looks most like it.
pub(super) fn unknown(kind: &'static str, name: &str, place: &str, known: &[String]) -> ProjectError {
    let likeness = |candidate: &String| strsim::jaro_winkler(name, candidate);
    let hint = known.iter().filter(|candidate| likeness(candidate) > 0.75);
    let hint = hint.max_by(|a, b| likeness(a).total_cmp(&likeness(b))).cloned();
    ProjectError::Unknown { kind, name: name.to_owned(), hint, place: place.to_owned(), known: known.join(", ") }
}
