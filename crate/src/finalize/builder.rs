//! What may be asked of a finalization.

use std::path::{Path, PathBuf};

use super::plan::Prepared;
use super::{Finalization, FinalizeError, FinalizePlan};
use crate::checkpoint::{DEFAULT_MAX_SHARD_SIZE, WeightsFormat};
use crate::gguf::GgufType;
use crate::model_folder::{ModelFolder, ModelFolderError};
use crate::naming::Families;
use crate::sealed::Sealed;
use crate::spec::{DType, Recipe};
use crate::tokenizer::{Generation, GenerationMode};

/// A finalization to be planned or run; see [`finalize`].
#[derive(Clone, Debug)]
#[must_use = "a finalization does nothing until it is planned or run"]
pub struct Finalize {
    pub(super) source: PathBuf,
    pub(super) destination: PathBuf,
    pub(super) checkpoint: Option<PathBuf>,
    pub(super) root_copy: bool,
    pub(super) keep_optimizer: bool,
    pub(super) add_tokens: Option<String>,
    pub(super) default_tokens: bool,
    pub(super) pad_to_multiple: Option<usize>,
    pub(super) chat_template: Option<String>,
    pub(super) generation: Generation,
    pub(super) format: WeightsFormat,
    pub(super) gguf: Option<GgufType>,
    pub(super) dtype: Option<DType>,
    pub(super) quantize: Option<Recipe>,
    pub(super) prompt: Option<String>,
    pub(super) validate: bool,
    pub(super) max_shard_size: u64,
    pub(super) force: bool,
    pub(super) dry_run: bool,
    pub(super) families: Option<Sealed<Families>>,
}

/// Starts finalizing the model folder `source` into the new folder `destination`.
///
/// ```no_run
/// chandlery::finalize("output_models/llama_4m", "out/llama_4m_final").run()?;
/// # Ok::<(), chandlery::finalize::FinalizeError>(())
/// ```
pub fn finalize(source: impl AsRef<Path>, destination: impl AsRef<Path>) -> Finalize {
    finalize_paths(source.as_ref(), destination.as_ref())
}

fn finalize_paths(source: &Path, destination: &Path) -> Finalize {
    Finalize {
        source: source.to_owned(),
        destination: destination.to_owned(),
        checkpoint: None,
        root_copy: false,
        keep_optimizer: false,
        add_tokens: None,
        default_tokens: true,
        pad_to_multiple: None,
        chat_template: None,
        generation: Generation::default(),
        format: WeightsFormat::default(),
        gguf: None,
        dtype: None,
        quantize: None,
        prompt: None,
        validate: true,
        max_shard_size: DEFAULT_MAX_SHARD_SIZE,
        force: false,
        dry_run: false,
        families: None,
    }
}

impl Finalize {
    /// Takes the weights of this checkpoint folder instead of the newest complete one.
    pub fn checkpoint(mut self, folder: Option<PathBuf>) -> Self {
        self.checkpoint = folder;
        self
    }

    /// Knows these families of Hugging Face folders (default: the built-in ones).
    pub fn families(mut self, families: Families) -> Self {
        self.families = Some(Sealed::new(families));
        self
    }

    /// A folder, which may be of any family that is known.
    pub(super) fn open(&self, folder: &Path, checkpoint: Option<&Path>) -> Result<ModelFolder, ModelFolderError> {
        match &self.families {
            Some(families) => ModelFolder::open_as(folder, checkpoint, families, None),
            None => ModelFolder::open_checkpoint(folder, checkpoint),
        }
    }

    /// Writes the weights at the root instead of into `checkpoints/checkpoint-N` with links at the root.
    pub fn root_copy(mut self, root_copy: bool) -> Self {
        self.root_copy = root_copy;
        self
    }

    /// Carries `optimizer_state.pt` of the checkpoint, so that training can go on from it.
    pub fn keep_optimizer(mut self, keep: bool) -> Self {
        self.keep_optimizer = keep;
        self
    }

    /// Adds the tokens that a YAML file or a built-in list (`chatml`) names. Without it `[PAD]` is added where the
    /// tokenizer has no padding token.
    pub fn add_tokens(mut self, name_or_path: &str) -> Self {
        self.add_tokens = Some(name_or_path.to_owned());
        self
    }

    /// Whether `[PAD]` is added where it is missing and no other tokens were asked for (default: yes).
    pub fn default_tokens(mut self, add: bool) -> Self {
        self.default_tokens = add;
        self
    }

    /// Rounds the rows of the embedding up to a multiple.
    pub fn pad_to_multiple(mut self, rows: Option<usize>) -> Self {
        self.pad_to_multiple = rows;
        self
    }

    /// Gives the tokenizer a chat template: a file, or the name of a built-in one (`chatml`, `llama3` …).
    pub fn chat_template(mut self, name_or_path: &str) -> Self {
        self.chat_template = Some(name_or_path.to_owned());
        self
    }

    /// Where generation_config.json comes from: the source (the default), nowhere, or a preset.
    pub fn generation_config(mut self, mode: GenerationMode) -> Self {
        self.generation.mode = mode;
        self
    }

    /// Whether generation stops at ends of turns that the added tokens name (default: yes).
    pub fn auto_stop_tokens(mut self, auto: bool) -> Self {
        self.generation.auto_stop_tokens = auto;
        self
    }

    /// More tokens at which generation stops.
    pub fn stop_tokens(mut self, tokens: Vec<String>) -> Self {
        self.generation.stop_tokens = tokens;
        self
    }

    /// Stores the weights as safetensors (the default) or as PyTorch does.
    pub fn format(mut self, format: WeightsFormat) -> Self {
        self.format = format;
        self
    }

    /// Stores the weights as one GGUF file at the root instead, matrices in this type.
    pub fn gguf(mut self, kind: Option<GgufType>) -> Self {
        self.gguf = kind;
        self
    }

    /// Casts the weights; without it their element type stays.
    pub fn dtype(mut self, dtype: Option<DType>) -> Self {
        self.dtype = dtype;
        self
    }

    /// Quantizes the linear layers by this recipe, and compares logits before and after.
    pub fn quantize(mut self, recipe: Option<Recipe>) -> Self {
        self.quantize = recipe;
        self
    }

    /// Compares logits before and after quantization on this text.
    pub fn prompt(mut self, text: Option<String>) -> Self {
        self.prompt = text;
        self
    }

    /// Whether to compare logits before and after quantization (default: yes). It loads the model in float32.
    pub fn validate(mut self, validate: bool) -> Self {
        self.validate = validate;
        self
    }

    /// Closes a shard before it exceeds this many bytes.
    pub fn max_shard_size(mut self, bytes: u64) -> Self {
        self.max_shard_size = bytes;
        self
    }

    /// Writes also into a folder that holds something: over the files of the same names, and in place of the model that it
    /// holds. Everything else there stays.
    pub fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Says what would be written, from headers only.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Says what would be written, from headers only.
    ///
    /// # Errors
    /// As [`run`](Self::run), except for what only writing can fail with.
    pub fn plan(&self) -> Result<FinalizePlan, FinalizeError> {
        Ok(Prepared::new(self)?.plan)
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`FinalizeError`]; the destination appears whole or not at all.
    pub fn run(&self) -> Result<Finalization, FinalizeError> {
        let prepared = Prepared::new(self)?;
        let quantization = if self.dry_run { None } else { prepared.write(self)? };
        Ok(Finalization::new(prepared.plan, quantization, self.dry_run))
    }
}
