//! The conversion itself: open, plan, stage, stream, validate, appear.

use std::path::{Path, PathBuf};

use candle_core::{DType as CandleType, Device};
use serde_json::{Value, json};

use super::prompt::token_ids;
use super::{ConvertError, Families, LayerDiff, LogitDiff, ModelFolder, Proof, ReferenceModel, RemapPlan, compare_tensors};
use crate::checkpoint::{AtomicFolder, Checkpoint, CheckpointCopy, DEFAULT_MAX_SHARD_SIZE, ShardPlan, WeightsFormat};
use crate::model::Batch;
use crate::sealed::Sealed;
use crate::spec::{Architecture, DType, ModelSpec, Side, TensorRow, TensorTable};
use crate::tokenizer::TokenizerFiles;

/// A conversion to be run; see [`convert`].
#[derive(Clone, Debug)]
pub struct Convert {
    source: PathBuf,
    destination: PathBuf,
    checkpoint: Option<PathBuf>,
    reverse: bool,
    model_type: Option<Architecture>,
    dtype: Option<DType>,
    max_length: Option<usize>,
    max_shard_size: u64,
    format: WeightsFormat,
    prompt: Option<String>,
    validate: bool,
    dry_run: bool,
}

/// A conversion that ran: its plan and its evidence.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// The source folder.
    pub source: PathBuf,
    /// The destination folder; it exists unless the run was dry or did not pass.
    pub destination: PathBuf,
    /// Which names the destination has.
    pub to: Side,
    /// The way of every tensor.
    pub plan: Sealed<RemapPlan>,
    /// The destination's tensors.
    pub table: TensorTable,
    /// The destination's config.json.
    pub config: Sealed<Value>,
    /// Bit-by-bit comparison of the tensors, if it was made.
    pub proof: Option<Sealed<Proof>>,
    /// Logits of the independent reference forward against the candle model, if they were compared.
    pub logits: Option<Sealed<LogitDiff>>,
    /// True for a dry run: nothing was written.
    pub dry_run: bool,
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
        dtype: None,
        max_length: None,
        max_shard_size: DEFAULT_MAX_SHARD_SIZE,
        format: WeightsFormat::default(),
        prompt: None,
        validate: true,
        dry_run: false,
    }
}

impl Convert {
    /// Requires the direction native → Hugging Face.
    pub fn reverse(mut self, reverse: bool) -> Self {
        self.reverse = reverse;
        self
    }

    /// Requires this family.
    pub fn model_type(mut self, family: Option<Architecture>) -> Self {
        self.model_type = family;
        self
    }

    /// Casts the weights; without it their element type stays.
    pub fn dtype(mut self, dtype: Option<DType>) -> Self {
        self.dtype = dtype;
        self
    }

    /// Replaces `max_position_embeddings`, in tokens.
    pub fn max_length(mut self, tokens: Option<usize>) -> Self {
        self.max_length = tokens;
        self
    }

    /// Takes the weights of this checkpoint folder instead of the latest.
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

    /// Whether to compare bits and logits before the destination appears (default: yes).
    pub fn validate(mut self, validate: bool) -> Self {
        self.validate = validate;
        self
    }

