//! What to convert and how: the request that [`convert`] starts.

use std::path::{Path, PathBuf};

use crate::Setting;
use crate::checkpoint::{WriteOptions, write_setters};
use crate::device::Device;
use crate::naming::{Families, Family, FamilyError};
use crate::sealed::Sealed;
use crate::tokenizer::{TokenOptions, token_setters};

/// A conversion to be run; see [`convert`].
#[derive(Clone, Debug)]
#[must_use = "a conversion does nothing until it is run"]
pub struct Convert {
    pub(super) source: PathBuf,
    pub(super) destination: PathBuf,
    pub(super) checkpoint: Option<PathBuf>,
    pub(super) reverse: bool,
    pub(super) model_type: Option<String>,
    pub(super) dequantize: bool,
    pub(super) adapters: Vec<PathBuf>,
    pub(super) families: Sealed<Vec<Family>>,
    pub(super) converter_paths: Vec<PathBuf>,
    pub(super) allow_unknown_fields: bool,
    pub(super) layout_only: bool,
    pub(super) require_agreement: bool,
    pub(super) tie: Option<bool>,
    pub(super) write: WriteOptions,
    pub(super) tokens: TokenOptions,
    pub(super) max_length: Option<usize>,
    pub(super) prompt: Option<String>,
    pub(super) validate: bool,
    pub(super) prove: bool,
    pub(super) device: Device,
    pub(super) generation_test: bool,
}

/// Starts a conversion of the model folder `source` into the new folder `destination`. The direction is read off the
/// source: Hugging Face names become native ones, native names go back.
///
/// ```no_run
/// let conversion = chandlery::convert("Llama-3.2-1B", "fg_llama").run()?;
/// assert!(conversion.passed());
/// # Ok::<(), chandlery::convert::ConvertError>(())
/// ```
pub fn convert(source: impl AsRef<Path>, destination: impl AsRef<Path>) -> Convert {
    convert_paths(source.as_ref(), destination.as_ref())
}

fn convert_paths(source: &Path, destination: &Path) -> Convert {
    Convert {
        source: source.to_owned(),
        destination: destination.to_owned(),
        checkpoint: None,
        reverse: false,
        model_type: None,
        dequantize: false,
        adapters: Vec::new(),
        families: Sealed::new(Vec::new()),
        converter_paths: Vec::new(),
        allow_unknown_fields: false,
        layout_only: false,
        require_agreement: false,
        tie: None,
        write: WriteOptions::default(),
        tokens: TokenOptions::default(),
        max_length: None,
        prompt: None,
        validate: true,
        prove: true,
        device: Device::Cpu,
        generation_test: false,
    }
}

impl Convert {
    write_setters!();
    token_setters!();

    /// Requires the direction native → Hugging Face.
    pub fn reverse(mut self, reverse: bool) -> Self {
        self.reverse = reverse;
        self
    }

    /// Reads the model as one of this family, named by its `model_type` or its name, whatever config.json says. On the
    /// way to Hugging Face the model becomes one of this family.
    pub fn model_type(mut self, family: impl Setting<String>) -> Self {
        self.model_type = family.into_setting();
        self
    }

    /// Adds a family, which takes precedence over others of its name.
    pub fn family(mut self, family: Family) -> Self {
        self.families.push(family);
        self
    }

    /// Looks for families in this YAML file, or in those of this folder.
    pub fn converter_path(mut self, path: impl AsRef<Path>) -> Self {
        self.converter_paths.push(path.as_ref().to_owned());
        self
    }

    /// Allows fields of config.json that the family does not read (default: they are an error). The logits are not
    /// judged then.
    pub fn allow_unknown_fields(mut self, allow: bool) -> Self {
        self.allow_unknown_fields = allow;
        self
    }

    /// Moves names and bits by the rules of a file alone (default: no), for a `model_type` that no family describes: the
    /// file needs no `config:`, sizes are expressions of the fields of config.json, and the logits are not judged. The
    /// same rules lead back.
    pub fn layout_only(mut self, layout_only: bool) -> Self {
        self.layout_only = layout_only;
        self
    }

    /// Reads quantized weights as the numbers that they stand for (default: as they are stored, or they are refused): FP8,
    /// MXFP4, GPTQ, AWQ, bitsandbytes, compressed-tensors.
    pub fn dequantize(mut self, dequantize: bool) -> Self {
        self.dequantize = dequantize;
        self
    }

    /// Merges the LoRA adapters of these folders into the weights, in this order.
    pub fn adapters(mut self, folders: Vec<PathBuf>) -> Self {
        self.adapters = folders;
        self
    }

    /// Makes it a failure if the logits cannot be judged (default: only if they differ).
    pub fn require_agreement(mut self, require: bool) -> Self {
        self.require_agreement = require;
        self
    }

    /// Decides about a head that differs from the embedding although config.json ties the two: `true` drops it, `false`
    /// keeps it and unties the two (default: it is an error).
    pub fn tie_word_embeddings(mut self, tie: impl Setting<bool>) -> Self {
        self.tie = tie.into_setting();
        self
    }

    /// Returns the families that the request knows.
    pub(super) fn known_families(&self) -> Result<Families, FamilyError> {
        let families = match self.layout_only {
            true => Families::with_layouts(&self.converter_paths)?,
            false => Families::with_paths(&self.converter_paths)?,
        };
        let families = families.allow_unknown_fields(self.allow_unknown_fields);
        let families = families.tie_word_embeddings(self.tie);
        let families = families.dequantize(self.dequantize).adapters(self.adapters.clone());
        Ok(self.families.iter().fold(families, |families, family| families.with(family.clone())))
    }

    /// Replaces the longest sequence, in tokens: `max_position_embeddings`, and the tokenizer's `model_max_length`.
    pub fn max_length(mut self, tokens: impl Setting<usize>) -> Self {
        self.max_length = tokens.into_setting();
        self
    }

    /// Takes the weights of this checkpoint folder instead of the newest complete one.
    pub fn checkpoint(mut self, folder: impl Setting<PathBuf>) -> Self {
        self.checkpoint = folder.into_setting();
        self
    }

    /// Validates on this text.
    pub fn prompt(mut self, text: impl Setting<String>) -> Self {
        self.prompt = text.into_setting();
        self
    }

    /// Compares every byte with what the plan makes of the source, before the destination appears (default: yes).
    pub fn prove(mut self, prove: bool) -> Self {
        self.prove = prove;
        self
    }

    /// Compares logits before the destination appears (default: yes). Bytes are compared in either case.
    pub fn validate(mut self, validate: bool) -> Self {
        self.validate = validate;
        self
    }

    /// Computes the candle model's logits on this device (default: the CPU).
    pub fn device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// Also has both sides continue the prompt greedily, and compares their tokens.
    pub fn generation_test(mut self, test: bool) -> Self {
        self.generation_test = test;
        self
    }
}
