//! `inspect PATH`

use std::path::PathBuf;

use clap::{ArgMatches, Command};

use super::{Failure, Kept, Outcome, given, path};
use crate::display::View;

/// The type of its result.
pub(super) const KEEPS: &str = "chandlery::Inspection";

pub(super) fn definition() -> Command {
    Command::new("inspect")
        .about("Parameter table of a model folder, checkpoint or safetensors file, from headers")
        .arg(path("PATH", "Folder or file"))
}

pub(super) fn run(matches: &ArgMatches) -> Result<Outcome, Failure> {
    let path = given::<PathBuf>(matches, "PATH").unwrap_or_default();
    let inspection = crate::inspect(path)?;
    Ok(Outcome {
        view: inspection.view(),
        json: inspection.report(),
        passed: true,
        value: Some(Kept { value: Box::new(inspection), type_path: KEEPS }),
    })
}
