//! Attention by the kernels of a GPU, as candle operations.

use std::sync::{Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp3, DType, Layout, Result, Shape, Storage, Tensor};

use super::attention_mask::AttentionMask;
use crate::ops::collect::accumulate_grad;
use crate::ops::cuda::{self, DeviceMask, DeviceScores};

/// softmax(q kᵀ · scale + bias) v; see [`attention`](super::attention).
pub(super) fn attend(
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    (slopes, sinks): (Option<&Tensor>, Option<&Tensor>),
    mask: &AttentionMask,
    (scale, softcap): (f64, Option<f64>),
) -> Result<Tensor> {
    let device_mask = mask.device_mask(q.device())?;
    // A query that sees nothing averages all keys, which the tiles cannot do, because they skip hidden keys.
    let tiles = !mask.has_fully_masked();
    let wide =
        |values: Option<&Tensor>| values.map(|values| values.detach().to_dtype(DType::F32)?.contiguous()).transpose();
    let per_head = PerHead { slopes: wide(slopes)?, sinks: wide(sinks)? };
    let scores = per_head.scores(scale, softcap);
    let (out, saved) = cuda::attend((&q.detach(), &k.detach(), &v.detach()), &scores, &device_mask, tiles)?;
    let tracked = [Some(q), Some(k), Some(v), slopes, sinks].into_iter().flatten().any(Tensor::track_op);
    if !tracked {
        return Ok(out);
    }
    let call = Attend { device_mask, scale, softcap, saved, per_head, out: Mutex::new(Some(out)) };
    let Some(given) = slopes.or(sinks) else { return q.apply_op3(k, v, call) };
    // Stacked, because a custom operation has at most three arguments.
    let nothing = given.zeros_like()?;
    let of = |values: Option<&Tensor>| values.unwrap_or(&nothing).to_dtype(given.dtype());
    q.apply_op3(&Tensor::stack(&[k, v], 0)?, &Tensor::stack(&[of(slopes)?, of(sinks)?], 0)?, call)
}

/// Numbers of each head, in float32.
struct PerHead {
    slopes: Option<Tensor>,
    sinks: Option<Tensor>,
}

impl PerHead {
    fn scores(&self, scale: f64, softcap: Option<f64>) -> DeviceScores<'_> {
        DeviceScores { scale, softcap, slopes: self.slopes.as_ref(), sinks: self.sinks.as_ref() }
    }
}

/// (q, k, v) or (q, stacked k and v, stacked slopes and sinks) → the output, which was computed before.
struct Attend {
    device_mask: DeviceMask,
    scale: f64,
    softcap: Option<f64>,
    saved: Tensor,
    per_head: PerHead,
    /// Taken by the only forward.
    out: Mutex<Option<Tensor>>,
}

const NAME: &str = "attention-on-gpu";

impl CustomOp3 for Attend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        candle_core::bail!("{NAME}: the operands are on the CPU")
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let Some(out) = self.out.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            candle_core::bail!("{NAME}: the value was taken before")
        };
        let (storage, layout) = out.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            _ => candle_core::bail!("{NAME}: the value is elsewhere"),
        }
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        out: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let results = (&out.detach(), &self.saved, g);
        let scores = self.per_head.scores(self.scale, self.softcap);
        if self.per_head.slopes.is_none() && self.per_head.sinks.is_none() {
            let operands = (&q.detach(), &k.detach(), &v.detach());
            let of = cuda::attend_backward(operands, &scores, &self.device_mask, results)?;
            return Ok((accumulate_grad(q, of.q)?, accumulate_grad(k, of.k)?, accumulate_grad(v, of.v)?));
        }
        let ((both, per_head), both_detached) = ((k, v), k.detach());
        let operands = (&q.detach(), &both_detached.get(0)?, &both_detached.get(1)?);
        let of = cuda::attend_backward(operands, &scores, &self.device_mask, results)?;
        let nothing = Tensor::zeros(per_head.dim(1)?, DType::F32, per_head.device())?;
        let of_heads = [of.slopes.unwrap_or_else(|| nothing.clone()), of.sinks.unwrap_or(nothing)];
        let of_heads = Tensor::stack(&of_heads, 0)?.to_dtype(per_head.dtype())?;
        let of_both = accumulate_grad(both, Tensor::stack(&[of.k, of.v], 0)?)?;
        Ok((accumulate_grad(q, of.q)?, of_both, accumulate_grad(per_head, of_heads)?))
    }
}
