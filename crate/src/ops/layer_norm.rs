//! Layer normalization.

use candle_core::{CpuStorage, CudaStorage, CustomOp3, D, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::collect::accumulate_grad;
use super::cuda;
use super::element::{Element, Wide, by_element, inside, made, slice};
use super::rows::{dot, dot3, per_task, summed_rows, total, width};

/// (x − mean x) / √(variance x + eps) · weight + bias over the last dimension, computed in float32 (float64 for float64
/// tensors); the variance is that of the population. x `[…, h]`, weight and bias `[h]` → `[…, h]`.
///
/// # Errors
/// candle's error, if shapes, element types or devices do not match.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    if !x.device().is_cpu() && !cuda::serves(x) {
        return composed(x, weight, bias, eps);
    }
    let bias = match bias {
        Some(bias) => bias.contiguous()?,
        None => weight.zeros_like()?,
    };
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias, LayerNorm { eps })
}

/// Composes the same of candle's differentiable operations.
fn composed(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    let inside = inside(x.dtype());
    let wide = x.to_dtype(inside)?;
    let centered = wide.broadcast_sub(&wide.mean_keepdim(D::Minus1)?)?;
    let scale = (centered.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()?;
    let scaled = centered.broadcast_mul(&scale)?.broadcast_mul(&weight.to_dtype(inside)?)?;
    let shifted = match bias {
        Some(bias) => scaled.broadcast_add(&bias.to_dtype(inside)?)?,
        None => scaled,
    };
    shifted.to_dtype(x.dtype())
}

struct LayerNorm {
    eps: f64,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
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
            let bias = slice::<T>(s3, l3, self.name())?;
            let width = width(l1, l2, self.name())?.min(self::width(l1, l3, self.name())?);
            Ok(made(forward(x, weight, bias, width, self.eps), l1.shape()))
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
        cuda::layer_norm((s1, l1), (s2, l2), (s3, l3), self.eps)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let width = weight.elem_count();
        let rows = x.elem_count() / width;
        let all = x.apply_op3_no_bwd(weight, &g.contiguous()?, &LayerNormBackward { eps: self.eps })?;
        let of_x = all.narrow(0, 0, rows)?.reshape(x.shape())?;
        let of_weight = all.narrow(0, rows, 1)?.reshape(width)?.copy()?;
        let of_bias = all.narrow(0, rows + 1, 1)?.reshape(width)?.copy()?;
        Ok((accumulate_grad(x, of_x)?, accumulate_grad(weight, of_weight)?, accumulate_grad(bias, of_bias)?))
    }
}

/// (x, weight, gradient of y) → `[rows + 2, h]`: the gradient of x, and below it those of weight and bias.
struct LayerNormBackward {
    eps: f64,
}

impl CustomOp3 for LayerNormBackward {
    fn name(&self) -> &'static str {
        "layer-norm-backward"
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
            let gradients = backward(x, weight, slice::<T>(s3, l3, self.name())?, width, self.eps);
            Ok(made(gradients, (x.len() / width + 2, width)))
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
        cuda::layer_norm_backward((s1, l1), (s2, l2), (s3, l3), self.eps)
    }
}

/// Returns the mean, and 1 / √(variance + eps) from centered values, because the difference of squares would cancel.
fn moments<T: Element>(row: &[T], eps: f64) -> (T::Wide, T::Wide) {
    let count = T::Wide::of(row.len() as f64);
    let mean = total(row) / count;
    let squares: T::Wide = row.iter().map(|x| (x.wide() - mean) * (x.wide() - mean)).sum();
    (mean, T::Wide::ONE / (squares / count + T::Wide::of(eps)).sqrt())
}

fn forward<T: Element>(x: &[T], weight: &[T], bias: &[T], width: usize, eps: f64) -> Vec<T> {
    let mut y = vec![T::default(); x.len()];
    y.par_chunks_mut(width).zip(x.par_chunks(width)).with_min_len(per_task(width)).for_each(|(y, x)| {
        let (mean, scale) = moments(x, eps);
        for (((y, x), weight), bias) in y.iter_mut().zip(x).zip(weight).zip(bias) {
            *y = T::narrow((x.wide() - mean) * scale * weight.wide() + bias.wide());
        }
    });
    y
}

/// With n = (x − mean)·r: dx = r·(g·w − mean(g·w) − n·mean(g·w·n)), dw = Σ g·n and db = Σ g over rows.
fn backward<T: Element>(x: &[T], weight: &[T], g: &[T], width: usize, eps: f64) -> Vec<T> {
    let mut gradients = vec![T::default(); x.len() + 2 * width];
    let (of_x, of_rest) = gradients.split_at_mut(x.len());
    let count = T::Wide::of(width as f64);
    let sums = summed_rows((x, g), of_x, width, 2 * width, |(x, g), of_x, sums| {
        let (mean, scale) = moments(x, eps);
        let level = dot(g, weight) / count;
        let along = (dot3(x, g, weight) / count - mean * level) * scale * scale;
        let (of_weight, of_bias) = sums.split_at_mut(width);
        let sums = of_weight.iter_mut().zip(of_bias);
        for ((((of_x, x), g), w), (of_weight, of_bias)) in of_x.iter_mut().zip(x).zip(g).zip(weight).zip(sums) {
            let centered = x.wide() - mean;
            *of_x = T::narrow(scale * (g.wide() * w.wide() - level - centered * along));
            *of_weight += g.wide() * centered * scale;
            *of_bias += g.wide();
        }
    });
    for (gradient, sum) in of_rest.iter_mut().zip(sums) {
        *gradient = T::narrow(sum);
    }
    gradients
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{Inputs, agree};

    #[test]
    fn layer_norm_agrees_with_candle_and_finite_differences() {
        let inputs = Inputs::new(&[("x", &[2, 5, 24]), ("weight", &[24]), ("bias", &[24])]);
        agree(&inputs, |v| layer_norm(&v[0], &v[1], Some(&v[2]), 1e-5), |v| composed(&v[0], &v[1], Some(&v[2]), 1e-5));
    }

    #[test]
    fn layer_norm_needs_no_bias() {
        let inputs = Inputs::new(&[("x", &[3, 17]), ("weight", &[17])]);
        agree(&inputs, |v| layer_norm(&v[0], &v[1], None, 1e-5), |v| composed(&v[0], &v[1], None, 1e-5));
    }
}
