//! The judgement before a converted folder appears: logits of both sides on one prompt.

use std::path::Path;

use candle_core::{DType as CandleType, Device};

use super::prompt::token_ids;
use super::{Convert, ConvertError, LayerDiff, LogitDiff, ModelFolder, ReferenceModel};
use crate::model::Batch;
use crate::spec::{DType, Side};
use crate::tokenizer::TokenizerFiles;

impl Convert {
    /// The reference forward over the Hugging Face side against the candle model over the native side, on one prompt.
    pub(super) fn compare_logits(
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
