//! `model construct` and `model test`, with the arguments that the project declares.

mod construct;
mod edit;
mod test;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::arguments::{chosen, with_note};
use super::shared::{ConfigArgs, ConverterArgs, FormatArgs, ShardArgs};
use super::verbs::{Context, Run};
use super::{Failure, Outcome, values};
use crate::checkpoint::OutputFile;
use crate::device::Device;
use crate::spec::DType;
use test::TestArgs;

/// `chandlery model`. All flags may stand before and after `construct` and `test`.
#[derive(Debug, Args)]
#[command(mut_args(|argument| argument.global(true)))]
pub(super) struct ModelArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// meta, cpu, cuda or cuda:N (default: meta; test: cpu)
    #[arg(long, value_name = "DEVICE", value_parser = values::device)]
    device: Option<Device>,
    /// Element type of the parameters (default: float32)
    #[arg(long, value_name = "DTYPE", value_parser = values::dtype)]
    dtype: Option<DType>,
    /// Seed of initialization and random batches (default: 42)
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Save the weights: as initialized, or with `test` as the steps leave them; needs a real device
    #[arg(long)]
    save_checkpoint: bool,
    #[command(flatten)]
    shards: ShardArgs,
    #[command(flatten)]
    format: FormatArgs,
    /// Load weights: a file, a folder, a checkpoint or a model folder
    #[arg(long, value_name = "PATH", value_parser = values::path)]
    load_from_checkpoint: Option<PathBuf>,
    #[command(flatten)]
    converters: ConverterArgs,
    /// Fail if a parameter is missing in the checkpoint, or a tensor unused
    #[arg(long)]
    strict: bool,
    /// Allocate zeros instead of drawing initial values
    #[arg(long)]
    no_init_weights: bool,
    /// With --no-init-weights: leave parameters at zero that the checkpoint does not have
    #[arg(long)]
    allow_missing: bool,
    /// Output folder (default: output_models/MODEL_NAME)
    #[arg(long, value_name = "FOLDER", value_parser = values::path)]
    output_dir: Option<PathBuf>,
    /// Rows of a batch: of the estimate, or of the test (default: 2)
    #[arg(long, value_name = "ROWS")]
    batch_size: Option<usize>,
    /// Tokens of a row (default: 512)
    #[arg(long, value_name = "TOKENS")]
    sequence_length: Option<usize>,
    /// Write configuration, tokenizer and sources of the output folder again
    #[arg(short, long)]
    refresh_model: bool,
    /// Let -r overwrite edited files, and delete weights and checkpoints that no longer match
    #[arg(long)]
    force: bool,
    /// Also write what is printed to a file
    #[arg(short, long, value_name = "FILE", value_parser = values::path)]
    output_file: Option<PathBuf>,
    /// Open what is printed in $VISUAL or $EDITOR
    #[arg(short, long)]
    edit: bool,
    #[command(flatten)]
    test: TestArgs,
    #[command(subcommand)]
    action: ModelAction,
}

/// The subcommands of `model`.
#[derive(Clone, Copy, Debug, Subcommand)]
enum ModelAction {
    /// Construct the model and its output folder
    Construct,
    /// Run forward, backward and SGD steps on random batches or a dataset
    Test,
}

impl Run for ModelArgs {
    fn result_type(&self) -> Option<&'static str> {
        Some(match self.action {
            ModelAction::Construct => "chandlery::Construction",
            ModelAction::Test => "chandlery::smoke_test::SmokeTestReport",
        })
    }

    fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        // Before the work: without an editor there is nothing to wait for.
        let editor = if self.edit { Some(edit::editor()?) } else { None };
        let output = self.output_file.as_deref().map(OutputFile::probe).transpose()?;
        let config = chosen(&self.config, context)?;
        let outcome = match self.action {
            ModelAction::Construct => self.construct(&config)?,
            ModelAction::Test => self.test(&config)?,
        };
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
}