    /// Plans from headers only and writes nothing.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Runs it. If validation does not pass, the result says so and the destination does not appear.
    ///
    /// # Errors
    /// [`ConvertError`]; nothing is left behind.
    pub fn run(&self) -> Result<Conversion, ConvertError> {
        let families = Families::built_in()?;
        let source = ModelFolder::open_as(&self.source, self.checkpoint.as_deref(), &families, None)?;
        self.check_options(&source)?;
        let mut config = source.config().clone();
        config.dtype = self.dtype.unwrap_or(config.dtype);
        config.max_position_embeddings = self.max_length.unwrap_or(config.max_position_embeddings);
        let family = source.family_at_hugging_face(&families, None)?;
        let origin = self.source.join("config.json").display().to_string();
        let (to, json) = match source.side() {
            Side::HuggingFace => (Side::Native, family.native_config(&config, source.config_json())),
            Side::Native => (Side::HuggingFace, family.write_config(&config, source.config_json(), &origin)?),
        };
        let plan = RemapPlan::new(source.checkpoint(), source.side(), source.config(), &family, self.dtype)?;
        plan.require_complete()?;
        // Files that share storages name a tied tensor twice, on whichever side they are.
        let tied = ModelSpec::resolve(&config).ties.into_iter().filter_map(|tie| {
            let target = family.name_on(to, &tie.target);
            let row = plan.rows().find(|row| row.path == target)?;
            Some(TensorRow { path: family.name_on(to, &tie.alias), tied_to: Some(target), ..row })
        });
        let shards = ShardPlan::with_format(plan.rows().chain(tied), self.max_shard_size, self.format);
        let table = TensorTable::from_rows(plan.rows().collect()).sorted();
        let mut conversion = Conversion {
            source: self.source.clone(),
            destination: self.destination.clone(),
            to,
            plan: Sealed::new(plan),
            table,
            config: Sealed::new(json),
            proof: None,
            logits: None,
            dry_run: self.dry_run,
        };
        if self.dry_run {
            return Ok(conversion);
        }

        let stage = AtomicFolder::create(&self.destination)?;
        let meter = crate::progress::bytes("converting", shards.bytes());
        let advance = |bytes| meter.advance(bytes);
        let copy = CheckpointCopy::new(source.checkpoint(), conversion.plan.pieces()).on_progress(&advance);
        shards.write(stage.path(), &copy)?;
        meter.finish();
        stage.write_json("config.json", &conversion.config)?;
        if to == Side::Native {
            for (name, text) in crate::export::sources(&config) {
                stage.write(&name, text)?;
            }
        }
        let tokenizer = TokenizerFiles::read(&self.source)?;
        for (name, bytes) in tokenizer.to_write() {
            stage.write(&name, bytes)?;
        }
        carry(&self.source, &stage, "generation_config.json")?;
        if self.validate {
            let written = Checkpoint::open(stage.path())?;
            let proof = compare_tensors(&conversion.plan, source.checkpoint(), &written)?;
            conversion.proof = Some(Sealed::new(proof));
            let logits = self.compare_logits(&source, stage.path(), &tokenizer)?;
            conversion.logits = Some(Sealed::new(logits));
        }
        if conversion.passed() {
            stage.commit()?;
        }
        Ok(conversion)
    }

    fn check_options(&self, source: &ModelFolder) -> Result<(), ConvertError> {
        let refuse = |what: String, origin: &str, advice: &str| {
            Err(ConvertError::Options { what, origin: origin.to_owned(), advice: advice.to_owned() })
        };
        if self.reverse && source.side() == Side::HuggingFace {
            let what = format!("`{}` has Hugging Face names already", self.source.display());
            return refuse(what, "--reverse", "leave --reverse out, or name a native folder");
        }
        let found = source.config().architecture;
        if let Some(asked) = self.model_type.filter(|asked| *asked != found) {
            let what = format!("the folder holds a {} model, not a {} one", found.name(), asked.name());
            return refuse(what, "--model-type", "leave --model-type out: it is read off config.json");
        }
        let beyond = source.config().beyond_hugging_face();
        if source.side() == Side::Native && !beyond.is_empty() {
            let what = format!("no model class of Hugging Face can express this model's {}", beyond.join(", "));
            let origin = self.source.join("config.json").display().to_string();
            let advice =
                "hand it on as it is: its folder holds Python sources that transformers loads with trust_remote_code";
            return refuse(what, &origin, advice);
        }
        if let Some(dtype) = self.dtype.filter(|dtype| !dtype.is_weight_float()) {
            let what = format!("weights cannot be stored as {dtype}");
            return refuse(what, "--dtype", "use float32, bfloat16, float16 or float64");
        }
        if self.max_length == Some(0) {
            return refuse("a model needs at least one position".to_owned(), "--max-length", "give a number of tokens");
        }
        Ok(())
    }

