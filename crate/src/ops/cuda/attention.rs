//! Attention on a GPU: by tensor cores, tile by tile, where the head's width and the element type allow it; otherwise by
//! matrix products of a block of queries with one pass for mask and softmax between them.

use candle_core::backend::BackendStorage;
use candle_core::{CudaDevice, CudaStorage, DType, Error, Result, Shape, Tensor};

use super::flash::{backward_by_tiles, by_tiles, forward_by_tiles};
use super::launch::{Argument, Extent, Visible, contiguous, empty, int, launch, pointer, suffix, tensor, whole, with};
use super::{AttentionGradients, DeviceMask, DeviceScores};

pub(super) const OP: &str = "attention";

/// Bytes that one block of scores may take.
const SCORES: usize = 256 << 20;

/// q `[b, heads, s, d]`, k and v `[b, kv_heads, t, d]` → the output `[b, heads, s, d]` and
/// what else the backward needs: a number for each query if `tiles`, otherwise an empty tensor.
///
/// `tiles` requests the kernel that never holds more than a tile of scores; where it is not available or not requested, the
/// scores of a block of queries exist at a time. A query that sees nothing returns zeros by tiles, otherwise the mean of all
/// values (with sinks, zeros as well).
pub(crate) fn attend(
    operands: (&Tensor, &Tensor, &Tensor),
    scores: &DeviceScores<'_>,
    device_mask: &DeviceMask,
    tiles: bool,
) -> Result<(Tensor, Tensor)> {
    if tiles && by_tiles(operands.0) {
        return forward_by_tiles(operands, scores, device_mask);
    }
    let (q, k, v) = operands;
    let sizes = Sizes::of(q, k)?;
    let mut outputs = Vec::new();
    for (first, count) in sizes.blocks(q.dtype()) {
        let weights = sizes.weights((q, k), scores, device_mask, (first, count), false)?.weights;
        let out = weights.matmul(&v.contiguous()?.reshape((sizes.pairs(), sizes.keys, sizes.width))?)?;
        outputs.push(out.reshape((sizes.batch, sizes.heads, count, sizes.width))?);
    }
    let out = if outputs.len() == 1 { outputs.remove(0) } else { Tensor::cat(&outputs, 2)? };
    Ok((out, Tensor::zeros(0, DType::F32, q.device())?))
}

/// Returns the gradients, from the operands, the two results of [`attend`] and the gradient of the output.
pub(crate) fn attend_backward(
    operands: (&Tensor, &Tensor, &Tensor),
    scores: &DeviceScores<'_>,
    device_mask: &DeviceMask,
    (out, saved, g): (&Tensor, &Tensor, &Tensor),
) -> Result<AttentionGradients> {
    if saved.elem_count() > 0 {
        return backward_by_tiles(operands, scores, device_mask, (out, saved, g));
    }
    let (q, k, v) = operands;
    let sizes = Sizes::of(q, k)?;
    let v = v.contiguous()?.reshape((sizes.pairs(), sizes.keys, sizes.width))?;
    let keys = k.contiguous()?.reshape((sizes.pairs(), sizes.keys, sizes.width))?;
    let (mut of_q, mut of_slopes, mut of_sinks) = (Vec::new(), Vec::new(), Vec::new());
    let (mut of_k, mut of_v): (Option<Tensor>, Option<Tensor>) = (None, None);
    let added = |sum: Option<Tensor>, part: Tensor| match sum {
        Some(sum) => sum + part,
        None => Ok(part),
    };
    for (first, count) in sizes.blocks(q.dtype()) {
        let Weights { weights, shares, cap_slopes } =
            sizes.weights((q, k), scores, device_mask, (first, count), true)?;
        let lines = |x: &Tensor| x.narrow(2, first, count)?.contiguous()?.reshape(sizes.lines(count));
        let (g, queries) = (lines(g)?, lines(q)?);
        of_v = Some(added(of_v, weights.t()?.matmul(&g)?)?);
        let of_scores = g.matmul(&v.t()?)?;
        let rows = sizes.batch * sizes.heads * count;
        let by_row = |wanted: bool, device: &CudaDevice| empty(device, DType::F32, if wanted { rows } else { 1 });
        let (slope_sums, sink_sums) = with(&of_scores, |of_scores| {
            let (dtype, device) = (of_scores.0.dtype(), of_scores.0.device());
            let (slopes, sinks) = (by_row(scores.slopes.is_some(), device)?, by_row(scores.sinks.is_some(), device)?);
            let given = |wanted: bool, sums| if wanted { whole(sums) } else { Argument::Null };
            let mut arguments = vec![contiguous(of_scores, dtype, OP)?, at(&weights, dtype)?];
            arguments.push(cap_slopes.as_ref().map_or(Argument::Null, whole));
            arguments.push(shares.as_ref().map_or(Argument::Null, whole));
            arguments.extend([given(scores.slopes.is_some(), &slopes), given(scores.sinks.is_some(), &sinks)]);
            arguments.extend([count, first + device_mask.past_len, sizes.keys].map(Argument::Int));
            arguments.push(Argument::Real(scores.scale));
            let kernel = format!("masked_softmax_backward_{}", suffix(dtype, OP)?);
            launch(device, &kernel, Extent::rows(rows, sizes.keys), &arguments)?;
            Ok((slopes, sinks))
        })?;
        let by_head = |sums| tensor(sums, (sizes.batch, sizes.heads, count)).sum((0, 2));
        if scores.slopes.is_some() {
            of_slopes.push(by_head(slope_sums)?);
        }
        if scores.sinks.is_some() {
            of_sinks.push(by_head(sink_sums)?);
        }
        of_k = Some(added(of_k, of_scores.t()?.matmul(&queries)?)?);
        let of_block = of_scores.matmul(&keys)?;
        of_q.push(of_block.reshape((sizes.batch, sizes.heads, count, sizes.width))?);
    }
    let whole_keys = |x: Option<Tensor>| match x {
        Some(x) => x.reshape((sizes.batch, sizes.kv_heads, sizes.keys, sizes.width)),
        None => candle_core::bail!("attention without queries"),
    };
    let sum = |parts: Vec<Tensor>| parts.into_iter().try_fold(None, |sum, part| added(sum, part).map(Some));
    let (q, k, v) = (Tensor::cat(&of_q, 2)?, whole_keys(of_k)?, whole_keys(of_v)?);
    Ok(AttentionGradients { q, k, v, slopes: sum(of_slopes)?, sinks: sum(of_sinks)? })
}

