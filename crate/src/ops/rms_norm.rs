//! Root-mean-square normalization.

use candle_core::{CpuStorage, CudaStorage, CustomOp2, CustomOp3, D, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::collect::accumulate_grad;
use super::cuda;
use super::element::{Element, Wide, by_element, inside, made, slice};
use super::rows::{dot, dot3, per_task, summed_rows, width};

/// x / √(mean(x²) + eps) · weight over the last dimension, in float32 inside (float64 for float64 tensors).
/// x `[…, h]`, weight `[h]` → `[…, h]`.
///
/// # Errors
/// candle's error, if shapes, element types or devices do not match.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    rms_norm_offset(x, weight, 0.0, eps)
}

/// As [`rms_norm`] with the factors weight + offset, which are added in float32.
///
/// # Errors
/// candle's error, if shapes, element types or devices do not match.
pub fn rms_norm_offset(x: &Tensor, weight: &Tensor, offset: f64, eps: f64) -> Result<Tensor> {
    if !x.device().is_cpu() && !cuda::serves(x) {
        return composed(x, weight, offset, eps);
    }
    if !x.device().is_cpu() && offset != 0.0 {
        // The kernel takes factors as they are.
        let shifted = weight.affine(1.0, offset)?;
        return x.contiguous()?.apply_op2(&shifted, RmsNorm { offset: 0.0, eps });
    }
    x.contiguous()?.apply_op2(&weight.contiguous()?, RmsNorm { offset, eps })
}

/// Composes the same of candle's differentiable operations.
fn composed(x: &Tensor, weight: &Tensor, offset: f64, eps: f64) -> Result<Tensor> {
    let inside = inside(x.dtype());
    let wide = x.to_dtype(inside)?;
    let scale = (wide.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()?;
    wide.broadcast_mul(&scale)?.broadcast_mul(&(weight.to_dtype(inside)? + offset)?)?.to_dtype(x.dtype())
}

struct RmsNorm {
    offset: f64,
    eps: f64,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        by_element!(s1, self.name(), T => {
            let (x, weight) = (slice::<T>(s1, l1, self.name())?, slice::<T>(s2, l2, self.name())?);
            let width = width(l1, l2, self.name())?;
            Ok(made(forward(x, weight, width, (self.offset, self.eps)), l1.shape()))
        })
    }

    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda::rms_norm((s1, l1), (s2, l2), self.eps)
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let width = weight.elem_count();
        let rows = x.elem_count() / width;
        let both =
            x.apply_op3_no_bwd(weight, &g.contiguous()?, &RmsNormBackward { offset: self.offset, eps: self.eps })?;
        let of_x = both.narrow(0, 0, rows)?.reshape(x.shape())?;
        let of_weight = both.narrow(0, rows, 1)?.reshape(width)?.copy()?;
        Ok((accumulate_grad(x, of_x)?, accumulate_grad(weight, of_weight)?))
    }
}

/// (x, weight, gradient of y) → `[rows + 1, h]`: the gradient of x, and below it that of the weight.
struct RmsNormBackward {
    offset: f64,
    eps: f64,
}

impl CustomOp3 for RmsNormBackward {
    fn name(&self) -> &'static str {
        "rms-norm-backward"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_element!(s1, self.name(), T => {
            let (x, weight) = (slice::<T>(s1, l1, self.name())?, slice::<T>(s2, l2, self.name())?);
            let width = width(l1, l2, self.name())?;
            let gradients = backward(x, weight, slice::<T>(s3, l3, self.name())?, width, (self.offset, self.eps));
            Ok(made(gradients, (x.len() / width + 1, width)))
        })
    }

    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
        s3: &CudaStorage,
        l3: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        cuda::rms_norm_backward((s1, l1), (s2, l2), (s3, l3), self.eps)
    }
}

/// 1 / √(mean(x²) + eps).
fn scale<T: Element>(row: &[T], eps: f64) -> T::Wide {
    T::Wide::ONE / (dot(row, row) / T::Wide::of(row.len() as f64) + T::Wide::of(eps)).sqrt()
}

fn forward<T: Element>(x: &[T], weight: &[T], width: usize, (offset, eps): (f64, f64)) -> Vec<T> {
    let offset = T::Wide::of(offset);
    let mut y = vec![T::default(); x.len()];
    y.par_chunks_mut(width).zip(x.par_chunks(width)).with_min_len(per_task(width)).for_each(|(y, x)| {
        let scale = scale(x, eps);
        for ((y, x), weight) in y.iter_mut().zip(x).zip(weight) {
            *y = T::narrow(x.wide() * scale * (weight.wide() + offset));
        }
    });
    y
}

/// With n = x·r, r = 1/√(mean(x²) + eps): dx = r·(g·w − n·mean(g·w·n)), dw = Σ over rows of g·n.
fn backward<T: Element>(x: &[T], weight: &[T], g: &[T], width: usize, (offset, eps): (f64, f64)) -> Vec<T> {
    let offset = T::Wide::of(offset);
    let mut gradients = vec![T::default(); x.len() + width];
    let (of_x, of_weight) = gradients.split_at_mut(x.len());
    let sums = summed_rows((x, g), of_x, width, width, |(x, g), of_x, sums| {
        let scale = scale(x, eps);
        let mut along = dot3(x, g, weight);
        if offset != T::Wide::ZERO {
            along += offset * dot(x, g);
        }
        let back = along * scale * scale / T::Wide::of(width as f64);
        for ((((of_x, x), g), w), sum) in of_x.iter_mut().zip(x).zip(g).zip(weight).zip(sums) {
            *of_x = T::narrow(scale * (g.wide() * (w.wide() + offset) - x.wide() * back));
            *sum += g.wide() * x.wide() * scale;
        }
    });
    for (of_weight, sum) in of_weight.iter_mut().zip(sums) {
        *of_weight = T::narrow(sum);
    }
    gradients
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::ops::check::{Inputs, agree};

    #[test]
    fn rms_norm_agrees_with_candle_and_finite_differences() {
        let inputs = Inputs::new(&[("x", &[2, 5, 24]), ("weight", &[24])]);
        agree(&inputs, |v| rms_norm(&v[0], &v[1], 1e-5), |v| composed(&v[0], &v[1], 0.0, 1e-5));
        agree(&inputs, |v| rms_norm_offset(&v[0], &v[1], 1.0, 1e-5), |v| composed(&v[0], &v[1], 1.0, 1e-5));
    }

    #[test]
    fn a_row_of_zeros_stays_finite() {
        let x = Tensor::zeros((1, 4), DType::F32, &candle_core::Device::Cpu).unwrap();
        let y = rms_norm(&x, &Tensor::ones(4, DType::F32, x.device()).unwrap(), 1e-6).unwrap();
        assert_eq!(y.to_vec2::<f32>().unwrap(), [[0.0; 4]]);
    }
}
