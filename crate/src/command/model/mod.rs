//! `model construct` and `model test`, with the arguments that the project declares.

mod construct;
mod edit;
mod test;

use std::path::PathBuf;

use clap::{ArgMatches, Command};

use super::arguments::{Named, chosen, with_note};
use super::{Failure, Outcome, flag, flag_value, given, option, set, values};
use crate::checkpoint::OutputFile;

/// The type of its result.
pub(super) fn keeps(matches: &ArgMatches) -> &'static str {
    if matches.subcommand_name() == Some("test") { test::KEEPS } else { construct::KEEPS }
}

/// All flags are global: they may stand before and after `construct` and `test`.
pub(super) fn definition(named: Option<&Named>) -> Command {
    let command = own_flags();
    match named {
        Some(named) => named.add_flags(command),
        None => command,
    }
}

fn own_flags() -> Command {
    Command::new("model")
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
        .arg(
            flag(
                "save-checkpoint",
                "Save the weights: as initialised, or with `test` as the steps leave them; needs a real device",
            )
            .global(true),
        )
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
        .arg(values::converter_path().global(true))
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
        .arg(
            flag("refresh-model", "Write configuration, tokenizer and sources of the output folder again")
                .short('r')
                .global(true),
        )
        .arg(
            flag(
                "force",
                "Let -r write over edited files, and delete weights and checkpoints that no longer belong there",
            )
            .global(true),
        )
        .arg(
            flag_value('o', "output-file", "FILE", "Write what is printed to a file, too")
                .value_parser(values::path())
                .global(true),
        )
        .args(test::arguments())
        .arg(flag("edit", "Open what is printed in $VISUAL or $EDITOR").short('e').global(true))
        .subcommands([construct::definition(), test::definition()])
}

pub(super) fn run(matches: &ArgMatches) -> Result<Outcome, Failure> {
    let Some((verb, inner)) = matches.subcommand() else {
        return Err(Failure::Usage { text: "name `construct` or `test`".to_owned(), help: false });
    };
    // Before the work: without an editor there is nothing to wait for.
    let editor = if set(inner, "edit") { Some(edit::editor()?) } else { None };
    let output = given::<PathBuf>(inner, "output-file").map(|file| OutputFile::probe(&file)).transpose()?;
    let config = chosen(inner)?;
    let outcome = if verb == "test" { test::run(inner, &config)? } else { construct::run(inner, &config)? };
    let outcome = with_note(outcome, config.project());
    // What goes to standard output is printed there anyway.
    if let Some(file) = output.filter(|file| !file.is_stdout()) {
        file.write(format!("{}\n", outcome.view.plain()).as_bytes())?;
    }
    if let Some(editor) = editor {
        let config = format!("{}_{}", config.project().name(), config.name());
        edit::open(&editor, &config, outcome.view.plain())?;
    }
    Ok(outcome)
}
