//! `model construct` and `model test`, with the arguments that the project declares.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{Failure, Kept, Outcome, flag, flag_value, given, option, set, values};
use crate::construct::{Construct, Device};
use crate::display::View;
use crate::project::{Argument, ArgumentType, Project, ProjectConfig, project};
use crate::spec::DType;

const DEFAULT_PROJECT: &str = "llama";

/// The project that the words name, read before they are parsed, because it adds to the definition.
pub(super) fn project_among(words: &[String]) -> Result<Project, Failure> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let attached =
            word.strip_prefix("--project-dir=").or_else(|| word.strip_prefix("-p").filter(|rest| !rest.is_empty()));
        match (word.as_str(), attached) {
            (_, Some(name)) => return Ok(project(name)?),
            ("-p" | "--project-dir", None) => return Ok(project(words.next().map_or("", String::as_str))?),
            _ => {}
        }
    }
    Ok(project(DEFAULT_PROJECT)?)
}

/// All flags are global: they may stand before and after `construct` and `test`.
pub(super) fn definition(project: Option<&Project>) -> Command {
    let construct = Command::new("construct").about("Construct the model and its output folder");
    let test = Command::new("test")
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
        .arg(flag("repeat-batch", "Feed the first batch again and again: the loss must fall"));
    let mut command = Command::new("model")
        .about("Construct or test a model of a project")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(
            option("device", "DEVICE", "meta, cpu, cuda or cuda:N (default: meta; test: cpu)")
                .value_parser(values::device())
                .global(true),
        )
        .arg(
            option("dtype", "DTYPE", "Element type of the parameters (default: float32)")
                .value_parser(values::dtype())
                .global(true),
        )
        .arg(
            option("seed", "SEED", "Seed of initialisation and random batches (default: 42)")
                .value_parser(clap::value_parser!(u64))
                .global(true),
        )
        .arg(flag("save-checkpoint", "Save the initialised weights, too; needs a real device").global(true))
        .arg(flag("safetensors", "Save as safetensors, which is the default").global(true))
        .arg(
            option("max-shard-size", "SIZE", "Largest weights file (default: 5GB)")
                .value_parser(values::size())
                .global(true),
        )
        .arg(
            option("output-dir", "FOLDER", "Output folder (default: output_models/MODEL_NAME)")
                .value_parser(values::path())
                .global(true),
        )
        .arg(flag("refresh-model", "Replace the output folder").short('r').global(true))
        .arg(flag("force", "Let -r delete weights and checkpoints").global(true))
        .arg(
            flag_value('o', "output-file", "FILE", "Write what is printed to a file, too")
                .value_parser(values::path())
                .global(true),
        )
        .subcommands([construct, test]);
    if let Some(project) = project {
        command = command.args(project.arguments().iter().map(argument));
    }
    command
}

fn argument(declared: &Argument) -> Arg {
    let flag = declared.flag();
    let arg = Arg::new(declared.name.clone())
        .long(flag)
        .help(declared.help.clone())
        .global(true)
        .help_heading("Arguments of the project");
    let parse = declared.clone();
    let arg = arg.value_parser(clap::builder::ValueParser::from(move |word: &str| {
        parse.parse(word).map_err(|expected| format!("expected {expected}"))
    }));
    match declared.kind {
        // `--flag`, `--flag=true` and `--flag=false`.
        ArgumentType::Bool => arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("BOOL"),
        ArgumentType::Int => arg.value_name("N").allow_negative_numbers(true),
        ArgumentType::Float => arg.value_name("X").allow_negative_numbers(true),
        ArgumentType::Dict => arg.value_name("JSON"),
        ArgumentType::Str => arg.value_name("TEXT"),
    }
    .action(ArgAction::Set)
}

pub(super) fn run(matches: &ArgMatches) -> Result<Outcome, Failure> {
    let Some((verb, inner)) = matches.subcommand() else {
        return Err(Failure::Usage { text: "name `construct` or `test`".to_owned(), help: false });
    };
    let config = chosen(inner)?;
    let outcome = if verb == "test" { test(inner, &config)? } else { construct(inner, &config)? };
    if let Some(file) = given::<PathBuf>(inner, "output-file") {
        let text = format!("{}\n", outcome.view.plain());
        crate::checkpoint::AtomicFolder::write_file(&file, text.as_bytes())?;
    }
    Ok(outcome)
}

/// The configuration with its arguments.
fn chosen(matches: &ArgMatches) -> Result<ProjectConfig, Failure> {
    let project = project(given::<String>(matches, "project-dir").as_deref().unwrap_or(DEFAULT_PROJECT))?;
    let name = given::<String>(matches, "config-template").unwrap_or_else(|| project.default_config().to_owned());
    let mut config = project.config(&name)?;
    for argument in project.arguments() {
        if let Some(value) = given::<serde_json::Value>(matches, &argument.name) {
            config = config.set(&argument.name, value)?;
        }
    }
    Ok(config)
}

fn builder(matches: &ArgMatches, config: &ProjectConfig, device: Device) -> Construct {
    let mut builder = config.construct().on(device).save_checkpoint(set(matches, "save-checkpoint"));
    builder = builder.refresh(set(matches, "refresh-model")).force(set(matches, "force"));
    if let Some(dtype) = given::<DType>(matches, "dtype") {
        builder = builder.dtype(dtype);
    }
    if let Some(seed) = given::<u64>(matches, "seed") {
        builder = builder.seed(seed);
    }
    if let Some(size) = given::<u64>(matches, "max-shard-size") {
        builder = builder.max_shard_size(size);
    }
    builder
}

fn construct(matches: &ArgMatches, config: &ProjectConfig) -> Result<Outcome, Failure> {
    let device = given::<Device>(matches, "device").unwrap_or(Device::Meta);
    let output = match given::<PathBuf>(matches, "output-dir") {
        Some(folder) => folder,
        None => PathBuf::from("output_models").join(config.model_name()?),
    };
    let construction = builder(matches, config, device).output_dir(output).build()?;
    Ok(Outcome {
        view: construction.view(),
        json: construction.report(),
        passed: true,
        value: Some(Kept { value: Box::new(construction), type_path: "chandlery::Construction" }),
    })
}

fn test(matches: &ArgMatches, config: &ProjectConfig) -> Result<Outcome, Failure> {
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
