//! Flags that several verbs share: one struct each, flattened into the verbs, so that the help is the same everywhere.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Failure;
use super::values;
use crate::checkpoint::{SaveOptions, WeightsFormat, WriteOptions};
use crate::device::Device;
use crate::naming::{Families, FamilyError};
use crate::spec::DType;
use crate::tokenizer::{ChatTemplate, TokenOptions};

/// The configuration of the project, for the verbs that work on one. Elsewhere `-t` is the chat template.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// Configuration of the project
    #[arg(short = 't', long, value_name = "CONFIG", global = true)]
    pub(super) config_template: Option<String>,
}

/// The two folders of a verb that reads one and makes another.
#[derive(Debug, Args)]
pub(super) struct FolderArgs {
    /// Model folder to read
    #[arg(value_name = "SRC", value_parser = values::path)]
    pub(super) source: PathBuf,
    /// Folder to make: a new or an empty one
    #[arg(value_name = "DST", value_parser = values::path)]
    pub(super) destination: PathBuf,
}

/// Which weights of a model folder are read.
#[derive(Debug, Args)]
pub(super) struct CheckpointArgs {
    /// Checkpoint to take (default: the newest complete one, else the folder's own)
    #[arg(short, long, alias = "checkpoint-path", value_name = "PATH", value_parser = values::path)]
    pub(super) checkpoint: Option<PathBuf>,
}

/// Where families of models are described beside the built-in ones.
#[derive(Debug, Args)]
pub(super) struct ConverterArgs {
    /// YAML file, or folder of them, that describes more families (repeatable)
    #[arg(long, value_name = "PATH", value_parser = values::path)]
    pub(super) converter_path: Vec<PathBuf>,
}

/// How a Hugging Face folder is read: the families that are known, and what is passed over.
#[derive(Debug, Args)]
pub(super) struct FamilyArgs {
    #[command(flatten)]
    pub(super) converters: ConverterArgs,
    /// Skip fields of config.json that the family does not describe
    #[arg(long)]
    pub(super) allow_unknown_fields: bool,
    /// If config.json ties the head to the embedding, drop a head that differs from it
    #[arg(long, conflicts_with = "untie")]
    tie: bool,
    /// If config.json ties the head to the embedding, keep a head that differs from it
    #[arg(long)]
    untie: bool,
    /// Read quantized weights as the numbers that they stand for: FP8, MXFP4, GPTQ, AWQ, bitsandbytes, compressed-tensors
    #[arg(long)]
    pub(super) dequantize: bool,
    /// Merge the LoRA adapter of this folder into the weights (repeatable)
    #[arg(long, value_name = "PATH", value_parser = values::path)]
    pub(super) adapter: Vec<PathBuf>,
}

impl FamilyArgs {
    /// What becomes of a head of its own in a model whose config.json says that the head is the embedding.
    pub(super) fn tie_word_embeddings(&self) -> Option<bool> {
        if self.tie { Some(true) } else { self.untie.then_some(false) }
    }

    /// The families that the flags name.
    pub(super) fn families(&self) -> Result<Families, FamilyError> {
        let families = Families::with_paths(self.converters.converter_path.clone())?;
        let families = families.allow_unknown_fields(self.allow_unknown_fields);
        let families = families.dequantize(self.dequantize).adapters(self.adapter.clone());
        Ok(families.tie_word_embeddings(self.tie_word_embeddings()))
    }
}

/// How weights are divided into files.
#[derive(Debug, Args)]
pub(super) struct ShardArgs {
    /// Write safetensors, which is the default
    #[arg(long, conflicts_with = "format")]
    safetensors: bool,
    /// Largest weights file (default: 5GB)
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    max_shard_size: Option<u64>,
}

impl ShardArgs {
    pub(super) fn options(&self, format: Option<WeightsFormat>) -> SaveOptions {
        let usual = SaveOptions::default();
        usual.format(format.unwrap_or(usual.format)).max_shard_size(self.max_shard_size.unwrap_or(usual.max_shard_size))
    }
}