    /// The reference forward over the Hugging Face side against the candle model over the native side, on one prompt.
    fn compare_logits(
        &self,
        source: &ModelFolder,
        stage: &Path,
        tokenizer: &TokenizerFiles,
    ) -> Result<LogitDiff, ConvertError> {
        let written = ModelFolder::open(stage)?;
        let (hf, native) = match source.side() {
            Side::HuggingFace => (source, &written),
            Side::Native => (&written, source),
        };
        let vocab = native.config().vocab_size;
        let longest = native.config().max_position_embeddings;
        let ids = token_ids(self.prompt.as_deref(), tokenizer, vocab, longest)?;
        let batch = Batch::new(vec![ids.clone()])?;
        // A cast rounds the weights. The side that still reads the source rounds them likewise, so that names and
        // formulas are judged, not rounding.
        let (round_reference, round_native) = match source.side() {
            Side::HuggingFace => (self.dtype, None),
            Side::Native => (None, self.dtype),
        };
        let model = native.load_rounded(DType::F32, round_native, &Device::Cpu, false)?;
        let mut observed = Vec::new();
        let logits = model.forward_observed(&batch, &mut |_, stream| {
            observed.push(stream.flatten_all().and_then(|flat| flat.to_vec1::<f32>()));
        })?;
        let logits = logits
            .to_dtype(CandleType::F32)
            .and_then(|logits| logits.flatten_all()?.to_vec1::<f32>())
            .map_err(crate::model::ModelError::from)?;
        let reference = ReferenceModel::new(hf.checkpoint(), hf.config_json()).rounded_to(round_reference);
        let (expected, streams) = reference.forward(&ids)?;
        let mut diff = LogitDiff::new(("reference", "candle"), &expected, &logits, vocab, ids.len(), |_, _| true);
        for (layer, (left, right)) in streams.iter().zip(observed).enumerate() {
            let right = right.map_err(crate::model::ModelError::from)?;
            diff.layers.push(LayerDiff::new(layer, left, &right));
        }
        diff.name_tokens(tokenizer, |_, position| ids.get(position).copied());
        Ok(diff)
    }
}

impl Conversion {
    /// True unless a check was made and failed: bits that should be equal, or logits beyond the tolerance.
    pub fn passed(&self) -> bool {
        let bits = self.proof.as_ref().is_none_or(|proof| proof.cast || proof.different.is_empty());
        bits && self.logits.as_ref().is_none_or(|logits| logits.passed())
    }

    /// The `--json` report.
    pub fn report(&self) -> Value {
        json!({
            "passed": self.passed(),
            "source": self.source,
            "destination": self.destination,
            "direction": match self.to { Side::Native => "to_native", Side::HuggingFace => "to_huggingface" },
            "dry_run": self.dry_run,
            "tensors": self.plan.tensors(),
            "bytes": self.table.bytes(),
            "bit_identical": self.proof.as_ref().map(|proof| proof.bit_identical),
            "max_abs_diff": self.logits.as_ref().map(|logits| logits.max_abs()),
            "mean_kl": self.logits.as_ref().map(|logits| logits.mean_kl()),
            "top1_agreement": self.logits.as_ref().map(|logits| logits.top1_agreement()),
            "tolerance": self.logits.as_ref().map(|logits| logits.tolerance),
            "first_divergent_layer": self.logits.as_ref().and_then(|logits| logits.first_divergent_layer()),
            "missing": self.plan.missing,
            "unused": self.plan.unused,
            "mismatched": self.plan.mismatched.iter().map(|one| &one.from).collect::<Vec<_>>(),
            "skipped": self.plan.skipped.iter().map(|(name, why)| json!({ "tensor": name, "why": why })).collect::<Vec<_>>(),
        })
    }
}

/// Copies a small file as it is, if the source has it.
fn carry(source: &Path, stage: &AtomicFolder, name: &str) -> Result<(), ConvertError> {
    let path = source.join(name);
    if path.is_file() {
        let bytes = std::fs::read(&path).map_err(|error| ConvertError::Folder {
            what: format!("{name} cannot be read: {error}"),
            path: path.clone(),
            advice: "check its permissions".to_owned(),
        })?;
        stage.write(name, bytes)?;
    }
    Ok(())
}
