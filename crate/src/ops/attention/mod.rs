//! Causal attention with grouped keys and values, in four implementations that give the same numbers.

mod attention_mask;
mod blocks;
mod eager;
mod flex;
mod gpu;
mod implementation;
mod operation;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use candle_core::Tensor;

pub use attention_mask::AttentionMask;
use blocks::Sizes;
pub use flex::BlockMask;
pub use implementation::{AttentionError, AttentionImplementation};
use operation::{Attend, AttendPerHead, Blockwise, Pairs, PerHead};

/// Attention weights set to 0 at random during training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The probability for each weight, below 1.
    pub probability: f64,
    /// Selects them, the same ones on every device.
    pub seed: u64,
}

/// Options of [`attention`].
#[derive(Clone, Debug)]
pub struct AttentionOptions<'a> {
    /// The implementation.
    pub implementation: AttentionImplementation,
    /// Which keys each query sees.
    pub mask: &'a AttentionMask,
    /// The factor of products of queries and keys, usually 1/√width.
    pub scale: f64,
    /// ALiBi: `[heads]`; slope · (key − query) is added to the scaled score. Gradients flow to it.
    pub slopes: Option<&'a Tensor>,
    /// Sinks: `[heads]`; one more score for each head, of a key whose value is zero (gpt-oss, 2025). Gradients flow to it.
    pub sinks: Option<&'a Tensor>,
    /// Scaled scores saturate at ± this number: cap · tanh(score / cap) (Gemma 2, 2024). Not together with slopes.
    pub softcap: Option<f64>,
    /// Only [`AttentionImplementation::Eager`] can.
    pub dropout: Option<Dropout>,
}

impl<'a> AttentionOptions<'a> {
    /// Plain attention under a mask.
    pub fn new(mask: &'a AttentionMask, scale: f64) -> Self {
        let implementation = AttentionImplementation::default();
        Self { implementation, mask, scale, slopes: None, sinks: None, softcap: None, dropout: None }
    }
}

/// softmax(q kᵀ · scale + bias) v over the keys that each query sees.
///
/// q `[b, heads, s, d]`, k and v `[b, kv_heads, t, d]` → `[b, heads, s, d]`. Query head h reads key head
/// h / (heads / kv_heads). Queries are the last s of the t tokens.
///
/// # Errors
/// [`AttentionError::Dropout`] if the implementation cannot drop weights, [`AttentionError::Shape`] if sizes do not fit,
/// or an error of the device.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, options: &AttentionOptions<'_>) -> Result<Tensor, AttentionError> {
    let AttentionOptions { implementation, mask, scale, slopes, sinks, softcap, dropout } = *options;
    let dropout = dropout.filter(|dropout| dropout.probability > 0.0);
    implementation.check_dropout(dropout.map_or(0.0, |dropout| dropout.probability))?;
    let sizes = sizes(q, k, v, [slopes, sinks])?;
    if (mask.rows(), mask.queries(), mask.keys()) != (sizes.rows, sizes.queries, sizes.keys) {
        return Err(AttentionError::Shape {
            what: format!(
                "the mask is for {} rows, {} queries and {} keys, the operands have {}, {} and {}",
                mask.rows(),
                mask.queries(),
                mask.keys(),
                sizes.rows,
                sizes.queries,
                sizes.keys
            ),
            advice: "make the mask of the batch that is computed",
        });
    }
    if implementation != AttentionImplementation::Eager && crate::ops::cuda::serves(q) {
        return Ok(gpu::attend((q, k, v), (slopes, sinks), mask, (scale, softcap))?);
    }
    if implementation == AttentionImplementation::Eager || !q.device().is_cpu() {
        let form = eager::Form { slopes, sinks, softcap, scale, dropout };
        return Ok(eager::eager((q, k, v), &mask.matrix(q.device())?, form)?);
    }
    // Scores of one block of 64 queries and 512 keys take 128 KB: together with their operands, a core's cache.
    let (pairs, block) = match implementation {
        AttentionImplementation::FlexAttention => {
            (Pairs::Table(mask.blocks().clone()), (flex::BLOCK, Some(flex::BLOCK)))
        }
        AttentionImplementation::FlashAttention2 => (Pairs::Rule(mask.clone()), (128, Some(128))),
        _ => (Pairs::Rule(mask.clone()), (64, None)),
    };
    let per_head = PerHead { slopes: slopes.is_some(), sinks: sinks.is_some() };
    let call = Blockwise { sizes, pairs, scale, softcap, per_head, block, normalizers: OnceLock::new() };
    blockwise(q, k, v, (slopes, sinks), call)
}

