//! The judgement before a converted folder appears: logits of both sides on one prompt, and a text that both continue.

use std::path::Path;

use candle_core::{DType as CandleType, Tensor};

use super::generation::{Judged, generation_test};
use super::prompt::token_ids;
use super::{
    Convert, ConvertError, Families, Family, GenerationTest, LayerDiff, LogitDiff, Logits, ModelFolder, ReferenceModel,
};
use crate::device::Device;
use crate::model::{Batch, ModelError};
use crate::spec::{DType, Side, TensorTable};
use crate::tokenizer::TokenizerFiles;

/// What the judgement says.
pub(super) struct Verdict {
    pub(super) logits: LogitDiff,
    pub(super) generation: Option<GenerationTest>,
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
    /// The reference forward over the Hugging Face side against the candle model over the native side, on a text in the
    /// source's tokens. `None` if nothing independent of the family's rules can read its tensors.
    pub(super) fn judge(&self, case: &Case<'_>) -> Result<Option<Verdict>, ConvertError> {
        let Case { source, family, tokenizer, rewritten, .. } = *case;
        let families = Families::built_in()?.with(family.clone());
        let written = ModelFolder::open_as(case.written, None, &families, Some(family.model_type()))?;
        let (hf, native) = match source.side() {
            Side::HuggingFace => (source, &written),
            Side::Native => (&written, source),
        };
        let reference = ReferenceModel::with_outline(hf.checkpoint(), hf.config_json(), family.outline());
        let Some(reference) = reference else { return Ok(None) };
        let config = native.config();
        let vocab = source.config().vocab_size.min(written.config().vocab_size);
        let columns: Vec<u32> = (0..vocab as u32).filter(|id| !rewritten.contains(id)).collect();
        let longest = config.max_position_embeddings;
        let mut ids = token_ids(self.prompt.as_deref(), tokenizer, vocab, longest)?;
        ids.retain(|id| !rewritten.contains(id));
        let batch = Batch::new(vec![ids.clone()])?;
        // A cast rounds the weights. The side that still reads the source rounds them likewise, so that names and
        // formulas are judged, not rounding.
        let (round_reference, round_native) = match source.side() {
            Side::HuggingFace => (self.dtype, None),
            Side::Native => (None, self.dtype),
        };
        let model = native.load_rounded(DType::F32, round_native, case.device, false)?;
        let mut observed = Vec::new();
        let logits = model.forward_observed(&batch, &mut |_, stream| observed.push(floats(stream)))?;
        let logits = floats(&logits).map_err(ModelError::from)?;
        let reference = reference.rounded_to(round_reference);
        let (expected, streams) = reference.forward(&ids)?;
        let (expected, found) = (
            Logits { values: &expected, vocab: hf.config().vocab_size },
            Logits { values: &logits, vocab: config.vocab_size },
        );
        let mut diff = LogitDiff::over(&columns, ("reference", "candle"), expected, found, ids.len(), |_, _| true);
        for (layer, (left, right)) in streams.iter().zip(observed).enumerate() {
            let right = right.map_err(ModelError::from)?;
            diff.layers.push(LayerDiff::new(layer, left, &right, ids.len()));
        }
        diff.name_tokens(tokenizer, |_, position| ids.get(position).copied());
        let generation = self.generation_test.then(|| {
            let sides = Judged { reference: &reference, model: &model, columns: &columns };
            generation_test(sides, &ids, longest, &config.eos_token_id, tokenizer)
        });
        Ok(Some(Verdict { logits: diff, generation: generation.transpose()? }))
    }

    /// The device to validate on, opened before anything is written. Main memory that cannot hold the model is refused.
    pub(super) fn device_for(&self, table: &TensorTable) -> Result<candle_core::Device, ConvertError> {
        let needed = validation_memory(table);
        match Device::Cpu.memory() {
            Some(memory) if self.device == Device::Cpu && needed > memory.free => Err(ConvertError::Options {
                what: format!(
                    "comparing logits would load the model in float32, {:.1} GB, and {:.1} GB are free",
                    needed as f64 / 1e9,
                    memory.free as f64 / 1e9
                ),
                origin: "this machine's memory".to_owned(),
                advice: "convert with --no-validate, or validate on a --device that has the memory".to_owned(),
            }),
            _ => open_device(self.device),
        }
    }
}

/// What comparing logits takes: the model in float32, and one tensor of it once more as it is read.
pub(super) fn validation_memory(table: &TensorTable) -> u64 {
    let largest = table.rows().iter().map(|row| row.elements()).max().unwrap_or(0);
    4 * (table.parameters() + largest)
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
