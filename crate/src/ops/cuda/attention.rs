//! Attention on a GPU: by tensor cores, tile by tile, where the head's width and the element type allow it; otherwise by
//! matrix products of a block of queries with one pass for mask and softmax between them.

use candle_core::backend::BackendStorage;
use candle_core::{CudaDevice, DType, Error, Result, Shape, Tensor};

use super::launch::{
    Argument, Extent, Flash, Visible, contiguous, empty, int, launch, pointer, suffix, tensor, whole, with,
};
use super::{AttentionGradients, DeviceMask};

const OP: &str = "attention";

/// Bytes that one block of scores may take.
const SCORES: usize = 256 << 20;

/// q `[b, heads, s, d]`, k and v `[b, kv_heads, t, d]`, slopes `[heads]` in float32 → the output `[b, heads, s, d]` and
/// what else the backward needs: a number for each query if `tiles`, otherwise an empty tensor.
///
/// `tiles` requests the kernel that never holds more than a tile of scores; where it is not available or not requested, the
/// scores of a block of queries exist at a time. A query that sees nothing returns zeros by tiles, otherwise the mean of all
/// values.
pub(crate) fn attend(
    operands: (&Tensor, &Tensor, &Tensor),
    slopes: Option<&Tensor>,
    device_mask: &DeviceMask,
    scale: f64,
    tiles: bool,
) -> Result<(Tensor, Tensor)> {
    if tiles && by_tiles(operands.0) {
        return forward_by_tiles(operands, slopes, device_mask, scale);
    }
    let (q, k, v) = operands;
    let sizes = Sizes::of(q, k)?;
    let mut outputs = Vec::new();
    for (first, count) in sizes.blocks(q.dtype()) {
        let weights = sizes.weights((q, k), slopes, device_mask, scale, first, count)?;
        let out = weights.matmul(&v.contiguous()?.reshape((sizes.pairs(), sizes.keys, sizes.width))?)?;
        outputs.push(out.reshape((sizes.batch, sizes.heads, count, sizes.width))?);
    }
    let out = if outputs.len() == 1 { outputs.remove(0) } else { Tensor::cat(&outputs, 2)? };
    Ok((out, Tensor::zeros(0, DType::F32, q.device())?))
}

/// Returns the gradients, from the operands, the two results of [`attend`] and the gradient of the output.
pub(crate) fn attend_backward(
    operands: (&Tensor, &Tensor, &Tensor),
    slopes: Option<&Tensor>,
    device_mask: &DeviceMask,
    scale: f64,
    (out, saved, g): (&Tensor, &Tensor, &Tensor),
) -> Result<AttentionGradients> {
    if saved.elem_count() > 0 {
        return backward_by_tiles(operands, slopes, device_mask, scale, (out, saved, g));
    }
    let (q, k, v) = operands;
    let sizes = Sizes::of(q, k)?;
    let v = v.contiguous()?.reshape((sizes.pairs(), sizes.keys, sizes.width))?;
    let keys = k.contiguous()?.reshape((sizes.pairs(), sizes.keys, sizes.width))?;
    let (mut of_q, mut of_slopes) = (Vec::new(), Vec::new());
    let (mut of_k, mut of_v): (Option<Tensor>, Option<Tensor>) = (None, None);
    let added = |sum: Option<Tensor>, part: Tensor| match sum {
        Some(sum) => sum + part,
        None => Ok(part),
    };
    for (first, count) in sizes.blocks(q.dtype()) {
        let weights = sizes.weights((q, k), slopes, device_mask, scale, first, count)?;
        let lines = |x: &Tensor| x.narrow(2, first, count)?.contiguous()?.reshape(sizes.lines(count));
        let (g, queries) = (lines(g)?, lines(q)?);
        of_v = Some(added(of_v, weights.t()?.matmul(&g)?)?);
        let of_scores = g.matmul(&v.t()?)?;
        let rows = sizes.batch * sizes.heads * count;
        let share = with(&of_scores, |of_scores| {
            let (dtype, device) = (of_scores.0.dtype(), of_scores.0.device());
            let share = empty(device, DType::F32, if slopes.is_some() { rows } else { 1 })?;
            let sums = if slopes.is_some() { whole(&share) } else { Argument::Null };
            with(&weights, |weights| {
                let mut arguments = vec![contiguous(of_scores, dtype, OP)?, contiguous(weights, dtype, OP)?, sums];
                arguments.extend([count, first + device_mask.past_len, sizes.keys].map(Argument::Int));
                arguments.push(Argument::Real(scale));
                let kernel = format!("masked_softmax_backward_{}", suffix(dtype, OP)?);
                launch(device, &kernel, Extent::rows(rows, sizes.keys), &arguments)
            })?;
            Ok(share)
        })?;
        if slopes.is_some() {
            of_slopes.push(tensor(share, (sizes.batch, sizes.heads, count)).sum((0, 2))?);
        }
        of_k = Some(added(of_k, of_scores.t()?.matmul(&queries)?)?);
        let of_block = of_scores.matmul(&keys)?;
        of_q.push(of_block.reshape((sizes.batch, sizes.heads, count, sizes.width))?);
    }
    let whole_keys = |x: Option<Tensor>| match x {
        Some(x) => x.reshape((sizes.batch, sizes.kv_heads, sizes.keys, sizes.width)),
        None => candle_core::bail!("attention without queries"),
    };
    let of_slopes = of_slopes.into_iter().try_fold(None, |sum, part| added(sum, part).map(Some))?;
    Ok((Tensor::cat(&of_q, 2)?, whole_keys(of_k)?, whole_keys(of_v)?, of_slopes))
}

