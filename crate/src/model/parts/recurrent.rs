//! Parts that read tokens one after another and keep a state: what padding, documents and caches mean to them.

use candle_core::{Result, Tensor};

use crate::model::context::Context;
use crate::model::kv_cache::KvCache;

/// What a text gives: the result of each token, and the state after the last one if it was asked for.
pub(in crate::model) type Text = (Tensor, Option<Vec<Tensor>>);

/// Runs `text` over the texts of a batch x `[batch, seq, hidden]`, without its padding: over whole rows after the states of a
/// cache, which are replaced, or over each document of packed rows alone. `text` gets a text, the state before it, and whether
/// the state after it is wanted.
pub(in crate::model) fn over_texts(
    x: &Tensor,
    context: &Context,
    layer: usize,
    cache: Option<&mut KvCache>,
    text: impl Fn(&Tensor, Option<&[Tensor]>, bool) -> Result<Text>,
) -> Result<Tensor> {
    let masked = match &context.rows.real {
        Some(real) => x.broadcast_mul(&real.to_dtype(x.dtype())?)?,
        None => x.clone(),
    };
    if context.rows.starts.is_empty() {
        let Some(cache) = cache else { return Ok(text(&masked, None, false)?.0) };
        let (y, state) = text(&masked, cache.state(layer), true)?;
        cache.set_state(layer, state.unwrap_or_default());
        return Ok(y);
    }
    let seq = x.dim(1)?;
    let rows = context.rows.starts.iter().enumerate().map(|(row, starts)| {
        let row = masked.narrow(0, row, 1)?;
        let ends = starts.iter().skip(1).copied().chain([seq]);
        let documents =
            starts.iter().zip(ends).map(|(&start, end)| Ok(text(&row.narrow(1, start, end - start)?, None, false)?.0));
        Tensor::cat(&documents.collect::<Result<Vec<_>>>()?, 1)
    });
    Tensor::cat(&rows.collect::<Result<Vec<_>>>()?, 0)
}

/// Returns x `[batch, seq, channels]` after the `kernel` − 1 inputs before it, which are zeros at the beginning of a text.
pub(in crate::model) fn after_past(x: &Tensor, past: Option<&Tensor>, kernel: usize) -> Result<Tensor> {
    match past {
        Some(past) => Tensor::cat(&[past, x], 1),
        None => x.pad_with_zeros(1, kernel - 1, 0),
    }
}

/// Returns the last `kernel` − 1 inputs, from which a convolution goes on.
pub(in crate::model) fn last_inputs(inputs: &Tensor, kernel: usize) -> Result<Tensor> {
    Ok(inputs.narrow(1, inputs.dim(1)? + 1 - kernel, kernel - 1)?.detach())
}