/// As [`attention`] by [`AttentionImplementation::FlexAttention`], with any function as the mask, and one that adds to
/// scores if the mask has it. Of CPU tensors.
///
/// # Errors
/// [`AttentionError::Shape`] if sizes do not fit, or an error of the device.
pub fn flex_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: &BlockMask,
    scale: f64,
) -> Result<Tensor, AttentionError> {
    let sizes = sizes(q, k, v, [None, None])?;
    if !mask.fits(sizes.rows, sizes.heads, sizes.queries, sizes.keys) {
        return Err(AttentionError::Shape {
            what: format!("the block mask does not fit {sizes:?}"),
            advice: "make it for these numbers of rows, heads, queries and keys",
        });
    }
    if !q.device().is_cpu() {
        return Ok(eager::eager(
            (q, k, v),
            &mask.dense(sizes.rows, sizes.heads, q.device())?,
            eager::Form::plain(scale),
        )?);
    }
    let (pairs, block) = (Pairs::Table(mask.clone()), (flex::BLOCK, Some(flex::BLOCK)));
    let per_head = PerHead::default();
    let call = Blockwise { sizes, pairs, scale, softcap: None, per_head, block, normalizers: OnceLock::new() };
    blockwise(q, k, v, (None, None), call)
}

fn sizes(q: &Tensor, k: &Tensor, v: &Tensor, per_head: [Option<&Tensor>; 2]) -> Result<Sizes, AttentionError> {
    let (rows, heads, queries, width) = q.dims4()?;
    let (_, kv_heads, keys, _) = k.dims4()?;
    let fits = k.dims() == [rows, kv_heads, keys, width]
        && v.dims() == k.dims()
        && kv_heads > 0
        && heads % kv_heads == 0
        && queries <= keys
        && per_head.into_iter().flatten().all(|values| values.dims() == [heads]);
    if fits {
        return Ok(Sizes { rows, heads, kv_heads, queries, keys, width });
    }
    let [slopes, sinks] = per_head;
    let said = |name: &str, values: Option<&Tensor>| {
        values.map_or(String::new(), |values| format!(", {name} {:?}", values.dims()))
    };
    let (slopes, sinks) = (said("slopes", slopes), said("sinks", sinks));
    Err(AttentionError::Shape {
        what: format!("q {:?}, k {:?}, v {:?}{slopes}{sinks} do not belong together", q.dims(), k.dims(), v.dims()),
        advice: "give q [b, heads, s, d], k and v [b, kv_heads, t, d] with t >= s and kv_heads dividing heads",
    })
}

fn blockwise(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    (slopes, sinks): (Option<&Tensor>, Option<&Tensor>),
    call: Blockwise,
) -> Result<Tensor, AttentionError> {
    let (q, call) = (q.contiguous()?, Arc::new(call));
    let Some(given) = slopes.or(sinks) else {
        return Ok(q.apply_op3(&k.contiguous()?, &v.contiguous()?, Attend(call))?);
    };
    let nothing = given.zeros_like()?;
    let of = |values: Option<&Tensor>| values.unwrap_or(&nothing).to_dtype(given.dtype());
    let per_head = Tensor::stack(&[of(slopes)?, of(sinks)?], 0)?;
    Ok(q.apply_op3(&Tensor::stack(&[k, v], 0)?, &per_head, AttendPerHead(call))?)
}