#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    heads: usize,
    kv_heads: usize,
    queries: usize,
    keys: usize,
    width: usize,
}

impl Sizes {
    fn of(q: &Tensor, k: &Tensor) -> Result<Self> {
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
    fn scores(self) -> Shape {
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

    /// Returns the parameters that the softmax kernel ends with.
    fn softmax(
        self,
        device: &CudaDevice,
        device_mask: &DeviceMask,
        scale: f64,
        first: usize,
        count: usize,
    ) -> Result<Vec<Argument<'static>>> {
        let visible = Visible {
            padded: optional(device_mask.padded.as_ref(), DType::U8, device)?,
            documents: optional(device_mask.documents.as_ref(), DType::U32, device)?,
            past_len: int(device_mask.past_len, OP, &self.scores())?,
            window: window(device_mask),
            causal: 1,
        };
        let mut arguments = vec![Argument::Visible(visible)];
        arguments.extend([self.heads, count, first, self.keys].map(Argument::Int));
        arguments.push(Argument::Real(scale));
        Ok(arguments)
    }

    /// softmax of the scores of the queries from `first` on, `[b · kv_heads, group · count, t]`.
    fn weights(
        self,
        (q, k): (&Tensor, &Tensor),
        slopes: Option<&Tensor>,
        device_mask: &DeviceMask,
        scale: f64,
        first: usize,
        count: usize,
    ) -> Result<Tensor> {
        let q = q.narrow(2, first, count)?.contiguous()?.reshape(self.lines(count))?;
        let k = k.contiguous()?.reshape((self.pairs(), self.keys, self.width))?;
        let scores = q.matmul(&k.t()?)?;
        with(&scores, |scores| {
            let (dtype, device) = (scores.0.dtype(), scores.0.device());
            let slopes = slopes.map(|slopes| at(slopes, DType::F32)).transpose()?.unwrap_or(Argument::Null);
            let mut arguments = vec![contiguous(scores, dtype, OP)?, slopes];
            arguments.extend(self.softmax(device, device_mask, scale, first, count)?);
            let extent = Extent::rows(self.batch * self.heads * count, self.keys);
            launch(device, &format!("masked_softmax_{}", suffix(dtype, OP)?), extent, &arguments)
        })?;
        Ok(scores)
    }
}

/// Returns the address of a contiguous tensor of this device, or 0.
fn optional(tensor: Option<&Tensor>, dtype: DType, device: &CudaDevice) -> Result<u64> {
    let Some(tensor) = tensor else { return Ok(0) };
    with(tensor, |operand| {
        contiguous(operand, dtype, OP)?;
        pointer(operand).on(device)
    })
}

/// Returns the number of last keys that are seen; 0 for all.
fn window(device_mask: &DeviceMask) -> i32 {
    let most = i32::MAX / 2;
    device_mask.window.map_or(0, |window| i32::try_from(window).unwrap_or(most).min(most))
}

/// 16-row tiles of a warp and columns of a step, as `FLASH` in `flash.cu` names them.
struct Tiles {
    forward: (usize, usize),
    queries: (usize, usize),
    keys: (usize, usize),
}

fn tiles(width: usize) -> Option<Tiles> {
    match width {
        64 => Some(Tiles { forward: (2, 64), queries: (2, 32), keys: (1, 64) }),
        128 => Some(Tiles { forward: (1, 64), queries: (1, 32), keys: (1, 32) }),
        _ => None,
    }
}

fn by_tiles(q: &Tensor) -> bool {
    let width = q.dims().last().copied().unwrap_or(0);
    matches!(q.dtype(), DType::BF16 | DType::F16) && tiles(width).is_some()
}

/// Strides of (batch, head, row) and whether sixteen bytes of a row can be read at once.
fn strides(tensor: &Tensor) -> ([i64; 3], bool) {
    let (stride, offset) = (tensor.stride(), tensor.layout().start_offset());
    let whole = stride[3] == 1 && offset % 8 == 0 && stride[..3].iter().all(|stride| stride % 8 == 0);
    ([stride[0] as i64, stride[1] as i64, stride[2] as i64], whole)
}

fn readable(tensor: &Tensor) -> Result<Tensor> {
    if strides(tensor).1 { Ok(tensor.clone()) } else { tensor.contiguous()?.copy() }
}

/// Returns the parameters of the tile kernels, except the gradient's strides.
fn parameters(
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    slopes: Option<&Tensor>,
    device_mask: &DeviceMask,
    scale: f64,
) -> Result<Flash> {
    let (sizes, device) = (Sizes::of(q, k)?, q.device().as_cuda_device()?);
    let int = |size: usize| int(size, OP, &sizes.scores());
    Ok(Flash {
        q: strides(q).0,
        k: strides(k).0,
        v: strides(v).0,
        g: [0; 3],
        padded: optional(device_mask.padded.as_ref(), DType::U8, device)?,
        documents: optional(device_mask.documents.as_ref(), DType::U32, device)?,
        slopes: optional(slopes, DType::F32, device)?,
        heads: int(sizes.heads)?,
        kv_heads: int(sizes.kv_heads)?,
        queries: int(sizes.queries)?,
        keys: int(sizes.keys)?,
        past_len: int(device_mask.past_len)?,
        window: window(device_mask),
        causal: 1,
        scale: scale as f32,
    })
}

/// A tensor that lives as long as the argument.
fn at(tensor: &Tensor, dtype: DType) -> Result<Argument<'_>> {
    let pointer = with(tensor, |operand| {
        if operand.0.dtype() != dtype {
            return Err(Error::DTypeMismatchBinaryOp { lhs: dtype, rhs: operand.0.dtype(), op: OP }.bt());
        }
        Ok(pointer(operand).of_shape(None))
    })?;
    Ok(Argument::At(pointer.of_shape(Some(tensor.shape()))))
}

