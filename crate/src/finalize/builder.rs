//! The options of a finalization.

use std::path::{Path, PathBuf};

use super::plan::Prepared;
use super::{Finalization, FinalizeError, FinalizePlan};
use crate::Setting;
use crate::checkpoint::{WriteOptions, write_setters};
use crate::gguf::GgufType;
use crate::model_folder::{ModelFolder, ModelFolderError};
use crate::naming::Families;
use crate::sealed::Sealed;
use crate::spec::Recipe;
use crate::tokenizer::{Generation, GenerationMode, TokenOptions, token_setters};

/// A finalization to be planned or run; see [`finalize`].
#[derive(Clone, Debug)]
#[must_use = "a finalization does nothing until it is planned or run"]
pub struct Finalize {
    pub(super) source: PathBuf,
    pub(super) destination: PathBuf,
    pub(super) checkpoint: Option<PathBuf>,
    pub(super) root_copy: bool,
    pub(super) keep_optimizer: bool,
    pub(super) write: WriteOptions,
    pub(super) tokens: TokenOptions,
    pub(super) generation: Generation,
    pub(super) gguf: Option<GgufType>,
    pub(super) quantize: Option<Recipe>,
    pub(super) prompt: Option<String>,
    pub(super) validate: bool,
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
        write: WriteOptions::default(),
        tokens: TokenOptions::default(),
        generation: Generation::default(),
        gguf: None,
        quantize: None,
        prompt: None,
        validate: true,
        families: None,
    }
}

impl Finalize {
    write_setters!();
    token_setters!();

    /// Takes the weights of this checkpoint folder instead of the newest complete one.
    pub fn checkpoint(mut self, folder: impl Setting<PathBuf>) -> Self {
        self.checkpoint = folder.into_setting();
        self
    }

    /// Uses these families of Hugging Face folders (default: the built-in ones).
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

    /// Where generation_config.json comes from: the source (the default), nowhere, or a preset.
    pub fn generation_config(mut self, mode: GenerationMode) -> Self {
        self.generation.mode = mode;
        self
    }

    /// Sets whether generation stops at ends of turns that the added tokens name (default: yes).
    pub fn auto_stop_tokens(mut self, auto: bool) -> Self {
        self.generation.auto_stop_tokens = auto;
        self
    }

    /// More tokens at which generation stops.
    pub fn stop_tokens(mut self, tokens: Vec<String>) -> Self {
        self.generation.stop_tokens = tokens;
        self
    }

    /// Stores the weights as one GGUF file at the root instead, matrices in this type.
    pub fn gguf(mut self, kind: impl Setting<GgufType>) -> Self {
        self.gguf = kind.into_setting();
        self
    }

    /// Quantizes the linear layers by this recipe, and compares logits before and after.
    pub fn quantize(mut self, recipe: impl Setting<Recipe>) -> Self {
        self.quantize = recipe.into_setting();
        self
    }

    /// Compares logits before and after quantization on this text.
    pub fn prompt(mut self, text: impl Setting<String>) -> Self {
        self.prompt = text.into_setting();
        self
    }

    /// Sets whether to compare logits before and after quantization (default: yes). It loads the model in float32.
    pub fn validate(mut self, validate: bool) -> Self {
        self.validate = validate;
        self
    }

    /// Only plans, from headers, and writes nothing.
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
        let quantization = if self.write.dry_run { None } else { prepared.write(self)? };
        Ok(Finalization::new(prepared.plan, quantization, self.write.dry_run))
    }
}
