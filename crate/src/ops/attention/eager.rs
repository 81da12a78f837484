//! Attention composed of tensor operations, all scores at once: the reference, and the path of devices without a kernel.

use candle_core::{D, DType, Result, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Dropout;
use crate::ops::element::inside;

/// What happens to scores besides the mask.
#[derive(Clone, Copy)]
pub(super) struct Form<'a> {
    pub(super) slopes: Option<&'a Tensor>,
    pub(super) sinks: Option<&'a Tensor>,
    pub(super) softcap: Option<f64>,
    pub(super) scale: f64,
    pub(super) dropout: Option<Dropout>,
}

impl Form<'_> {
    pub(super) fn plain(scale: f64) -> Self {
        Self { slopes: None, sinks: None, softcap: None, scale, dropout: None }
    }
}

/// softmax(q kᵀ · scale + slope · (k − q) + mask) v, the softmax in float32 (float64 for float64 tensors).
/// The query heads of a group are rows of one product with their shared keys: nothing is repeated in memory.
pub(super) fn eager((q, k, v): (&Tensor, &Tensor, &Tensor), mask: &Tensor, form: Form<'_>) -> Result<Tensor> {
    let Form { slopes, sinks, softcap, scale, dropout } = form;
    let ((batch, heads, queries, width), (_, kv_heads, keys, _)) = (q.dims4()?, k.dims4()?);
    let inside = inside(q.dtype());
    let rows = (batch * kv_heads, heads / kv_heads * queries, width);
    let columns = (batch * kv_heads, keys, width);
    let q = (q.contiguous()? * scale)?.reshape(rows)?;
    let scores = q.matmul(&k.contiguous()?.reshape(columns)?.transpose(1, 2)?)?;
    let mut scores = scores.reshape((batch, heads, queries, keys))?.to_dtype(inside)?;
    if let Some(cap) = softcap {
        scores = ((scores / cap)?.tanh()? * cap)?;
    }
    if let Some(slopes) = slopes {
        let places = |count: usize, from: usize| {
            let places: Vec<f64> = (0..count).map(|line| (line + from) as f64).collect();
            Tensor::from_vec(places, count, slopes.device())?.to_dtype(inside)
        };
        let at = places(queries, keys - queries)?.reshape((queries, 1))?;
        let steps = places(keys, 0)?.reshape((1, keys))?.broadcast_sub(&at)?.reshape((1, 1, queries, keys))?;
        let bias = slopes.to_dtype(inside)?.reshape((1, heads, 1, 1))?.broadcast_mul(&steps)?;
        scores = scores.broadcast_add(&bias)?;
    }
    let mut scores = scores.broadcast_add(&mask.to_dtype(inside)?)?;
    if let Some(sinks) = sinks {
        let sinks = sinks.to_dtype(inside)?.reshape((1, heads, 1, 1))?.broadcast_as((batch, heads, queries, 1))?;
        scores = Tensor::cat(&[&scores, &sinks.contiguous()?], D::Minus1)?;
    }
    let weights = candle_nn::ops::softmax(&scores, D::Minus1)?.narrow(D::Minus1, 0, keys)?;
    let weights = match dropout {
        Some(dropout) => (weights * dropout.mask((batch, heads, queries, keys), inside, q.device())?)?,
        None => weights,
    };
    let weights = weights.to_dtype(v.dtype())?.reshape((batch * kv_heads, heads / kv_heads * queries, keys))?;
    weights.matmul(&v.contiguous()?.reshape(columns)?)?.reshape((batch, heads, queries, width))
}

impl Dropout {
    /// Returns 0 with the probability and otherwise 1 / (1 − probability), the same for a seed on every device.
    fn mask(self, shape: (usize, usize, usize, usize), dtype: DType, device: &candle_core::Device) -> Result<Tensor> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let kept = (1.0 / (1.0 - self.probability)) as f32;
        let count = shape.0 * shape.1 * shape.2 * shape.3;
        let mask: Vec<f32> =
            (0..count).map(|_| if random.random_bool(self.probability) { 0.0 } else { kept }).collect();
        Tensor::from_vec(mask, shape, device)?.to_dtype(dtype)
    }
}