fn grid(lines: usize, warp_tiles: usize, heads: usize, batch: usize, shared: usize) -> Extent {
    Extent { blocks: (lines.div_ceil(64 * warp_tiles), heads, batch), threads: (128, 1), shared }
}

fn forward_by_tiles(
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    slopes: Option<&Tensor>,
    device_mask: &DeviceMask,
    scale: f64,
) -> Result<(Tensor, Tensor)> {
    let (q, k, v) = (readable(q)?, readable(k)?, readable(v)?);
    let (sizes, dtype) = (Sizes::of(&q, &k)?, q.dtype());
    let Some(Tiles { forward: (rows, columns), .. }) = tiles(sizes.width) else {
        candle_core::bail!("attention by tiles is for heads of 64 or 128")
    };
    let flash = parameters((&q, &k, &v), slopes, device_mask, scale)?;
    let device = q.device().as_cuda_device()?;
    let lines = sizes.batch * sizes.heads * sizes.queries;
    let (out, saved) = (empty(device, dtype, lines * sizes.width)?, empty(device, DType::F32, lines)?);
    let shared = 2 * sizes.width * (64 * rows + 4 * columns);
    let arguments =
        [whole(&out), whole(&saved), at(&q, dtype)?, at(&k, dtype)?, at(&v, dtype)?, Argument::Flash(flash)];
    let kernel = format!("flash_forward_{}_{}", sizes.width, suffix(dtype, OP)?);
    launch(device, &kernel, grid(sizes.queries, rows, sizes.heads, sizes.batch, shared), &arguments)?;
    let shape = (sizes.batch, sizes.heads, sizes.queries, sizes.width);
    Ok((tensor(out, shape), tensor(saved, (sizes.batch, sizes.heads, sizes.queries))))
}

