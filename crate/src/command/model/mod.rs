//! `model construct` and `model test`, with the arguments that the project declares.

mod construct;
mod edit;
mod test;

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{Failure, Outcome, flag, flag_value, given, option, set, values};
use crate::project::{Argument, ArgumentType, Project, ProjectConfig, project};

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
            option("format", "FORMAT", "safetensors, or pytorch for .bin files (default: safetensors)")
                .value_parser(values::weights_format())
                .conflicts_with("safetensors")
                .global(true),
        )
        .arg(
            option("max-shard-size", "SIZE", "Largest weights file (default: 5GB)")
                .value_parser(values::size())
                .global(true),
        )
        .arg(
            option("load-from-checkpoint", "PATH", "Load weights: a file, a folder, a checkpoint or a model folder")
                .value_parser(values::path())
                .global(true),
        )
        .arg(flag("strict", "Fail if a parameter is missing in the checkpoint, or a tensor unused").global(true))
        .arg(flag("no-init-weights", "Allocate zeros instead of drawing initial values").global(true))
        .arg(
            flag("allow-missing", "With --no-init-weights: keep parameters zero that the checkpoint lacks")
                .global(true),
        )
        .arg(
            option("output-dir", "FOLDER", "Output folder (default: output_models/MODEL_NAME)")
                .value_parser(values::path())
                .global(true),
        )
        .arg(
            option("batch-size", "ROWS", "Rows of a batch: of the estimate, or of the test (default: 2)")
                .value_parser(clap::value_parser!(usize))
                .global(true),
        )
        .arg(
            option("sequence-length", "TOKENS", "Tokens of a row (default: 512)")
                .value_parser(clap::value_parser!(usize))
                .global(true),
        )
        .arg(flag("refresh-model", "Replace the output folder").short('r').global(true))
        .arg(flag("force", "Let -r delete weights and checkpoints").global(true))
        .arg(
            flag_value('o', "output-file", "FILE", "Write what is printed to a file, too")
                .value_parser(values::path())
                .global(true),
        )
        .args(test::arguments())
        .arg(flag("edit", "Open what is printed in $VISUAL or $EDITOR").short('e').global(true))
        .subcommands([construct::definition(), test::definition()]);
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
    // Before the work: without an editor there is nothing to wait for.
    let editor = if set(inner, "edit") { Some(edit::editor()?) } else { None };
    let config = chosen(inner)?;
    let outcome = if verb == "test" { test::run(inner, &config)? } else { construct::run(inner, &config)? };
    if let Some(file) = given::<PathBuf>(inner, "output-file") {
        let text = format!("{}\n", outcome.view.plain());
        crate::checkpoint::AtomicFolder::write_file(&file, text.as_bytes())?;
    }
    if let Some(editor) = editor {
        let config = format!("{}_{}", config.project().name(), config.name());
        edit::open(&editor, &config, outcome.view.plain())?;
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