/// The weights of a block of queries, and what else the backward needs if it was asked for.
struct Weights {
    weights: Tensor,
    /// Each row's weight of its sink.
    shares: Option<CudaStorage>,
    /// The derivatives of capped scores.
    cap_slopes: Option<CudaStorage>,
}

#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) width: usize,
}

impl Sizes {
    pub(super) fn of(q: &Tensor, k: &Tensor) -> Result<Self> {
        let ((batch, heads, queries, width), (_, kv_heads, keys, _)) = (q.dims4()?, k.dims4()?);
        Ok(Self { batch, heads, kv_heads, queries, keys, width })
    }

    /// Products: one for each head of keys, with the queries of its group as rows.
    fn pairs(self) -> usize {
        self.batch * self.kv_heads
    }

    /// `count` queries of every head as rows of the products.
    fn lines(self, count: usize) -> (usize, usize, usize) {
        (self.pairs(), self.heads / self.kv_heads * count, self.width)
    }

    /// Returns the shape of all scores, for messages.
    pub(super) fn scores(self) -> Shape {
        Shape::from((self.batch, self.heads, self.queries, self.keys))
    }

    /// (first, count) of the blocks of queries.
    fn blocks(self, dtype: DType) -> impl Iterator<Item = (usize, usize)> {
        let of_query = self.batch * self.heads * self.keys * dtype.size_in_bytes();
        let most = (SCORES / of_query.max(1)).max(1);
        let count = self.queries.div_ceil(self.queries.div_ceil(most).max(1)).max(1);
        let queries = self.queries;
        (0..queries).step_by(count).map(move |first| (first, count.min(queries - first)))
    }

    /// Returns the mask as the softmax kernel takes it.
    fn visible(self, device: &CudaDevice, device_mask: &DeviceMask) -> Result<Argument<'static>> {
        Ok(Argument::Visible(Visible {
            padded: optional(device_mask.padded.as_ref(), DType::U8, device)?,
            documents: optional(device_mask.documents.as_ref(), DType::U32, device)?,
            past_len: int(device_mask.past_len, OP, &self.scores())?,
            window: window(device_mask),
            causal: 1,
        }))
    }

    /// softmax of the scores of `count` queries from `first` on, `[b · kv_heads, group · count, t]`.
    fn weights(
        self,
        (q, k): (&Tensor, &Tensor),
        scores: &DeviceScores<'_>,
        device_mask: &DeviceMask,
        (first, count): (usize, usize),
        for_backward: bool,
    ) -> Result<Weights> {
        let q = q.narrow(2, first, count)?.contiguous()?.reshape(self.lines(count))?;
        let k = k.contiguous()?.reshape((self.pairs(), self.keys, self.width))?;
        let weights = q.matmul(&k.t()?)?;
        let (dtype, device, rows) = (q.dtype(), q.device().as_cuda_device()?, self.batch * self.heads * count);
        let wanted =
            |wanted: bool, dtype, count| (wanted && for_backward).then(|| empty(device, dtype, count)).transpose();
        let shares = wanted(scores.sinks.is_some(), DType::F32, rows)?;
        let cap_slopes = wanted(scores.softcap.is_some(), dtype, rows * self.keys)?;
        let given = |tensor: Option<&Tensor>| match tensor {
            Some(tensor) => Ok::<_, Error>(Argument::Address(optional(Some(tensor), DType::F32, device)?)),
            None => Ok(Argument::Null),
        };
        let mut arguments = vec![at(&weights, dtype)?, given(scores.slopes)?, given(scores.sinks)?];
        arguments.push(shares.as_ref().map_or(Argument::Null, whole));
        arguments.push(cap_slopes.as_ref().map_or(Argument::Null, whole));
        arguments.push(self.visible(device, device_mask)?);
        arguments.extend([self.heads, count, first, self.keys].map(Argument::Int));
        arguments.extend([scores.scale, scores.softcap.unwrap_or(0.0)].map(Argument::Real));
        launch(device, &format!("masked_softmax_{}", suffix(dtype, OP)?), Extent::rows(rows, self.keys), &arguments)?;
        Ok(Weights { weights, shares, cap_slopes })
    }
}

/// Returns the address of a contiguous tensor of this device, or 0.
pub(super) fn optional(tensor: Option<&Tensor>, dtype: DType, device: &CudaDevice) -> Result<u64> {
    let Some(tensor) = tensor else { return Ok(0) };
    with(tensor, |operand| {
        contiguous(operand, dtype, OP)?;
        pointer(operand).on(device)
    })
}

/// Returns the number of last keys that are seen; 0 for all.
pub(super) fn window(device_mask: &DeviceMask) -> i32 {
    let most = i32::MAX / 2;
    device_mask.window.map_or(0, |window| i32::try_from(window).unwrap_or(most).min(most))
}

pub(super) fn at(tensor: &Tensor, dtype: DType) -> Result<Argument<'_>> {
    super::launch::at(tensor, dtype, OP)
}
