//! Validation before a converted folder appears: logits of both sides on one prompt, and a text that both continue.

use std::path::Path;

use candle_core::{DType as CandleType, Tensor};

use super::{Convert, ConvertError};
use crate::device::Device;
use crate::model::{Batch, ModelError, streamed_memory};
use crate::model_folder::{ModelFolder, require_streamed_memory, streamed_dtype};
use crate::naming::{Families, Family};
use crate::spec::{DType, Naming};
use crate::tokenizer::TokenizerFiles;
use crate::validation::{
    GenerationTest, Judged, LONGEST, LayerDiff, LogitDiff, Logits, ReferenceModel, doubts, generation_test, prompt_ids,
    spread,
};

/// The result of the validation.
#[derive(Default)]
pub(super) struct Judgment {
    /// The two sides' logits, where the reference forward has formulas for them.
    pub(super) logits: Option<LogitDiff>,
    pub(super) generation: Option<GenerationTest>,
    /// Why equal logits prove nothing, or not everything.
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

impl Convert {
    /// Compares the reference forward on the Hugging Face side with the candle model on the native side, on a text in
    /// the source's tokens. Nothing is computed if the reference forward cannot read the tensors.
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
            Naming::HuggingFace => (self.write.dtype, None),
            Naming::Native => (None, self.write.dtype),
        };
        // Otherwise generation reads the layers again for each token.
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

    /// Returns whether all layers fit into memory together.
    fn keeps_layers(&self, model: &ModelFolder) -> bool {
        let width = streamed_dtype(model.checkpoint().table()).bytes() as u64;
        let memory = self.device.memory();
        memory.is_none_or(|memory| model.native_table().parameters() * width < memory.free / 2)
    }

    /// Opens the device to validate on, before anything is written. It is an error if main memory cannot hold what a
    /// forward pass needs.
    pub(super) fn device_for(&self, source: &ModelFolder) -> Result<candle_core::Device, ConvertError> {
        if self.device == Device::Cpu {
            require_streamed_memory(source.config(), self.dtype_in_memory(source), self.tokens_at_most())?;
        }
        Ok(self.device.open()?)
    }

    /// Returns an upper bound for the number of tokens that will be compared.
    fn tokens_at_most(&self) -> usize {
        self.prompt.as_ref().map_or(LONGEST, |prompt| prompt.len() + 2)
    }

    /// Returns what comparing logits takes, in bytes.
    pub(super) fn validation_memory(&self, source: &ModelFolder) -> u64 {
        streamed_memory(source.config(), self.dtype_in_memory(source), self.tokens_at_most())
    }

    /// Returns the wider one of the types that the two sides have in memory.
    fn dtype_in_memory(&self, source: &ModelFolder) -> DType {
        match self.write.dtype {
            Some(DType::F32 | DType::F64) => DType::F32,
            _ => streamed_dtype(source.checkpoint().table()),
        }
    }
}

/// By how many tokens the prompt exceeds the longest window, so that several positions do not see its beginning.
const BEYOND: usize = 16;

/// Parameters times tokens above which the prompt is not made longer for the sake of a window: some ten seconds.
const MOST_WORK: f64 = 1e11;

fn floats(tensor: &Tensor) -> candle_core::Result<Vec<f32>> {
    tensor.to_dtype(CandleType::F32)?.flatten_all()?.to_vec1()
}
