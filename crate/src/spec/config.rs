//! A model's configuration in one normal form, whatever file style it came from.

use regex::Regex;

pub(super) use super::parts::ModelConfig;
use super::{Architecture, Initialization, ModelSpec, Quantization, parts};
use crate::diagnostic::{Diagnose, Diagnostic, foreign};

/// An error in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum ConfigError {
    /// A required field that is missing.
    Missing {
        /// The field.
        field: String,
        /// The file or configuration.
        origin: String,
        /// The family that needs it.
        family: String,
    },
    /// A field with an invalid value.
    Invalid {
        /// The field.
        field: String,
        /// What it holds.
        found: String,
        /// What it may hold.
        expected: String,
        /// The file or configuration.
        origin: String,
    },
    /// A field that does not exist.
    Unknown {
        /// The kind of name.
        what: String,
        /// The name as written.
        found: String,
        /// The most similar known name.
        meant: Option<String>,
        /// What to do.
        advice: String,
        /// The file or configuration.
        origin: String,
    },
    /// A field that other fields leave without effect.
    NoEffect {
        /// The field.
        field: String,
        /// What to do.
        advice: String,
        /// The file or configuration.
        origin: String,
    },
    /// A family, activation or feature this crate does not build.
    Unsupported {
        /// The kind of name.
        what: String,
        /// The name that was given.
        found: String,
        /// The supported names.
        supported: String,
        /// The file or configuration.
        origin: String,
    },
}

impl Diagnose for ConfigError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Missing { field, origin, family } => Diagnostic::new(format!("`{field}` is missing"))
                .at(origin)
                .advise(format!("add it; a {family} model cannot be built without it")),
            Self::Invalid { field, found, expected, origin } => {
                Diagnostic::new(format!("`{field}` is {found}, expected {expected}"))
                    .at(origin)
                    .advise("correct the field")
            }
            Self::Unknown { what, found, origin, advice, meant } => {
                Diagnostic::new(format!("{what} `{found}` is not supported{}", did_you_mean(meant.as_deref())))
                    .at(origin)
                    .advise(advice)
            }
            Self::NoEffect { field, origin, advice } => {
                Diagnostic::new(format!("`{field}` has no effect")).at(origin).advise(advice)
            }
            Self::Unsupported { what, found, origin, supported } => {
                Diagnostic::new(format!("{what} `{found}` is not supported"))
                    .at(origin)
                    .advise(format!("use one of: {supported}"))
            }
        }
    }
}

fn did_you_mean(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

impl ModelConfig {
    /// Checks that the parts fit each other.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] for sizes of zero, heads that do not divide, or an odd head width.
    pub fn validate(&self, origin: &str) -> Result<(), ConfigError> {
        let invalid = |field: &str, found: String, expected: &str| ConfigError::Invalid {
            field: field.to_owned(),
            found,
            expected: expected.to_owned(),
            origin: origin.to_owned(),
        };
        parts::validate(self, &invalid)?;
        if let Initialization::Rules(rules) = &self.initialization {
            for rule in rules {
                Regex::new(&rule.pattern).map_err(|error| {
                    let what = foreign::last_line(&error);
                    invalid("initialization", format!("`{}` ({what})", rule.pattern), "a regular expression")
                })?;
            }
        }
        if self.quantization.is_some()
            && let Some((name, inputs, group)) = Quantization::misfit(&ModelSpec::resolve(self).root)
        {
            let expected = format!("a divisor of {inputs}, the width of {name}");
            return Err(invalid("quantization_config group_size", group.to_string(), &expected));
        }
        for (field, id) in [("bos_token_id", self.bos_token_id), ("pad_token_id", self.pad_token_id)] {
            if id.is_some_and(|id| id as usize >= self.vocab_size) {
                let expected = format!("an id below vocab_size ({})", self.vocab_size);
                return Err(invalid(field, id.map_or_else(String::new, |id| id.to_string()), &expected));
            }
        }
        Ok(())
    }

    /// Returns the configuration of each layer: the model's own, with what its run sets otherwise.
    pub fn layer(&self, index: usize) -> &ModelConfig {
        let mut before = 0;
        for run in &self.layers {
            before += run.count;
            if index < before {
                return &run.config;
            }
        }
        self
    }

    /// Returns the same model as one of another family; values that differ from its defaults are set explicitly.
    pub(crate) fn of_family(mut self, architecture: Architecture) -> Self {
        self.architecture = architecture;
        for run in &mut self.layers {
            run.config.architecture = architecture;
        }
        self
    }
}
