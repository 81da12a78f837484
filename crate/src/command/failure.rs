//! How the library's errors become a command's failure.

use super::Failure;
use crate::checkpoint::CheckpointError;
use crate::compare::CompareError;
use crate::construct::ConstructError;
use crate::convert::ConvertError;
use crate::dataset::DatasetError;
use crate::diagnostic::Diagnose;
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
        use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
        let help = matches!(error.kind(), DisplayHelp | DisplayVersion);
        let missing = error.kind() == DisplayHelpOnMissingArgumentOrSubcommand;
        Failure::Usage { text: error.render().to_string(), help: help && !missing }
    }
}
