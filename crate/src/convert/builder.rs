//! What to convert and how: the request that [`convert`] starts.

use std::path::{Path, PathBuf};

use crate::checkpoint::{DEFAULT_MAX_SHARD_SIZE, WeightsFormat};
use crate::device::Device;
use crate::naming::{Families, Family, FamilyError};
use crate::sealed::Sealed;
use crate::spec::DType;

/// A conversion to be run; see [`convert`].
#[derive(Clone, Debug)]
#[must_use = "a conversion does nothing until it is run"]
pub struct Convert {
    pub(super) source: PathBuf,
    pub(super) destination: PathBuf,
    pub(super) checkpoint: Option<PathBuf>,
    pub(super) reverse: bool,
    pub(super) model_type: Option<String>,
    pub(super) families: Sealed<Vec<Family>>,
    pub(super) converter_paths: Vec<PathBuf>,
    pub(super) allow_unknown_fields: bool,
    pub(super) require_agreement: bool,
    pub(super) tie: Option<bool>,
    pub(super) dtype: Option<DType>,
    pub(super) max_length: Option<usize>,
    pub(super) max_shard_size: u64,
    pub(super) format: WeightsFormat,
    pub(super) prompt: Option<String>,
    pub(super) validate: bool,
    pub(super) prove: bool,
    pub(super) device: Device,
    pub(super) generation_test: bool,
    pub(super) add_tokens: Option<String>,
    pub(super) skip_default_tokens: bool,
    pub(super) pad_to_multiple: Option<usize>,
    pub(super) chat_template: Option<String>,
    pub(super) force: bool,
    pub(super) dry_run: bool,
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
        families: Sealed::new(Vec::new()),
        converter_paths: Vec::new(),
        allow_unknown_fields: false,
        require_agreement: false,
        tie: None,
        dtype: None,
        max_length: None,
        max_shard_size: DEFAULT_MAX_SHARD_SIZE,
        format: WeightsFormat::default(),
        prompt: None,
        validate: true,
        prove: true,
        device: Device::Cpu,
        generation_test: false,
        add_tokens: None,
        skip_default_tokens: false,
        pad_to_multiple: None,
        chat_template: None,
        force: false,
        dry_run: false,
    }
}

impl Convert {
    /// Requires the direction native → Hugging Face.
    pub fn reverse(mut self, reverse: bool) -> Self {
        self.reverse = reverse;
        self
    }

    /// Takes the model for one of this family, by its `model_type` or its name, whatever the source says; on the way to
    /// Hugging Face it becomes one.
    pub fn model_type(mut self, family: Option<String>) -> Self {
        self.model_type = family;
        self
    }

    /// Knows one more family, which comes before all others of its name.
    pub fn family(mut self, family: Family) -> Self {
        self.families.push(family);
        self
    }

    /// Looks for families in this YAML file, or in those of this folder.
    pub fn converter_path(mut self, path: impl AsRef<Path>) -> Self {
        self.converter_paths.push(path.as_ref().to_owned());
        self
    }

    /// Passes over fields of config.json that its family does not read (default: they are an error). The logits are not
    /// judged then.
    pub fn allow_unknown_fields(mut self, allow: bool) -> Self {
        self.allow_unknown_fields = allow;
        self
    }

    /// Takes it for a failure if the logits cannot be judged (default: only if they differ).
    pub fn require_agreement(mut self, require: bool) -> Self {
        self.require_agreement = require;
        self
    }

    /// What becomes of a head of its own in a model whose config.json says that the head is the embedding: true drops it,
    /// false keeps it and unties the two (default: it is an error).
    pub fn tie_word_embeddings(mut self, tie: Option<bool>) -> Self {
        self.tie = tie;
        self
    }

    /// The families that the request knows.
    pub(super) fn known_families(&self) -> Result<Families, FamilyError> {
        let families = Families::with_paths(&self.converter_paths)?.allow_unknown_fields(self.allow_unknown_fields);
        let families = families.tie_word_embeddings(self.tie);
        Ok(self.families.iter().fold(families, |families, family| families.with(family.clone())))
    }

    /// Casts the weights; without it their element type stays.
    pub fn dtype(mut self, dtype: Option<DType>) -> Self {
        self.dtype = dtype;
        self
    }

    /// Replaces the longest sequence, in tokens: `max_position_embeddings`, and the tokenizer's `model_max_length`.
    pub fn max_length(mut self, tokens: Option<usize>) -> Self {
        self.max_length = tokens;
        self
    }

    /// Takes the weights of this checkpoint folder instead of the newest complete one.
    pub fn checkpoint(mut self, folder: Option<PathBuf>) -> Self {
        self.checkpoint = folder;
        self
    }

    /// Closes a shard before it exceeds this many bytes.
    pub fn max_shard_size(mut self, bytes: u64) -> Self {
        self.max_shard_size = bytes;
        self
    }

    /// Stores the weights in this format (default: safetensors).
    pub fn format(mut self, format: WeightsFormat) -> Self {
        self.format = format;
        self
    }

    /// Validates on this text.
    pub fn prompt(mut self, text: Option<String>) -> Self {
        self.prompt = text;
        self
    }

    /// Whether to compare every byte with what the plan makes of the source, before the destination appears (default: yes).
    pub fn prove(mut self, prove: bool) -> Self {
        self.prove = prove;
        self
    }

    /// Whether to compare logits before the destination appears (default: yes). Bytes are compared in either case.
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

    /// Adds the tokens of this YAML file, or of an embedded one by its name (`chatml`).
    pub fn add_tokens(mut self, name_or_path: Option<String>) -> Self {
        self.add_tokens = name_or_path;
        self
    }

    /// Does not add a padding token where there is none. Without this and without tokens of one's own, a tokenizer that
    /// has none gets `[PAD]` on the way to native names.
    pub fn skip_default_tokens(mut self, skip: bool) -> Self {
        self.skip_default_tokens = skip;
        self
    }

    /// Rounds the rows of the embedding up to a multiple of this number.
    pub fn pad_to_multiple(mut self, rows: Option<usize>) -> Self {
        self.pad_to_multiple = rows;
        self
    }

    /// Gives the tokenizer this chat template: a file, or an embedded one by its name.
    pub fn chat_template(mut self, name_or_path: Option<String>) -> Self {
        self.chat_template = name_or_path;
        self
    }

    /// Writes also into a folder that holds something: over the files of the same names, and in place of the model that it
    /// holds. Everything else there stays.
    pub fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Plans from headers only and writes nothing.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }
}
