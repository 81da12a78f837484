//! Errors about projects. Each names the file and the line if there are any.

use crate::diagnostic::{Diagnose, Diagnostic};
use crate::spec::ConfigError;
use crate::tokenizer::TokenizerError;

/// Why a project could not be opened or rendered.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum ProjectError {
    /// An unknown name.
    Unknown {
        /// Project, configuration, argument, template or tokenizer.
        kind: &'static str,
        /// The name that was given.
        name: String,
        /// The closest name there is.
        hint: Option<String>,
        /// Where it was searched for.
        place: String,
        /// The known names.
        known: String,
    },
    /// An argument with a value of another type.
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
    /// An argument that the configuration does not read.
    Unused {
        /// The argument.
        argument: String,
        /// The configuration.
        place: String,
    },
    /// A template or its YAML is wrong.
    Template {
        /// What is wrong.
        reason: String,
        /// The template, the line's number, and the line.
        place: String,
        /// What to do.
        advice: String,
    },
    /// A file or folder that is missing, unreadable, or not what it should be.
    Refused {
        /// What is wrong.
        what: String,
        /// The file or folder.
        place: String,
        /// What to do.
        advice: String,
    },
    /// The rendered configuration does not describe a model.
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

impl Diagnose for ProjectError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Unknown { kind, name, hint, place, known } => {
                Diagnostic::new(format!("there is no {kind} `{name}`{}", meant(hint.as_deref())))
                    .at(place)
                    .advise(format!("use one of: {known}"))
            }
            Self::Argument { argument, found, expected, place } => {
                Diagnostic::new(format!("`{argument}` is `{found}`, expected {expected}"))
                    .at(place)
                    .advise("correct the value")
            }
            Self::Unused { argument, place } => Diagnostic::new(format!("argument `{argument}` has no effect"))
                .at(place)
                .advise("leave it out, or choose another configuration"),
            Self::Template { reason, place, advice } => {
                Diagnostic::new(format!("the configuration cannot be rendered: {reason}")).at(place).advise(advice)
            }
            Self::Refused { what, place, advice } => Diagnostic::new(what).at(place).advise(advice),
            Self::Config(error) => error.diagnostic(),
            Self::Part(error) => error.diagnostic(),
            Self::Tokenizer(error) => error.diagnostic(),
            Self::Folder(error) => error.diagnostic(),
        }
    }
}

fn meant(hint: Option<&str>) -> String {
    hint.map_or_else(String::new, |hint| format!("; did you mean `{hint}`?"))
}

/// Returns the error for a name that is not among `known`, with the most similar one.
pub(super) fn unknown(kind: &'static str, name: &str, place: &str, known: &[String]) -> ProjectError {
    let likeness = |candidate: &String| strsim::jaro_winkler(name, candidate);
    let hint = known.iter().filter(|candidate| likeness(candidate) > 0.75);
    let hint = hint.max_by(|a, b| likeness(a).total_cmp(&likeness(b))).cloned();
    ProjectError::Unknown { kind, name: name.to_owned(), hint, place: place.to_owned(), known: known.join(", ") }
}
