//! `model construct`

use std::path::PathBuf;

use clap::{ArgMatches, Command};

use crate::checkpoint::WeightsFormat;
use crate::command::{Failure, KeptValue, Outcome, given, set, values};
use crate::construct::{Construct, ConstructError, Device, SaveOptions};
use crate::display::View;
use crate::naming::Families;
use crate::project::ProjectConfig;
use crate::spec::DType;

/// Rows of the batch that `model test` runs, too.
const DEFAULT_ROWS: usize = 2;

/// The type of its result.
pub(super) const KEEPS: &str = "chandlery::Construction";

pub(super) fn definition() -> Command {
    Command::new("construct").about("Construct the model and its output folder")
}

/// What the flags that `construct` and `test` share ask for.
pub(super) fn builder(matches: &ArgMatches, config: &ProjectConfig, device: Device) -> Result<Construct, Failure> {
    let mut builder = config.construct().on(device).save_checkpoint(set(matches, "save-checkpoint"));
    builder = builder.refresh(set(matches, "refresh-model")).force(set(matches, "force"));
    if let Some(dtype) = given::<DType>(matches, "dtype") {
        builder = builder.dtype(dtype);
    }
    if let Some(seed) = given::<u64>(matches, "seed") {
        builder = builder.seed(seed);
    }
    let saving = save_options(matches);
    builder = builder.max_shard_size(saving.max_shard_size).format(saving.format);
    if let Some(path) = given::<PathBuf>(matches, "load-from-checkpoint") {
        builder = builder.load_from_checkpoint(path);
    }
    let paths = values::converter_paths(matches);
    if !paths.is_empty() {
        builder = builder.families(Families::with_paths(paths).map_err(ConstructError::from)?);
    }
    builder = builder.strict(set(matches, "strict")).allow_missing(set(matches, "allow-missing"));
    Ok(builder.no_init_weights(set(matches, "no-init-weights")))
}

/// How weights are saved.
pub(super) fn save_options(matches: &ArgMatches) -> SaveOptions {
    let usual = SaveOptions::default();
    SaveOptions {
        format: given::<WeightsFormat>(matches, "format").unwrap_or(usual.format),
        max_shard_size: given::<u64>(matches, "max-shard-size").unwrap_or(usual.max_shard_size),
    }
}

/// The output folder where none is named.
pub(super) fn default_output(config: &ProjectConfig) -> Result<PathBuf, Failure> {
    Ok(PathBuf::from("output_models").join(config.model_name()?))
}

pub(super) fn run(matches: &ArgMatches, config: &ProjectConfig) -> Result<Outcome, Failure> {
    let device = given::<Device>(matches, "device").unwrap_or(Device::Meta);
    let output = match given::<PathBuf>(matches, "output-dir") {
        Some(folder) => folder,
        None => default_output(config)?,
    };
    let mut builder = builder(matches, config, device)?.output_dir(output);
    let (rows, tokens) = (given::<usize>(matches, "batch-size"), given::<usize>(matches, "sequence-length"));
    if rows.is_some() || tokens.is_some() {
        builder = builder.estimate_for(rows.unwrap_or(DEFAULT_ROWS), tokens);
    }
    let construction = builder.build()?;
    Ok(Outcome {
        view: construction.view(),
        json: construction.report(),
        passed: true,
        value: Some(KeptValue { value: Box::new(construction), type_path: KEEPS }),
    })
}
