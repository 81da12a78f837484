//! `update SRC DST`

use std::path::PathBuf;

use clap::Args;

use super::shared::{CheckpointArgs, FolderArgs, FormatArgs, LogArgs, WriteArgs};
use super::verbs::{Context, Run};
use super::{Failure, Outcome, values};
use crate::device::Device;
use crate::display::View;
use crate::update::Version;

/// `chandlery update`.
#[derive(Debug, Args)]
pub(super) struct UpdateArgs {
    #[command(flatten)]
    folders: FolderArgs,
    /// Architecture (default: what config.json says)
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
    /// Version of SRC (default: what config.json says)
    #[arg(long, value_name = "VERSION", value_parser = values::version)]
    from_version: Option<Version>,
    /// Version to stop at (default: the newest)
    #[arg(long, value_name = "VERSION", value_parser = values::version)]
    to_version: Option<Version>,
    #[command(flatten)]
    weights: CheckpointArgs,
    /// More migrations: a YAML file or a folder of them (repeatable)
    #[arg(long, value_name = "PATH", value_parser = values::path)]
    converter_path: Vec<PathBuf>,
    /// Allow missing and unexpected parameters
    #[arg(long)]
    no_strict: bool,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    format: FormatArgs,
    /// Accepted; updating computes nothing on a device
    #[arg(long, value_name = "DEVICE", value_parser = values::device)]
    device: Option<Device>,
    #[command(flatten)]
    log: LogArgs,
}

impl Run for UpdateArgs {
    fn result_type(&self) -> Option<&'static str> {
        Some("chandlery::update::Updated")
    }

    fn run(&self, _: &Context) -> Result<Outcome, Failure> {
        let updated = crate::update(&self.folders.source, &self.folders.destination)
            .architecture(self.arch.clone())
            .from_version(self.from_version.clone())
            .to_version(self.to_version.clone())
            .checkpoint(self.weights.checkpoint.clone())
            .migrations(self.converter_path.clone())
            .strict(!self.no_strict)
            .write_options(self.write.options(self.format.format))
            .run()?;
        let mut view = updated.view();
        if self.device.is_some() {
            view = view.with_note("--device was not needed: updating computes nothing");
        }
        Ok(Outcome::new(view, updated.report()).keeping(self, updated))
    }
}
