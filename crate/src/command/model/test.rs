//! `model test`

use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::construct::{builder, default_output, save_options};
use crate::command::{Failure, KeptValue, Outcome, flag, given, option, set, values};
use crate::construct::Device;
use crate::dataset::{DatasetConfig, dataset};
use crate::display::{View, below_load};
use crate::ops::AttentionImplementation;
use crate::project::ProjectConfig;
use crate::smoke_test::CompareSettings;
use crate::spec::Recipe;

/// The type of its result.
pub(super) const KEEPS: &str = "chandlery::smoke_test::SmokeTestReport";

pub(super) fn definition() -> Command {
    Command::new("test").about("Run forward, backward and SGD steps on random batches or a dataset")
}

/// The flags of `test`. They are global, as all of `model`: they may stand before and after the word `test`.
pub(super) fn arguments() -> Vec<Arg> {
    let attention = ValueParser::from(|word: &str| {
        let parsed = word.parse::<AttentionImplementation>();
        parsed.map_err(|_| "use eager, sdpa, flash_attention_2 or flex_attention".to_owned())
    });
    // Only the first line: clap writes the flag and the value before it.
    let compare = ValueParser::from(|word: &str| {
        CompareSettings::parse(word).map_err(|error| error.to_string().replace("\n  where: --compare\n  do: ", "; "))
    });
    let args = [
        option("steps", "N", "Number of steps (default: 1)").value_parser(value_parser!(usize)),
        option("lr", "LR", "Learning rate of plain SGD (default: 0.01)")
            .value_parser(value_parser!(f64))
            .allow_negative_numbers(true),
        flag("repeat-batch", "Feed the first batch again and again: the loss must fall"),
        option("dataset-project", "DIR|NAME", "Feed a dataset project: a folder with dataset.yaml, or classics"),
        option("dataset-config", "CONFIG", "Configuration of the dataset project"),
        option("packed", "BOOL", "Keep the documents of a row apart (default: where the data says where they start)")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_parser(value_parser!(bool))
            .action(ArgAction::Set),
        option("attn-implementation", "NAME", "eager, sdpa, flash_attention_2 or flex_attention (default: sdpa)")
            .value_parser(attention),
        flag("gradient-checkpointing", "Compute layers again in backward instead of keeping them"),
        flag("fuse-optim-with-backward", "Update each parameter as soon as backward has its gradient"),
        option(
            "qat-recipe",
            "RECIPE",
            "Train for being quantized so: round in forward what `finalize --quantize` will",
        )
        .value_parser(values::recipe()),
        option(
            "compare",
            "SETTINGS",
            "Run other settings beside, such as attn-implementation=eager,device=cpu; they must agree",
        )
        .value_parser(compare),
    ];
    args.into_iter().map(|arg| arg.global(true).help_heading("Options of test")).collect()
}

fn data(matches: &ArgMatches) -> Result<Option<DatasetConfig>, Failure> {
    let name = given::<String>(matches, "dataset-config");
    match (given::<String>(matches, "dataset-project"), name) {
        (Some(project), name) => {
            let project = dataset(&project)?;
            let name = name.unwrap_or_else(|| project.default_config().to_owned());
            Ok(Some(project.config(&name)?))
        }
        (None, Some(_)) => {
            let text = "error: --dataset-config needs --dataset-project".to_owned();
            Err(Failure::Usage { text, help: false })
        }
        (None, None) => Ok(None),
    }
}

pub(super) fn run(matches: &ArgMatches, config: &ProjectConfig) -> Result<Outcome, Failure> {
    let data = data(matches)?;
    let device = given::<Device>(matches, "device").unwrap_or(Device::Cpu);
    let saving = set(matches, "save-checkpoint");
    // What is saved is what the steps have made of the weights, not what they began with.
    let mut builder = builder(matches, config, device)?.save_checkpoint(false);
    match given::<PathBuf>(matches, "output-dir") {
        Some(folder) => builder = builder.output_dir(folder),
        None if saving => builder = builder.output_dir(default_output(config)?),
        None => {}
    }
    let construction = builder.build()?;
    let mut test = construction
        .test()
        .repeat_batch(set(matches, "repeat-batch"))
        .gradient_checkpointing(set(matches, "gradient-checkpointing"))
        .fuse_optim_with_backward(set(matches, "fuse-optim-with-backward"));
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
    if let Some(packed) = given::<bool>(matches, "packed") {
        test = test.packed(packed);
    }
    if let Some(attention) = given::<AttentionImplementation>(matches, "attn-implementation") {
        test = test.attention(attention);
    }
    if let Some(changes) = given::<CompareSettings>(matches, "compare") {
        test = test.compare(changes);
    }
    if let Some(data) = data {
        test = test.dataset(data);
    }
    test = test.qat_recipe(given::<Recipe>(matches, "qat-recipe"));
    if let (true, Some(output)) = (saving, &construction.output) {
        let steps = given::<usize>(matches, "steps").unwrap_or(1);
        test = test.save_checkpoint(output.join(format!("checkpoints/checkpoint-{steps}")), save_options(matches));
    }
    let report = test.run()?;
    let (mut view, mut json) = (report.view(), report.report());
    if let Some(load) = &construction.load {
        view = below_load(load, construction.initialized, view);
        json["load"] = load.report();
    }
    Ok(Outcome {
        view,
        json,
        passed: report.passed(),
        value: Some(KeptValue { value: Box::new(report), type_path: KEEPS }),
    })
}
