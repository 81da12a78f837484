//! `convert SRC DST`

use std::path::PathBuf;

use clap::{ArgMatches, Command};

use super::{Failure, KeptValue, Outcome, flag, flag_value, given, option, path, set, values};
use crate::checkpoint::WeightsFormat;
use crate::device::Device;
use crate::display::View;
use crate::spec::DType;

/// The type of its result.
pub(super) const KEEPS: &str = "chandlery::Conversion";

pub(super) fn definition() -> Command {
    Command::new("convert")
        .about("Convert a model folder: Hugging Face names to native ones, or back")
        .arg(path("SRC", "Model folder to read"))
        .arg(path("DST", "Folder to make: a new or an empty one"))
        .arg(flag("reverse", "Require the direction native to Hugging Face"))
        .arg(option(
            "model-type",
            "FAMILY",
            "Take the model for one of this family: llama, mistral, qwen3, or one of --converter-path",
        ))
        .arg(values::converter_path())
        .arg(values::allow_unknown_fields())
        .args(values::ties())
        .arg(option("dtype", "DTYPE", "Cast the weights (default: as they are)").value_parser(values::dtype()))
        .arg(
            option("max-length", "TOKENS", "Replace the longest sequence, in config.json and for the tokenizer")
                .value_parser(clap::value_parser!(usize)),
        )
        .arg(
            flag_value('c', "checkpoint-path", "PATH", "Checkpoint to convert (default: the newest complete one)")
                .value_parser(values::path()),
        )
        .arg(option("max-shard-size", "SIZE", "Largest weights file (default: 5GB)").value_parser(values::size()))
        .arg(
            option("format", "FORMAT", "safetensors, or pytorch for .bin files (default: safetensors)")
                .value_parser(values::weights_format()),
        )
        .arg(option("add-tokens", "YAML", "Add the tokens of this file, or of an embedded one: chatml"))
        .arg(flag("skip-default-tokens", "Do not add [PAD] where the tokenizer has no padding token"))
        .arg(
            option("pad-to-multiple", "N", "Round the rows of the embedding up to a multiple of N")
                .value_parser(clap::value_parser!(usize)),
        )
        .arg(flag_value(
            't',
            "chat-template-path",
            "FILE",
            "Chat template for the tokenizer: a file, or an embedded one by name",
        ))
        .arg(option("device", "DEVICE", "Where to validate (default: cpu)").value_parser(values::device()))
        .arg(option("prompt", "TEXT", "Text to validate on"))
        .arg(
            flag("generation-test", "Have both sides continue the prompt, and compare their tokens")
                .short('g')
                .conflicts_with("no-validate"),
        )
        .arg(flag("debug-params", "List every tensor with both names, shape, type and digest"))
        .arg(flag("no-validate", "Skip the comparison of logits"))
        .arg(flag("no-prove", "Skip the comparison of bits"))
        .arg(
            flag("require-agreement", "Fail also where the logits cannot be judged (default: only where they differ)")
                .conflicts_with("no-validate"),
        )
        .arg(values::force())
        .arg(flag("dry-run", "Plan from headers; write nothing"))
        .arg(values::log_level())
}

pub(super) fn run(matches: &ArgMatches) -> Result<Outcome, Failure> {
    let (Some(source), Some(destination)) = (given::<PathBuf>(matches, "SRC"), given::<PathBuf>(matches, "DST")) else {
        return Err(Failure::Usage { text: "convert needs SRC and DST".to_owned(), help: false });
    };
    let mut convert = crate::convert(source, destination)
        .reverse(set(matches, "reverse"))
        .model_type(given::<String>(matches, "model-type"))
        .dtype(given::<DType>(matches, "dtype"))
        .max_length(given::<usize>(matches, "max-length"))
        .checkpoint(given::<PathBuf>(matches, "checkpoint-path"))
        .device(given::<Device>(matches, "device").unwrap_or(Device::Cpu))
        .generation_test(set(matches, "generation-test"))
        .add_tokens(given::<String>(matches, "add-tokens"))
        .skip_default_tokens(set(matches, "skip-default-tokens"))
        .pad_to_multiple(given::<usize>(matches, "pad-to-multiple"))
        .chat_template(given::<String>(matches, "chat-template-path"))
        .prompt(given::<String>(matches, "prompt"))
        .validate(!set(matches, "no-validate"))
        .prove(!set(matches, "no-prove"))
        .allow_unknown_fields(set(matches, "allow-unknown-fields"))
        .require_agreement(set(matches, "require-agreement"))
        .tie_word_embeddings(values::tie(matches))
        .force(set(matches, "force"))
        .dry_run(set(matches, "dry-run"));
    for path in values::converter_paths(matches) {
        convert = convert.converter_path(path);
    }
    if let Some(format) = given::<WeightsFormat>(matches, "format") {
        convert = convert.format(format);
    }
    if let Some(size) = given::<u64>(matches, "max-shard-size") {
        convert = convert.max_shard_size(size);
    }
    let conversion = convert.run()?;
    let (mut view, mut json) = (conversion.view(), conversion.report());
    if set(matches, "debug-params") {
        let pairs = conversion.pairs();
        view = view.followed_by(&pairs.view());
        json["parameters"] = pairs.report();
    }
    Ok(Outcome {
        view,
        json,
        passed: conversion.passed(),
        value: Some(KeptValue { value: Box::new(conversion), type_path: KEEPS }),
    })
}
