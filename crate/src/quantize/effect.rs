//! What quantization does to logits.

use candle_core::{DType as CandleType, Device};

use crate::convert::{ConvertError, LogitDiff, Logits, ModelFolder, token_ids};
use crate::model::{Batch, ModelError};
use crate::spec::DType;
use crate::tokenizer::TokenizerFiles;

/// Logits of a model before and after it was quantized, in float32 on the CPU, over the tokens that both have. One of the
/// two is in memory at a time.
///
/// # Errors
/// [`ConvertError`] if the prompt cannot be tokenised, or a model cannot be loaded or run.
pub fn logit_effect(
    before: &ModelFolder,
    after: &ModelFolder,
    prompt: Option<&str>,
) -> Result<LogitDiff, ConvertError> {
    let tokenizer = TokenizerFiles::read(before.path())?;
    let config = before.config();
    let ids = token_ids(prompt, &tokenizer, config.vocab_size, config.max_position_embeddings)?;
    let batch = Batch::new(vec![ids.clone()])?;
    let (first, second) = (logits_of(before, &batch)?, logits_of(after, &batch)?);
    let side = |values, folder: &ModelFolder| Logits { values, vocab: folder.config().vocab_size };
    let sides = (side(first.as_slice(), before), side(second.as_slice(), after));
    let mut diff = LogitDiff::new(("before", "quantized"), sides.0, sides.1, ids.len(), |_, _| true);
    diff.name_tokens(&tokenizer, |_, position| ids.get(position).copied());
    Ok(diff)
}

fn logits_of(folder: &ModelFolder, batch: &Batch) -> Result<Vec<f32>, ConvertError> {
    let model = folder.load(DType::F32, &Device::Cpu, false)?;
    let logits = model.forward(batch)?;
    let values = logits.to_dtype(CandleType::F32).and_then(|logits| logits.flatten_all()?.to_vec1::<f32>());
    Ok(values.map_err(ModelError::from)?)
}
