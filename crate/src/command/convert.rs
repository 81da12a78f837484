//! `convert SRC DST`

use std::path::PathBuf;

use clap::Args;

use super::shared::{DeviceArgs, FamilyArgs, FolderArgs, FormatArgs, LogArgs, TokenArgs, WriteArgs};
use super::verbs::{Context, Run};
use super::{Failure, Outcome, values};
use crate::display::View;

/// `chandlery convert`.
#[derive(Debug, Args)]
pub(super) struct ConvertArgs {
    #[command(flatten)]
    folders: FolderArgs,
    /// Require the direction native to Hugging Face
    #[arg(long)]
    reverse: bool,
    /// Treat the model as one of this family: llama, mistral, qwen3, or one of --converter-path
    #[arg(long, value_name = "FAMILY")]
    model_type: Option<String>,
    #[command(flatten)]
    families: FamilyArgs,
    /// Set the maximum sequence length, in config.json and for the tokenizer
    #[arg(long, value_name = "TOKENS")]
    max_length: Option<usize>,
    /// Checkpoint to convert (default: the newest complete one)
    #[arg(short, long, value_name = "PATH", value_parser = values::path)]
    checkpoint_path: Option<PathBuf>,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    tokens: TokenArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// Text to validate on
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Let both models continue the prompt, and compare their tokens
    #[arg(short = 'g', long, conflicts_with = "no_validate")]
    generation_test: bool,
    /// List every tensor with both names, shape, type and digest
    #[arg(long)]
    debug_params: bool,
    /// Skip the comparison of logits
    #[arg(long)]
    no_validate: bool,
    /// Skip the comparison of bits
    #[arg(long)]
    no_prove: bool,
    /// Also fail if the logits cannot be judged (default: only if they differ)
    #[arg(long, conflicts_with = "no_validate")]
    require_agreement: bool,
    #[command(flatten)]
    log: LogArgs,
}

impl Run for ConvertArgs {
    fn result_type(&self) -> Option<&'static str> {
        Some("chandlery::Conversion")
    }

    fn run(&self, _: &Context) -> Result<Outcome, Failure> {
        let mut convert = crate::convert(&self.folders.source, &self.folders.destination)
            .reverse(self.reverse)
            .model_type(self.model_type.clone())
            .write_options(self.write.options(self.format.format))
            .token_options(self.tokens.options())
            .max_length(self.max_length)
            .checkpoint(self.checkpoint_path.clone())
            .device(self.device.device())
            .generation_test(self.generation_test)
            .prompt(self.prompt.clone())
            .validate(!self.no_validate)
            .prove(!self.no_prove)
            .allow_unknown_fields(self.families.allow_unknown_fields)
            .require_agreement(self.require_agreement)
            .tie_word_embeddings(self.families.tie_word_embeddings());
        for path in &self.families.converters.converter_path {
            convert = convert.converter_path(path);
        }
        let conversion = convert.run()?;
        let (mut view, mut json) = (conversion.view(), conversion.report());
        if self.debug_params {
            let pairs = conversion.pairs();
            view = view.followed_by(&pairs.view());
            json["parameters"] = pairs.report();
        }
        Ok(Outcome::new(view, json).with_passed(conversion.passed()).keeping(self, conversion))
    }
}