fn backward_by_tiles(
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    slopes: Option<&Tensor>,
    device_mask: &DeviceMask,
    scale: f64,
    (out, saved, g): (&Tensor, &Tensor, &Tensor),
) -> Result<AttentionGradients> {
    let (q, k, v, g) = (readable(q)?, readable(k)?, readable(v)?, readable(g)?);
    let (sizes, dtype) = (Sizes::of(&q, &k)?, q.dtype());
    let Sizes { batch, heads, kv_heads, queries, keys, width } = sizes;
    let Some(tiles) = tiles(width) else { candle_core::bail!("attention by tiles is for heads of 64 or 128") };
    let (device, suffix) = (q.device().as_cuda_device()?, suffix(dtype, OP)?);
    let flash = Flash { g: strides(&g).0, ..parameters((&q, &k, &v), slopes, device_mask, scale)? };
    let lines = batch * heads * queries;

    let along = empty(device, DType::F32, lines)?;
    let out = out.contiguous()?;
    let dots = [whole(&along), at(&out, dtype)?, at(&g, dtype)?, Argument::Flash(flash)];
    let dots = [dots.as_slice(), &[Argument::Int(width), Argument::Long(lines)]].concat();
    let extent = Extent { blocks: (lines.div_ceil(8), 1, 1), threads: (256, 1), shared: 0 };
    launch(device, &format!("flash_output_dot_{suffix}"), extent, &dots)?;

    let inputs = [
        at(&q, dtype)?,
        at(&k, dtype)?,
        at(&v, dtype)?,
        at(&g, dtype)?,
        at(saved, DType::F32)?,
        whole(&along),
        Argument::Flash(flash),
    ];
    let of_q = empty(device, dtype, lines * width)?;
    let (rows, columns) = tiles.queries;
    let extent = grid(queries, rows, heads, batch, 2 * width * (2 * 64 * rows + 4 * columns));
    let of_slopes = empty(device, DType::F32, batch * heads * extent.blocks.0)?;
    let sums = if slopes.is_some() { whole(&of_slopes) } else { Argument::Null };
    let kernel = format!("flash_backward_queries_{width}_{suffix}");
    launch(device, &kernel, extent, &[[whole(&of_q), sums].as_slice(), &inputs].concat())?;
    let of_slopes = match slopes {
        Some(_) => Some(tensor(of_slopes, (batch, heads, extent.blocks.0)).sum((0, 2))?),
        None => None,
    };

    let count = batch * kv_heads * keys * width;
    let (of_k, of_v) = (empty(device, dtype, count)?, empty(device, dtype, count)?);
    let (rows, columns) = tiles.keys;
    let extent = grid(keys, rows, kv_heads, batch, 2 * width * (2 * 64 * rows + 4 * columns) + 16 * columns);
    let kernel = format!("flash_backward_keys_{width}_{suffix}");
    launch(device, &kernel, extent, &[[whole(&of_k), whole(&of_v)].as_slice(), &inputs].concat())?;
    let of_keys = |storage| tensor(storage, (batch, kv_heads, keys, width));
    Ok((tensor(of_q, (batch, heads, queries, width)), of_keys(of_k), of_keys(of_v), of_slopes))
}
