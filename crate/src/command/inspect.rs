//! `inspect PATH`

use std::path::PathBuf;

use clap::{ArgMatches, Command};

use super::{Failure, KeptValue, Outcome, given, path, values};
use crate::display::View;

/// The type of its result.
pub(super) const KEEPS: &str = "chandlery::Inspection";

pub(super) fn definition() -> Command {
    Command::new("inspect")
        .about("Parameter table of a model folder, checkpoint or safetensors file, from headers")
        .arg(path("PATH", "Folder or file"))
        .arg(values::checkpoint())
}

pub(super) fn run(matches: &ArgMatches) -> Result<Outcome, Failure> {
    let path = given::<PathBuf>(matches, "PATH").unwrap_or_default();
    let checkpoint = given::<PathBuf>(matches, "checkpoint");
    let inspection = crate::compare::inspect_checkpoint(&path, checkpoint.as_deref())?;
    Ok(Outcome {
        view: inspection.view(),
        json: inspection.report(),
        passed: true,
        value: Some(KeptValue { value: Box::new(inspection), type_path: KEEPS }),
    })
}
