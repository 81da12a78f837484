//! The judgement before a converted folder appears: logits of both sides on one prompt, and a text that both continue.

use std::path::Path;

use candle_core::{DType as CandleType, Tensor};
use serde_json::Value;

use super::generation::{Judged, generation_test};
use super::logit_diff::spread;
use super::prompt::{LONGEST, prompt_ids};
use super::streaming::{require_streamed_memory, streamed_dtype};
use super::{
    Convert, ConvertError, Families, Family, GenerationTest, LayerDiff, LogitDiff, Logits, ModelFolder, ReferenceModel,
};
use crate::checkpoint::Checkpoint;
use crate::device::Device;
use crate::model::{Batch, ModelError, streamed_memory};
use crate::spec::{DType, Naming};
use crate::tokenizer::TokenizerFiles;

/// What the judgement says.
#[derive(Default)]
pub(super) struct Judgment {
    /// The two sides' logits, where the reference forward has formulas for them.
    pub(super) logits: Option<LogitDiff>,
    pub(super) generation: Option<GenerationTest>,
    /// Why logits that are the same prove nothing, or not everything.
    pub(super) reasons: Vec<String>,
}

/// What is judged.
pub(super) struct Case<'a> {
    pub(super) source: &'a ModelFolder,
    /// The folder that was written.
    pub(super) written: &'a Path,
    pub(super) family: &'a Family,
    /// The source's tokenizer.
    pub(super) tokenizer: &'a TokenizerFiles,
    /// Rows of the vocabulary that the conversion rewrote: they do not count.
    pub(super) rewritten: &'a [u32],
    pub(super) device: &'a candle_core::Device,
}

impl<'a> ReferenceModel<'a> {
    /// Over an opened checkpoint of Llama, Mistral or Qwen3 and its config.json, which is read as Llama's if it does not say
    /// whose it is.
    pub fn new(checkpoint: &'a Checkpoint, config: &'a Value) -> Self {
        let kind = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let families = Families::built_in().unwrap_or_default();
        let family = families.of_type(kind).or_else(|| families.of_type("llama"));
        Self::over(checkpoint, config, family.and_then(|family| family.outline().cloned()).unwrap_or_default())
    }

    /// Over a checkpoint of `family` and its config.json, to judge by; or why nothing can be judged: the family has no
    /// `reference:`, or it does not cover this model.
    fn judging(checkpoint: &'a Checkpoint, config: &'a Value, family: &Family) -> Result<Self, String> {
        let Some(outline) = family.outline() else {
            return Err(format!(
                "the family {} says nothing under `reference:`, so nothing independent of its rules can judge them",
                family.name()
            ));
        };
        if let Some(alias) = family.alias_beyond_reference(config) {
            return Err(format!(
                "the reference forward does not read `{alias}`, another name for one of the family's fields"
            ));
        }
        let model = Self::over(checkpoint, config, outline.clone());
        match model.not_covered() {
            Some(reason) => Err(reason),
            None => Ok(model),
        }
    }
}

impl Convert {
    /// The reference forward over the Hugging Face side against the candle model over the native side, on a text in the
    /// source's tokens. Nothing is computed if nothing independent of the family's rules can read its tensors.
    pub(super) fn judge(&self, case: &Case<'_>) -> Result<Judgment, ConvertError> {
        let Case { source, family, tokenizer, rewritten, .. } = *case;
        // Fields that are not read are among the reasons.
        let families =
            Families::built_in()?.with(family.clone()).allow_unknown_fields(true).tie_word_embeddings(self.tie);
        let written = ModelFolder::open_as(case.written, None, &families, Some(family.model_type()))?;
        let (hf, native) = match source.naming() {
            Naming::HuggingFace => (source, &written),
            Naming::Native => (&written, source),
        };
        let reference = match ReferenceModel::judging(hf.checkpoint(), hf.config_json(), family) {
            Ok(reference) => reference,
            Err(reason) => return Ok(Judgment { reasons: vec![reason], ..Judgment::default() }),
        };
        let mut reasons = doubts(hf.config_json(), family, &reference);
        let config = native.config();
        let vocab = source.config().vocab_size.min(written.config().vocab_size);
        let columns: Vec<u32> = (0..vocab as u32).filter(|id| !rewritten.contains(id)).collect();
        let longest = config.max_position_embeddings;
        let window = reference.longest_window().filter(|window| *window < longest);
        let work = |tokens: usize| tokens as f64 * native.native_table().parameters() as f64;
        let affordable = window.filter(|window| work(window + BEYOND) <= MOST_WORK).map(|window| window + BEYOND);
        let kept = |at_least| -> Result<Vec<u32>, ConvertError> {
            let mut ids = prompt_ids(self.prompt.as_deref(), tokenizer, vocab, longest, at_least)?;
            ids.retain(|id| !rewritten.contains(id));
            Ok(ids)
        };
        let (prompt, ids) = (kept(None)?, kept(affordable)?);
        if let Some(window) = window.filter(|window| *window >= ids.len()) {
            reasons.push(format!(
                "the prompt of {} tokens does not reach beyond the attention window of {window}; a longer --prompt does",
                ids.len()
            ));
        }
        let batch = Batch::new(vec![ids.clone()])?;
        // A cast rounds the weights. The side that still reads the source rounds them likewise, so that names and
        // formulas are judged, not rounding.
        let (round_reference, round_native) = match source.naming() {
            Naming::HuggingFace => (self.dtype, None),
            Naming::Native => (None, self.dtype),
        };
        // What is generated token by token would be read as often.
        let keep = self.generation_test && self.keeps_layers(native);
        let model = native.stream_rounded(round_native, case.device)?.keeping_layers(keep);
        let mut observed = Vec::new();
        let logits = model.forward_observed(&batch, &mut |_, stream| observed.push(floats(stream)))?;
        let reference = reference.rounded_to(round_reference);
        let passes = reference.forward_exactly(&ids)?;
        let (expected, found) = (
            Logits { values: &passes.logits, vocab: hf.config().vocab_size },
            Logits { values: &logits, vocab: config.vocab_size },
        );
        let mut diff = LogitDiff::over(&columns, ("reference", "candle"), expected, found, ids.len(), |_, _| true);
        let noise = passes.noise(&columns, expected.vocab);
        reasons.extend(diff.widen(noise.float32, (noise.tokens, ids.len()), spread(&columns, expected)));
        for (layer, (left, right)) in passes.streams.iter().zip(observed).enumerate() {
            let right = right.map_err(ModelError::from)?;
            diff.layers.push(LayerDiff::new(layer, left, &right, ids.len()));
        }
        diff.name_tokens(tokenizer, |_, position| ids.get(position).copied());
        let generation = self.generation_test.then(|| {
            let sides = Judged { reference: &reference, model: &model, columns: &columns, tolerance: diff.tolerance };
            generation_test(sides, &prompt, longest, &config.eos_token_id, tokenizer)
        });
        Ok(Judgment { logits: Some(diff), generation: generation.transpose()?, reasons })
    }