/// The format of weights, for the verbs that write tensors and not GGUF.
#[derive(Debug, Args)]
pub(super) struct FormatArgs {
    /// safetensors, or pytorch for .bin files (default: safetensors)
    #[arg(long, value_name = "FORMAT", value_parser = values::weights_format)]
    pub(super) format: Option<WeightsFormat>,
}

/// How a verb writes its destination.
#[derive(Debug, Args)]
pub(super) struct WriteArgs {
    /// Cast the weights (default: as they are)
    #[arg(long, value_name = "DTYPE", value_parser = values::dtype)]
    dtype: Option<DType>,
    #[command(flatten)]
    shards: ShardArgs,
    /// Write into a DST that is not empty: overwrite files of the same names, and replace its model
    #[arg(long)]
    pub(super) force: bool,
    /// Replace a DST that holds a model: what is in it goes when the new folder is complete
    #[arg(long, conflicts_with = "force")]
    overwrite: bool,
    /// Show what would be written, from headers only; write nothing
    #[arg(long)]
    dry_run: bool,
}

impl WriteArgs {
    /// The options, for weights in this format.
    pub(super) fn options(&self, format: Option<WeightsFormat>) -> WriteOptions {
        let save = self.shards.options(format);
        WriteOptions { dtype: self.dtype, save, force: self.force, overwrite: self.overwrite, dry_run: self.dry_run }
    }
}

/// Tokens that a tokenizer gets.
#[derive(Debug, Args)]
pub(super) struct AddedTokensArgs {
    /// Tokens to add: a YAML file, or `chatml` (default: [PAD], if the padding token is missing)
    #[arg(long, value_name = "YAML")]
    pub(super) add_tokens: Option<String>,
    /// Round the rows of the embedding up to a multiple of N
    #[arg(long, value_name = "N")]
    pub(super) pad_to_multiple: Option<usize>,
}

/// The chat template that a tokenizer gets.
#[derive(Debug, Args)]
pub(super) struct TemplateArgs {
    #[arg(short = 't', long, value_name = "TEMPLATE", help = template_help())]
    chat_template_path: Option<String>,
}

fn template_help() -> String {
    format!("Chat template: a file, or one of {}", ChatTemplate::names().join(", "))
}

impl TemplateArgs {
    /// The template that was named, opened.
    pub(super) fn open(&self) -> Result<Option<ChatTemplate>, Failure> {
        Ok(self.chat_template_path.as_deref().map(ChatTemplate::open).transpose()?)
    }
}

/// What becomes of the tokenizer of a folder.
#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    #[command(flatten)]
    added: AddedTokensArgs,
    /// Do not add [PAD] if the tokenizer does not have a padding token
    #[arg(long)]
    skip_default_tokens: bool,
    #[command(flatten)]
    template: TemplateArgs,
}

impl TokenArgs {
    pub(super) fn options(&self) -> TokenOptions {
        TokenOptions {
            add_tokens: self.added.add_tokens.clone(),
            skip_default_tokens: self.skip_default_tokens,
            pad_to_multiple: self.added.pad_to_multiple,
            chat_template: self.template.chat_template_path.clone(),
        }
    }
}

/// The device of a verb that computes logits.
#[derive(Debug, Args)]
pub(super) struct DeviceArgs {
    /// Where logits are computed (default: cpu)
    #[arg(long, value_name = "DEVICE", value_parser = values::device)]
    device: Option<Device>,
}

impl DeviceArgs {
    pub(super) fn device(&self) -> Device {
        self.device.unwrap_or(Device::Cpu)
    }
}

/// Flags that scripts written for other tools give, and that change nothing here.
#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// Accepted for scripts that give it; there is no log
    #[arg(long, value_name = "LEVEL", ignore_case = true)]
    log_level: Option<LogLevel>,
}

/// A level of Python's `logging`.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "UPPER")]
enum LogLevel {
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}
