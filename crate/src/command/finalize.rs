//! `finalize SRC DST`

use clap::{Args, ValueEnum};

use super::shared::{CheckpointArgs, FamilyArgs, FolderArgs, LogArgs, TokenArgs, WriteArgs};
use super::verbs::{Context, Run};
use super::{Failure, Outcome, values};
use crate::checkpoint::WeightsFormat;
use crate::device::Device;
use crate::display::View;
use crate::gguf::GgufType;
use crate::spec::Recipe;
use crate::tokenizer::{Generation, GenerationMode};

/// `chandlery finalize`.
#[derive(Debug, Args)]
pub(super) struct FinalizeArgs {
    #[command(flatten)]
    folders: FolderArgs,
    #[command(flatten)]
    weights: CheckpointArgs,
    #[command(flatten)]
    families: FamilyArgs,
    /// Copy the checkpoint's optimizer_state.pt
    #[arg(long)]
    keep_optimizer: bool,
    /// Write weights at the root only, without a checkpoints folder
    #[arg(long, conflicts_with = "keep_optimizer")]
    root_copy: bool,
    #[command(flatten)]
    tokens: TokenArgs,
    /// Additional tokens at which generation stops
    #[arg(long, value_name = "TOK1,TOK2")]
    stop_tokens: Option<String>,
    /// Do not stop generation at end-of-turn tokens among the added ones
    #[arg(long)]
    no_auto_stop_tokens: bool,
    /// carry (default), none, or a preset: a JSON file or its name
    #[arg(long, value_name = "MODE")]
    generation_config: Option<String>,
    #[command(flatten)]
    write: WriteArgs,
    /// safetensors, pytorch for .bin files, or gguf (default: safetensors)
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// With --format gguf: f32, f16 (default), bf16, q8_0, q4_0 or q4_k
    #[arg(long, value_name = "TYPE", value_parser = values::gguf_type)]
    gguf_type: Option<GgufType>,
    /// Quantize the linear layers, and compare logits before and after
    #[arg(long, value_name = "RECIPE", value_parser = values::recipe)]
    quantize: Option<Recipe>,
    /// With --quantize: compare logits on this text
    #[arg(long, value_name = "TEXT", requires = "quantize")]
    prompt: Option<String>,
    /// With --quantize: do not compare logits
    #[arg(long, requires = "quantize")]
    no_validate: bool,
    /// Accepted; finalizing computes nothing on a device
    #[arg(long, value_name = "DEVICE", value_parser = values::device)]
    device: Option<Device>,
    #[command(flatten)]
    log: LogArgs,
}

/// What the weights are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Safetensors,
    #[value(alias = "bin")]
    Pytorch,
    Gguf,
}

impl FinalizeArgs {
    /// The format of a folder's weights, or the type of a GGUF file's.
    fn storage(&self) -> Result<(WeightsFormat, Option<GgufType>), Failure> {
        match (self.format, self.gguf_type) {
            (Some(Format::Gguf), kind) => Ok((WeightsFormat::default(), Some(kind.unwrap_or_default()))),
            (_, Some(_)) => Err(Failure::usage("--gguf-type says how --format gguf stores the weights", "give both")),
            (Some(Format::Pytorch), None) => Ok((WeightsFormat::Pytorch, None)),
            (Some(Format::Safetensors) | None, None) => Ok((WeightsFormat::Safetensors, None)),
        }
    }
}

impl Run for FinalizeArgs {
    fn result_type(&self) -> Option<&'static str> {
        Some("chandlery::finalize::Finalization")
    }

    fn run(&self, _: &Context) -> Result<Outcome, Failure> {
        let (format, gguf) = self.storage()?;
        let mode = self.generation_config.as_deref().unwrap_or("carry");
        let finalization = crate::finalize(&self.folders.source, &self.folders.destination)
            .families(self.families.families()?)
            .checkpoint(self.weights.checkpoint.clone())
            .root_copy(self.root_copy)
            .keep_optimizer(self.keep_optimizer)
            .write_options(self.write.options(Some(format)))
            .token_options(self.tokens.options())
            .auto_stop_tokens(!self.no_auto_stop_tokens)
            .stop_tokens(Generation::stop_token_list(self.stop_tokens.as_deref().unwrap_or_default()))
            .generation_config(GenerationMode::from_word(mode))
            .gguf(gguf)
            .quantize(self.quantize)
            .prompt(self.prompt.clone())
            .validate(!self.no_validate)
            .run()?;
        let mut view = finalization.view();
        if self.device.is_some() {
            view = view.with_note("--device was not needed: finalizing computes nothing");
        }
        Ok(Outcome::new(view, finalization.report()).keeping(self, finalization))
    }
}
