//! Attention by the kernels of a GPU, as candle operations.

use std::sync::{Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp3, DType, Layout, Result, Shape, Storage, Tensor};

use super::attention_mask::AttentionMask;
use crate::ops::collect::accumulate_grad;
use crate::ops::cuda::{self, DeviceMask};

/// softmax(q kᵀ · scale + bias) v; see [`attention`](super::attention).
pub(super) fn attend(
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    slopes: Option<&Tensor>,
    mask: &AttentionMask,
    scale: f64,
) -> Result<Tensor> {
    let device_mask = mask.device_mask(q.device())?;
    // A query that sees nothing averages all keys, which the tiles cannot do, because they skip hidden keys.
    let tiles = !mask.has_fully_masked();
    let wide = slopes.map(|slopes| slopes.detach().to_dtype(DType::F32)?.contiguous()).transpose()?;
    let (out, saved) =
        cuda::attend((&q.detach(), &k.detach(), &v.detach()), wide.as_ref(), &device_mask, scale, tiles)?;
    let tracked = [Some(q), Some(k), Some(v), slopes].into_iter().flatten().any(Tensor::track_op);
    if !tracked {
        return Ok(out);
    }
    let call = Attend { device_mask, scale, saved, slopes: wide, out: Mutex::new(Some(out)) };
    match slopes {
        None => q.apply_op3(k, v, call),
        // Stacked, because a custom operation has at most three arguments.
        Some(slopes) => q.apply_op3(&Tensor::stack(&[k, v], 0)?, slopes, call),
    }
}

/// (q, k, v) or (q, stacked k and v, slopes) → the output, which was computed before.
struct Attend {
    device_mask: DeviceMask,
    scale: f64,
    saved: Tensor,
    slopes: Option<Tensor>,
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
        let Some(slopes) = &self.slopes else {
            let operands = (&q.detach(), &k.detach(), &v.detach());
            let (of_q, of_k, of_v, _) = cuda::attend_backward(operands, None, &self.device_mask, self.scale, results)?;
            return Ok((accumulate_grad(q, of_q)?, accumulate_grad(k, of_k)?, accumulate_grad(v, of_v)?));
        };
        let ((both, given), both_detached) = ((k, v), k.detach());
        let operands = (&q.detach(), &both_detached.get(0)?, &both_detached.get(1)?);
        let (of_q, of_k, of_v, of_slopes) =
            cuda::attend_backward(operands, Some(slopes), &self.device_mask, self.scale, results)?;
        let of_slopes = match of_slopes {
            Some(of_slopes) => accumulate_grad(given, of_slopes.to_dtype(given.dtype())?.reshape(given.shape())?)?,
            None => None,
        };
        Ok((accumulate_grad(q, of_q)?, accumulate_grad(both, Tensor::stack(&[of_k, of_v], 0)?)?, of_slopes))
    }
}
