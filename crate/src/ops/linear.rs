//! Linear layers.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::collect::accumulate_grad;
use super::cuda;
use super::element::{Element, Wide, by_element};
use super::rows::per_task;

/// x Wᵀ + b over the last dimension: x `[…, in]`, W `[out, in]`, b `[out]` → `[…, out]`.
///
/// The gradient of W is computed as gᵀ x in W's own layout; candle's composition computes its transpose and copies.
///
/// # Errors
/// candle's error, if shapes, element types or devices do not match.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match bias {
        None => x.apply_op2(&weight, Linear),
        Some(bias) if x.device().is_cpu() || cuda::serves(&x) => x.apply_op3(&weight, &bias.contiguous()?, Linear),
        Some(bias) => x.apply_op2(&weight, Linear)?.broadcast_add(bias),
    }
}

struct Linear;

/// Matrices, rows, columns and the summed dimension of a product, as candle takes them.
pub(super) type Product = (usize, usize, usize, usize);

/// Returns the product's sizes (1, rows, out, in), the layouts of x and Wᵀ as matrices, and the result's shape.
pub(super) fn sizes(x: &Layout, weight: &Layout) -> Result<(Product, Layout, Layout, Shape)> {
    let (outputs, inputs) = weight.shape().dims2()?;
    let mut dims = x.dims().to_vec();
    match dims.last_mut() {
        Some(last) if *last == inputs => *last = outputs,
        _ => {
            let (lhs, rhs) = (x.shape().clone(), weight.shape().clone());
            return Err(candle_core::Error::ShapeMismatchBinaryOp { lhs, rhs, op: "linear" }.bt());
        }
    }
    let rows = x.shape().elem_count() / inputs;
    let x = Layout::contiguous_with_offset((rows, inputs), x.start_offset());
    Ok(((1, rows, outputs, inputs), x, weight.transpose(0, 1)?, Shape::from(dims)))
}

/// Returns the gradients of x and W for g `[…, out]`.
pub(super) fn backward(x: &Tensor, weight: &Tensor, g: &Tensor) -> Result<(Tensor, Tensor)> {
    let (outputs, inputs) = weight.dims2()?;
    let rows = x.elem_count() / inputs;
    let g = g.contiguous()?.reshape((rows, outputs))?;
    let of_x = g.matmul(&weight.detach())?.reshape(x.shape())?;
    let of_weight = g.t()?.matmul(&x.detach().reshape((rows, inputs))?)?;
    Ok((of_x, of_weight))
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (sizes, x, weight, shape) = sizes(l1, l2)?;
        Ok((s1.matmul(s2, sizes, &x, &weight)?, shape))
    }

    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout, s2: &CudaStorage, l2: &Layout) -> Result<(CudaStorage, Shape)> {
        let (sizes, x, weight, shape) = sizes(l1, l2)?;
        Ok((s1.matmul(s2, sizes, &x, &weight)?, shape))
    }

    fn bwd(&self, x: &Tensor, weight: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (of_x, of_weight) = backward(x, weight, g)?;
        Ok((accumulate_grad(x, of_x)?, accumulate_grad(weight, of_weight)?))
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear-with-bias"
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
        let (sizes, x, weight, shape) = sizes(l1, l2)?;
        let mut product = s1.matmul(s2, sizes, &x, &weight)?;
        if l3.dims() != [sizes.2] {
            let (lhs, rhs) = (l2.shape().clone(), l3.shape().clone());
            return Err(candle_core::Error::ShapeMismatchBinaryOp { lhs, rhs, op: "linear-with-bias" }.bt());
        }
        by_element!(s1, "linear-with-bias", T => {
            let bias = super::element::slice::<T>(s3, l3, "linear-with-bias")?;
            if let Some(y) = T::values_mut(&mut product) {
                y.par_chunks_mut(bias.len()).with_min_len(per_task(bias.len())).for_each(|y| {
                    y.iter_mut().zip(bias).for_each(|(y, bias)| *y = T::narrow(y.wide() + bias.wide()));
                });
            }
            Ok(())
        })?;
        Ok((product, shape))
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
        let (sizes, x, weight, shape) = sizes(l1, l2)?;
        let product = s1.matmul(s2, sizes, &x, &weight)?;
        if l3.dims() != [sizes.2] {
            let (lhs, rhs) = (l2.shape().clone(), l3.shape().clone());
            return Err(candle_core::Error::ShapeMismatchBinaryOp { lhs, rhs, op: "linear-with-bias" }.bt());
        }
        cuda::add_bias(&product, (s3, l3))?;
        Ok((product, shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (of_x, of_weight) = backward(x, weight, g)?;
        let of_bias = g.contiguous()?.apply_op1_no_bwd(&ColumnSums)?;
        Ok((accumulate_grad(x, of_x)?, accumulate_grad(weight, of_weight)?, accumulate_grad(bias, of_bias)?))
    }
}

/// `[…, n]` → `[n]`: sums over rows, in the wide type.
struct ColumnSums;

impl candle_core::CustomOp1 for ColumnSums {
    fn name(&self) -> &'static str {
        "column-sums"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = layout.dims().last().copied().unwrap_or(1).max(1);
        by_element!(storage, "column-sums", T => {
            let x = super::element::slice::<T>(storage, layout, "column-sums")?;
            let block = width * (x.len() / width).div_ceil(64).max(per_task(width));
            let partial: Vec<Vec<<T as Element>::Wide>> = x.par_chunks(block).map(|rows| {
                let mut sums = vec![<T as Element>::Wide::ZERO; width];
                for row in rows.chunks(width) {
                    sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x.wide());
                }
                sums
            }).collect();
            let mut total = vec![<T as Element>::Wide::ZERO; width];
            for sums in partial {
                total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
            }
            Ok(super::element::made(T::narrowed(total), width))
        })
    }

    fn cuda_fwd(&self, s1: &CudaStorage, l1: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda::column_sums((s1, l1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::{Inputs, agree};

    fn composed(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let (rows, dims) = (x.elem_count() / weight.dim(1)?, x.dims());
        let y = x.reshape((rows, weight.dim(1)?))?.matmul(&weight.t()?)?;
        let y = bias.map_or(Ok(y.clone()), |bias| y.broadcast_add(bias))?;
        y.reshape([&dims[..dims.len() - 1], &[weight.dim(0)?]].concat())
    }

    #[test]
    fn linear_agrees_with_candle_and_finite_differences() {
        let inputs = Inputs::new(&[("x", &[2, 3, 7]), ("weight", &[5, 7])]);
        agree(&inputs, |v| linear(&v[0], &v[1], None), |v| composed(&v[0], &v[1], None));
    }

    #[test]
    fn linear_with_bias_agrees_with_candle_and_finite_differences() {
        let inputs = Inputs::new(&[("x", &[6, 7]), ("weight", &[5, 7]), ("bias", &[5])]);
        agree(&inputs, |v| linear(&v[0], &v[1], Some(&v[2])), |v| composed(&v[0], &v[1], Some(&v[2])));
    }

    #[test]
    fn a_window_of_a_larger_tensor_is_taken_at_its_place() {
        let device = candle_core::Device::Cpu;
        let x = Tensor::arange(0f32, 24f32, &device).unwrap().reshape((4, 6)).unwrap().narrow(0, 1, 2).unwrap();
        let weight = Tensor::ones((1, 6), candle_core::DType::F32, &device).unwrap();
        assert_eq!(linear(&x, &weight, None).unwrap().to_vec2::<f32>().unwrap(), [[51.0], [87.0]]);
    }
}
