//! `update SRC DST`

use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::{ArgAction, ArgMatches, Command};

use super::{Failure, KeptValue, Outcome, flag, given, option, path, set, values};
use crate::checkpoint::WeightsFormat;
use crate::device::Device;
use crate::display::View;
use crate::spec::DType;
use crate::update::Version;

/// The type of its result.
pub(super) const KEEPS: &str = "chandlery::update::Updated";

pub(super) fn definition() -> Command {
    let version =
        || ValueParser::from(|word: &str| Version::parse(word).ok_or_else(|| "use a number, such as 1".to_owned()));
    Command::new("update")
        .about("Bring a native model folder to the names and fields of a newer version of its architecture")
        .arg(path("SRC", "Native model folder to read, ours or Forgather's"))
        .arg(path("DST", "Folder to make: a new or an empty one"))
        .arg(option("arch", "NAME", "Architecture (default: what config.json says)"))
        .arg(
            option("from-version", "VERSION", "Version of SRC (default: what config.json says)")
                .value_parser(version()),
        )
        .arg(option("to-version", "VERSION", "Version to stop at (default: the newest)").value_parser(version()))
        .arg(values::checkpoint())
        .arg(
            option("converter-path", "PATH", "More migrations: a YAML file or a folder of them; repeatable")
                .action(ArgAction::Append)
                .value_parser(values::path()),
        )
        .arg(flag("no-strict", "Update what there is: missing and unexpected parameters are no errors"))
        .arg(option("dtype", "DTYPE", "Cast the weights (default: as they are)").value_parser(values::dtype()))
        .arg(flag("safetensors", "Write safetensors, which is the default").conflicts_with("format"))
        .arg(
            option("format", "FORMAT", "safetensors, or pytorch for .bin files (default: safetensors)")
                .value_parser(values::weights_format()),
        )
        .arg(option("max-shard-size", "SIZE", "Largest weights file (default: 5GB)").value_parser(values::size()))
        .arg(
            option("device", "DEVICE", "Accepted; updating computes nothing on a device")
                .value_parser(values::device()),
        )
        .arg(values::force())
        .arg(flag("dry-run", "Say what would be done, from headers; write nothing"))
        .arg(values::log_level())
}

pub(super) fn run(matches: &ArgMatches) -> Result<Outcome, Failure> {
    let (Some(source), Some(destination)) = (given::<PathBuf>(matches, "SRC"), given::<PathBuf>(matches, "DST")) else {
        return Err(Failure::Usage { text: "update needs SRC and DST".to_owned(), help: false });
    };
    let mut update = crate::update(source, destination)
        .architecture(given::<String>(matches, "arch"))
        .from_version(given::<Version>(matches, "from-version"))
        .to_version(given::<Version>(matches, "to-version"))
        .checkpoint(given::<PathBuf>(matches, "checkpoint"))
        .migrations(matches.get_many::<PathBuf>("converter-path").into_iter().flatten().cloned().collect())
        .strict(!set(matches, "no-strict"))
        .dtype(given::<DType>(matches, "dtype"))
        .force(set(matches, "force"))
        .dry_run(set(matches, "dry-run"));
    if let Some(format) = given::<WeightsFormat>(matches, "format") {
        update = update.format(format);
    }
    if let Some(size) = given::<u64>(matches, "max-shard-size") {
        update = update.max_shard_size(size);
    }
    let updated = update.run()?;
    let mut view = updated.view();
    if given::<Device>(matches, "device").is_some() {
        view = view.with_note("--device was not needed: updating computes nothing");
    }
    Ok(Outcome {
        view,
        json: updated.report(),
        passed: true,
        value: Some(KeptValue { value: Box::new(updated), type_path: KEEPS }),
    })
}