    /// Whether all layers fit into memory together.
    fn keeps_layers(&self, model: &ModelFolder) -> bool {
        let width = streamed_dtype(model.checkpoint().table()).bytes() as u64;
        let memory = self.device.memory();
        memory.is_none_or(|memory| model.native_table().parameters() * width < memory.free / 2)
    }

    /// The device to validate on, opened before anything is written. Main memory that cannot hold what a forward pass needs
    /// is refused.
    pub(super) fn device_for(&self, source: &ModelFolder) -> Result<candle_core::Device, ConvertError> {
        if self.device == Device::Cpu {
            require_streamed_memory(source.config(), self.dtype_in_memory(source), self.tokens_at_most())?;
        }
        open_device(self.device)
    }

    /// No fewer tokens than will be compared.
    fn tokens_at_most(&self) -> usize {
        self.prompt.as_ref().map_or(LONGEST, |prompt| prompt.len() + 2)
    }

    /// What comparing logits takes, in bytes.
    pub(super) fn validation_memory(&self, source: &ModelFolder) -> u64 {
        streamed_memory(source.config(), self.dtype_in_memory(source), self.tokens_at_most())
    }

    /// The wider one of the types that the two sides have in memory.
    fn dtype_in_memory(&self, source: &ModelFolder) -> DType {
        match self.dtype {
            Some(DType::F32 | DType::F64) => DType::F32,
            _ => streamed_dtype(source.checkpoint().table()),
        }
    }
}

/// By how many tokens the prompt exceeds the longest window, so that several positions do not see its beginning.
const BEYOND: usize = 16;

/// Parameters times tokens above which the prompt is not made longer for the sake of a window: some ten seconds.
const MOST_WORK: f64 = 1e11;

/// Why the reference forward may not be the forward of the model that config.json describes.
fn doubts(json: &Value, family: &Family, reference: &ReferenceModel<'_>) -> Vec<String> {
    let mut reasons = Vec::new();
    let own = json.get("model_type").and_then(Value::as_str);
    if let Some(own) = own.filter(|own| *own != family.model_type()) {
        reasons.push(format!("config.json is that of a {own}, and was read as that of a {}", family.model_type()));
    }
    let unread = [family.fields_beyond_reference(json), reference.unread_rotary_keys()].concat();
    if !unread.is_empty() {
        let names = unread.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        reasons.push(format!("the reference forward does not know what these fields of config.json mean: {names}"));
    }
    reasons
}

/// Opens a device to compute on.
///
/// # Errors
/// [`ConvertError::Options`] if this machine does not have it.
pub(crate) fn open_device(device: Device) -> Result<candle_core::Device, ConvertError> {
    device.open().map_err(|error| ConvertError::Options {
        what: error.to_string().lines().next().unwrap_or_default().to_owned(),
        origin: "--device".to_owned(),
        advice: "use cpu, or a device that this machine has".to_owned(),
    })
}

fn floats(tensor: &Tensor) -> candle_core::Result<Vec<f32>> {
    tensor.to_dtype(CandleType::F32)?.flatten_all()?.to_vec1()
}
