//! How the library's errors become a command's failure.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Failure;
use crate::checkpoint::CheckpointError;
use crate::compare::CompareError;
use crate::construct::ConstructError;
use crate::convert::ConvertError;
use crate::dataset::DatasetError;
use crate::diagnostic::{Diagnose, Diagnostic, foreign};
use crate::finalize::FinalizeError;
use crate::model::ModelError;
use crate::naming::FamilyError;
use crate::project::ProjectError;
use crate::smoke_test::SmokeTestError;
use crate::tokenizer::TokenizerError;
use crate::update::UpdateError;

/// An error whose kind a person may want to match on, and which may be the user's interrupt.
macro_rules! failures {
    ($($error:ident),+ $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                // The flag is the one truth about interrupts: errors wrap it at many depths.
                if crate::interrupt::check().is_err() {
                    return Failure::Interrupted;
                }
                Failure::Failed { name: stringify!($error).to_owned(), diagnostic: error.diagnostic() }
            }
        })+
    };
}

failures!(
    CheckpointError,
    CompareError,
    ConstructError,
    ConvertError,
    DatasetError,
    FamilyError,
    FinalizeError,
    SmokeTestError,
    ModelError,
    ProjectError,
    TokenizerError,
    UpdateError,
);

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        let help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        Failure::Usage { text: error.render().to_string(), help, diagnostic: diagnostic(&error) }
    }
}

/// Returns what clap says of words that do not parse.
fn diagnostic(error: &clap::Error) -> Diagnostic {
    let named = |kind| error.get(kind).map(ToString::to_string);
    let said = foreign::first_line(error);
    let what = said.strip_prefix("error: ").unwrap_or(&said).trim_end_matches(':');
    let mut diagnostic = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Diagnostic::new("a subcommand is missing"),
        _ => Diagnostic::new(what),
    };
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(all)) => diagnostic = diagnostic.list("", all.iter().cloned()),
        argument => diagnostic.origin = argument.map(ToString::to_string),
    }
    let meant = [ContextKind::SuggestedArg, ContextKind::SuggestedValue, ContextKind::SuggestedSubcommand];
    match (meant.into_iter().find_map(named), named(ContextKind::ValidValue), named(ContextKind::ValidSubcommand)) {
        (Some(meant), _, _) => diagnostic.advise(format!("did you mean `{meant}`?")),
        (None, Some(valid), _) if !valid.is_empty() => diagnostic.advise(format!("use one of {valid}")),
        (None, _, Some(valid)) => diagnostic.advise(format!("use one of {valid}")),
        _ => diagnostic.advise("see what the command takes with `--help`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(line: &str) -> Diagnostic {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        match crate::command::check(&words) {
            Err(Failure::Usage { diagnostic, .. }) => diagnostic,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn words_that_do_not_parse_are_a_diagnostic() {
        let unknown = says("convert a b --dtyp float32");
        assert_eq!(unknown.what, "unexpected argument '--dtyp' found");
        assert_eq!(
            (unknown.origin.as_deref(), unknown.advice.as_deref()),
            (Some("--dtyp"), Some("did you mean `--dtype`?"))
        );
        let missing = says("convert a");
        assert_eq!(missing.what, "the following required arguments were not provided");
        assert_eq!(missing.details, ["<DST>"]);
        let value = says("finalize a b --format zip");
        assert_eq!(value.advice.as_deref(), Some("use one of safetensors, pytorch, gguf"));
        assert!(value.what.contains("'zip'"), "{value}");
    }
}
