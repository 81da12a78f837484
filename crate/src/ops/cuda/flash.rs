//! Attention by tiles on tensor cores: the launches of `flash.cu`.

use candle_core::{DType, Result, Tensor};

use super::attention::{OP, Sizes, at, optional, window};
use super::launch::{Argument, Extent, Flash, empty, int, launch, suffix, tensor, whole};
use super::{AttentionGradients, DeviceMask, DeviceScores};

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

/// Returns whether there is a kernel for these queries.
pub(super) fn by_tiles(q: &Tensor) -> bool {
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
    scores: &DeviceScores<'_>,
    device_mask: &DeviceMask,
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
        slopes: optional(scores.slopes, DType::F32, device)?,
        sinks: optional(scores.sinks, DType::F32, device)?,
        heads: int(sizes.heads)?,
        kv_heads: int(sizes.kv_heads)?,
        queries: int(sizes.queries)?,
        keys: int(sizes.keys)?,
        past_len: int(device_mask.past_len)?,
        window: window(device_mask),
        causal: 1,
        scale: scores.scale as f32,
        cap: scores.softcap.unwrap_or(0.0) as f32,
    })
}

fn grid(lines: usize, warp_tiles: usize, heads: usize, batch: usize, shared: usize) -> Extent {
    Extent { blocks: (lines.div_ceil(64 * warp_tiles), heads, batch), threads: (128, 1), shared }
}

pub(super) fn forward_by_tiles(
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    scores: &DeviceScores<'_>,
    device_mask: &DeviceMask,
) -> Result<(Tensor, Tensor)> {
    let (q, k, v) = (readable(q)?, readable(k)?, readable(v)?);
    let (sizes, dtype) = (Sizes::of(&q, &k)?, q.dtype());
    let Some(Tiles { forward: (rows, columns), .. }) = tiles(sizes.width) else {
        candle_core::bail!("attention by tiles is for heads of 64 or 128")
    };
    let flash = parameters((&q, &k, &v), scores, device_mask)?;
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

pub(super) fn backward_by_tiles(
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    scores: &DeviceScores<'_>,
    device_mask: &DeviceMask,
    (out, saved, g): (&Tensor, &Tensor, &Tensor),
) -> Result<AttentionGradients> {
    let (q, k, v, g) = (readable(q)?, readable(k)?, readable(v)?, readable(g)?);
    let (sizes, dtype) = (Sizes::of(&q, &k)?, q.dtype());
    let Sizes { batch, heads, kv_heads, queries, keys, width } = sizes;
    let Some(tiles) = tiles(width) else { candle_core::bail!("attention by tiles is for heads of 64 or 128") };
    let (device, suffix) = (q.device().as_cuda_device()?, suffix(dtype, OP)?);
    let flash = Flash { g: strides(&g).0, ..parameters((&q, &k, &v), scores, device_mask)? };
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
    let sums = if scores.slopes.is_some() { whole(&of_slopes) } else { Argument::Null };
    let kernel = format!("flash_backward_queries_{width}_{suffix}");
    launch(device, &kernel, extent, &[[whole(&of_q), sums].as_slice(), &inputs].concat())?;
    let slopes = match scores.slopes {
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
    let (q, k, v) = (tensor(of_q, (batch, heads, queries, width)), of_keys(of_k), of_keys(of_v));
    let sinks = match scores.sinks {
        Some(sinks) => Some(of_sinks(sinks, saved, &tensor(along, (batch, heads, queries)))?),
        None => None,
    };
    Ok(AttentionGradients { q, k, v, slopes, sinks })
}

/// Returns the gradients of sinks `[heads]`. A row's is minus its sink's weight times the sum of its output and the output's
/// gradient, as the sink's value is zero. Rows' log-sum-exps are base 2.
fn of_sinks(sinks: &Tensor, log_sums: &Tensor, along: &Tensor) -> Result<Tensor> {
    let sinks = (sinks * std::f64::consts::LOG2_E)?.reshape((1, sinks.dim(0)?, 1))?;
    let shares = (sinks.broadcast_sub(log_sums)? * std::f64::consts::LN_2)?.exp()?;
    (shares * along)?.sum((0, 2))?.neg()
}
