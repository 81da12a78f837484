//! What quantization does to logits.

use candle_core::Device;

use super::QuantizeError;
use crate::model::{Batch, streamed_memory};
use crate::model_folder::{ModelFolder, streamed_dtype};
use crate::tokenizer::TokenizerFiles;
use crate::validation::{LogitDiff, Logits, token_ids};

/// The result of comparing logits.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// They were compared.
    Compared(LogitDiff),
    /// A forward pass needs more memory than is free; the sentence says so.
    TooLarge(String),
}

/// Logits of a model before and after it was quantized, in float32 on the CPU, over the tokens that both have. A
/// layer is in memory at a time.
///
/// # Errors
/// [`QuantizeError`] if the prompt cannot be tokenized, or a model cannot be loaded or run.
pub fn logit_effect(before: &ModelFolder, after: &ModelFolder, prompt: Option<&str>) -> Result<Effect, QuantizeError> {
    let tokenizer = TokenizerFiles::read(before.path())?;
    let config = before.config();
    let ids = token_ids(prompt, &tokenizer, config.vocab_size, config.max_position_embeddings)?;
    let needed = streamed_memory(config, streamed_dtype(before.checkpoint().table()), ids.len());
    if let Some(memory) = crate::device::Device::Cpu.memory()
        && needed > memory.free
    {
        let giga = |bytes: u64| bytes as f64 / 1e9;
        return Ok(Effect::TooLarge(format!(
            "logits were not compared: two layers and the logits take {:.1} GB, and {:.1} GB are free",
            giga(needed),
            giga(memory.free)
        )));
    }
    let batch = Batch::new(vec![ids.clone()])?;
    let (first, second) = (logits_of(before, &batch)?, logits_of(after, &batch)?);
    let side = |values, folder: &ModelFolder| Logits { values, vocab: folder.config().vocab_size };
    let sides = (side(first.as_slice(), before), side(second.as_slice(), after));
    let mut diff = LogitDiff::new(("before", "quantized"), sides.0, sides.1, ids.len(), |_, _| true);
    diff.name_tokens(&tokenizer, |_, position| ids.get(position).copied());
    Ok(Effect::Compared(diff))
}

fn logits_of(folder: &ModelFolder, batch: &Batch) -> Result<Vec<f32>, QuantizeError> {
    Ok(folder.stream(&Device::Cpu)?.forward_observed(batch, &mut |_, _| {})?)
}
