//! `model test`

use std::path::PathBuf;

use clap::{ArgMatches, Command};

use super::construct::builder;
use crate::command::{Failure, Kept, Outcome, flag, given, option, set};
use crate::construct::Device;
use crate::display::View;
use crate::project::ProjectConfig;

pub(super) fn definition() -> Command {
    Command::new("test")
        .about("Run forward, backward and SGD steps on random batches")
        .arg(option("batch-size", "ROWS", "Rows of each batch (default: 2)").value_parser(clap::value_parser!(usize)))
        .arg(
            option("sequence-length", "TOKENS", "Tokens per row (default: 512)")
                .value_parser(clap::value_parser!(usize)),
        )
        .arg(option("steps", "N", "Number of steps (default: 1)").value_parser(clap::value_parser!(usize)))
        .arg(
            option("lr", "LR", "Learning rate of plain SGD (default: 0.01)")
                .value_parser(clap::value_parser!(f64))
                .allow_negative_numbers(true),
        )
        .arg(flag("repeat-batch", "Feed the first batch again and again: the loss must fall"))
}

pub(super) fn run(matches: &ArgMatches, config: &ProjectConfig) -> Result<Outcome, Failure> {
    let device = given::<Device>(matches, "device").unwrap_or(Device::Cpu);
    let mut builder = builder(matches, config, device);
    if let Some(folder) = given::<PathBuf>(matches, "output-dir") {
        builder = builder.output_dir(folder);
    }
    let construction = builder.build()?;
    let mut test = construction.test().repeat_batch(set(matches, "repeat-batch"));
    if let Some(rows) = given::<usize>(matches, "batch-size") {
        test = test.batch_size(rows);
    }
    if let Some(tokens) = given::<usize>(matches, "sequence-length") {
        test = test.sequence_length(tokens);
    }
    if let Some(steps) = given::<usize>(matches, "steps") {
        test = test.steps(steps);
    }
    if let Some(lr) = given::<f64>(matches, "lr") {
        test = test.lr(lr);
    }
    let report = test.run()?;
    Ok(Outcome {
        view: report.view(),
        json: report.report(),
        passed: report.passed(),
        value: Some(Kept { value: Box::new(report), type_path: "chandlery::kicktest::KickTestReport" }),
    })
}
