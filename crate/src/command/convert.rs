//! `convert SRC DST`

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::shared::{CheckpointArgs, DeviceArgs, FamilyArgs, FormatArgs, LogArgs, TokenArgs, WriteArgs};
use super::verbs::{Context, Run};
use super::{Failure, Outcome, values};
use crate::checkpoint::OutputFile;
use crate::display::{MimeBundle, View};

/// `chandlery convert`.
#[derive(Debug, Args)]
pub(super) struct ConvertArgs {
    /// Model folder to read
    #[arg(value_name = "SRC", value_parser = values::path)]
    source: PathBuf,
    /// Folder to make: a new or an empty one
    #[arg(value_name = "DST", value_parser = values::path, required_unless_present = "draft_family")]
    destination: Option<PathBuf>,
    /// Write a first description of SRC's family to this file instead: its fields, its names, and the nearest known family
    #[arg(long, value_name = "FILE", value_parser = values::path, conflicts_with = "destination")]
    draft_family: Option<PathBuf>,
    /// Require the direction native to Hugging Face
    #[arg(long)]
    reverse: bool,
    /// Treat the model as one of this family: llama, mistral, qwen3, or one of --converter-path
    #[arg(long, value_name = "FAMILY")]
    model_type: Option<String>,
    #[command(flatten)]
    families: FamilyArgs,
    /// Move names and bits by the rules of --converter-path alone, for a model_type that no family describes
    #[arg(long, conflicts_with_all = ["allow_unknown_fields", "tie", "untie", "dequantize", "adapter"])]
    layout_only: bool,
    /// Set the maximum sequence length, in config.json and for the tokenizer
    #[arg(long, value_name = "TOKENS")]
    max_length: Option<usize>,
    #[command(flatten)]
    weights: CheckpointArgs,
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
        if let Some(file) = &self.draft_family {
            return self.draft(file);
        }
        let destination = self.destination.as_deref().unwrap_or(Path::new(""));
        let mut convert = crate::convert(&self.source, destination)
            .reverse(self.reverse)
            .model_type(self.model_type.clone())
            .write_options(self.write.options(self.format.format))
            .token_options(self.tokens.options())
            .max_length(self.max_length)
            .checkpoint(self.weights.checkpoint.clone())
            .device(self.device.device())
            .generation_test(self.generation_test)
            .prompt(self.prompt.clone())
            .validate(!self.no_validate)
            .prove(!self.no_prove)
            .allow_unknown_fields(self.families.allow_unknown_fields)
            .layout_only(self.layout_only)
            .require_agreement(self.require_agreement)
            .dequantize(self.families.dequantize)
            .adapters(self.families.adapter.clone())
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

impl ConvertArgs {
    /// Writes a first description of the source's family.
    fn draft(&self, file: &Path) -> Result<Outcome, Failure> {
        let output = OutputFile::probe(file)?;
        if output.is_file() && file.exists() && !self.write.force {
            return Err(Failure::usage("the file of --draft-family exists", "name another one, or add --force"));
        }
        let text = crate::convert::draft_family(&self.source, &self.families.families()?)?;
        output.write(text.as_bytes())?;
        let said = format!("A first description of the family of {} is in {}", self.source.display(), file.display());
        let view = MimeBundle::text(if output.is_stdout() { String::new() } else { said });
        Ok(Outcome::new(view, json!({ "passed": true, "source": self.source, "family_file": file })))
    }
}
