//! `inspect PATH`

use std::path::PathBuf;

use clap::Args;

use super::shared::CheckpointArgs;
use super::verbs::{Context, Run};
use super::{Failure, Outcome, values};
use crate::display::View;

/// `chandlery inspect`.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// Folder or file
    #[arg(value_name = "PATH", value_parser = values::path)]
    path: PathBuf,
    #[command(flatten)]
    weights: CheckpointArgs,
}

impl Run for InspectArgs {
    fn result_type(&self) -> Option<&'static str> {
        Some("chandlery::Inspection")
    }

    fn run(&self, _: &Context) -> Result<Outcome, Failure> {
        let inspection = crate::compare::inspect_checkpoint(&self.path, self.weights.checkpoint.as_deref())?;
        Ok(Outcome::new(inspection.view(), inspection.report()).keeping(self, inspection))
    }
}
