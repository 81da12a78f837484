//! Products with a low-bit weight.

use std::cell::RefCell;

use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::super::collect::accumulate_grad;
use super::super::cuda;
use super::super::element::{Window, by_element, made, product, slice};
use super::super::rows::{dot, per_task};
use super::decode;
use super::fake::{narrow, round_rows, wide};
use super::fit::{largest, nonzero};
use super::numbers::{bounds, half_range, round_whole};
use super::weight::{QuantizedWeight, WeightRows};
use crate::spec::QuantDType;

/// Up to this many tokens, each row of the weight is decoded while it is multiplied; for more, blocks of rows are decoded for
/// a matrix product.
const FEW: usize = 8;
/// The weights of such a block of rows, approximately.
const BLOCK: usize = 1 << 19;

/// x Wᵀ + b over the last dimension: x `[…, in]`, W `[out, in]`, b `[out]` → `[…, out]`. If the scheme says so, x is
/// rounded first, token by token. Sums are float32, and integer sums where both operands are integers.
///
/// W is not trained: only x gets a gradient, and rounding x passes it on unchanged.
///
/// # Errors
/// candle's error, if shapes, element types or devices do not match.
pub fn quantized_linear(x: &Tensor, weight: &QuantizedWeight, bias: Option<&Tensor>) -> Result<Tensor> {
    if !x.device().same_device(weight.numbers.device()) {
        candle_core::bail!("quantized-linear: x and the weight are on different devices")
    }
    let y = x.contiguous()?.apply_op1(QuantizedLinear(weight.clone()))?;
    bias.map_or(Ok(y.clone()), |bias| y.broadcast_add(bias))
}

struct QuantizedLinear(QuantizedWeight);

impl QuantizedLinear {
    /// Returns the number of tokens, and the shape of the result.
    fn sizes(&self, x: &Layout) -> Result<(usize, Shape)> {
        let mut dims = x.dims().to_vec();
        match dims.last_mut() {
            Some(last) if *last == self.0.inputs => *last = self.0.outputs,
            _ => {
                let (lhs, rhs) = (x.shape().clone(), Shape::from((self.0.outputs, self.0.inputs)));
                return Err(candle_core::Error::ShapeMismatchBinaryOp { lhs, rhs, op: self.name() }.bt());
            }
        }
        Ok((x.shape().elem_count() / self.0.inputs, Shape::from(dims)))
    }
}

impl CustomOp1 for QuantizedLinear {
    fn name(&self) -> &'static str {
        "quantized-linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, shape) = self.sizes(layout)?;
        by_element!(storage, self.name(), T => {
            let x: Vec<f32> =
                slice::<T>(storage, layout, self.name())?.iter().map(|x| wide(*x)).collect();
            let y = self.0.read(|rows| self.0.forward(rows, x, tokens))?;
            Ok(made(y.into_iter().map(narrow::<T>).collect(), shape))
        })
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let (_, shape) = self.sizes(layout)?;
        Ok((cuda::quantized_linear((storage, layout), &self.0.call())?, shape))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let g = g.contiguous()?.reshape(((), self.0.outputs))?;
        let of_x = g.matmul(&self.0.dequantize(x.dtype())?)?.reshape(x.shape())?;
        accumulate_grad(x, of_x)
    }
}

impl QuantizedWeight {
    /// x `[tokens, inputs]` → `[tokens, outputs]`.
    fn forward(&self, rows: WeightRows<'_>, mut x: Vec<f32>, tokens: usize) -> Result<Vec<f32>> {
        let whole = self.scheme.weights != QuantDType::F8E4M3 && self.scheme.activations == Some(QuantDType::Int8);
        let transposed = if tokens > FEW {
            if let Some(numbers) = self.scheme.activations {
                round_rows(numbers, &mut x, self.inputs);
            }
            return self.many(rows, x, tokens);
        } else if whole {
            self.few_whole(rows, &x, tokens)
        } else {
            if let Some(numbers) = self.scheme.activations {
                round_rows(numbers, &mut x, self.inputs);
            }
            self.few(rows, &x, tokens)
        };
        // One row of the weight gave a value for each token.
        if tokens == 1 {
            return Ok(transposed);
        }
        let value = |place: usize| transposed[(place % self.outputs) * tokens + place / self.outputs];
        Ok((0..tokens * self.outputs).map(value).collect())
    }

    /// → `[outputs, tokens]`; each row is decoded into a buffer of its thread.
    fn few(&self, rows: WeightRows<'_>, x: &[f32], tokens: usize) -> Vec<f32> {
        thread_local! {
            static ROW: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
        }
        self.each_row(tokens, |row, out| {
            let (bytes, scales) = rows.at(row);
            ROW.with_borrow_mut(|values| {
                values.resize(self.inputs, 0.0);
                decode::values(&self.scheme, bytes, scales, values);
                out.iter_mut().zip(x.chunks_exact(self.inputs)).for_each(|(y, x)| *y = dot(values, x));
            });
        })
    }

    /// Returns the same with x as integers: sums of products of bytes, group by group.
    fn few_whole(&self, rows: WeightRows<'_>, x: &[f32], tokens: usize) -> Vec<f32> {
        thread_local! {
            static ROW: RefCell<Vec<i8>> = const { RefCell::new(Vec::new()) };
        }
        let size = self.scheme.group_size(self.inputs);
        let mut numbers = vec![0i8; x.len()];
        let tokens_of_x = numbers.chunks_exact_mut(self.inputs).zip(x.chunks_exact(self.inputs));
        let steps: Vec<f32> = tokens_of_x.map(|(numbers, x)| whole_numbers(x, numbers)).collect();
        self.each_row(tokens, |row, out| {
            let (bytes, scales) = rows.at(row);
            ROW.with_borrow_mut(|weights| {
                weights.resize(self.inputs, 0);
                decode::whole_numbers(&self.scheme, bytes, weights);
                for ((y, x), step) in out.iter_mut().zip(numbers.chunks_exact(self.inputs)).zip(&steps) {
                    let groups = weights.chunks(size).zip(x.chunks(size)).zip(scales);
                    *y = groups.map(|((w, x), scale)| dot_of_bytes(w, x) as f32 * scale).sum::<f32>() * step;
                }
            });
        })
    }

    fn each_row(&self, tokens: usize, row: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
        let mut y = vec![0f32; self.outputs * tokens];
        let each = y.par_chunks_mut(tokens).with_min_len(per_task(self.inputs)).enumerate();
        each.for_each(|(index, out)| row(index, out));
        y
    }

    /// → `[tokens, outputs]`, by matrix products with blocks of decoded rows.
    fn many(&self, rows: WeightRows<'_>, x: Vec<f32>, tokens: usize) -> Result<Vec<f32>> {
        let block = (BLOCK / self.inputs).clamp(1, self.outputs);
        let mut y = vec![0f32; tokens * self.outputs];
        let x = CpuStorage::F32(x);
        for first in (0..self.outputs).step_by(block) {
            let count = block.min(self.outputs - first);
            let mut decoded = vec![0f32; count * self.inputs];
            let each = decoded.par_chunks_mut(self.inputs).with_min_len(per_task(self.inputs)).enumerate();
            each.for_each(|(row, out)| {
                let (bytes, scales) = rows.at(first + row);
                decode::values(&self.scheme, bytes, scales, out);
            });
            let decoded = CpuStorage::F32(decoded);
            let sides = (Window::new(&x, 0, (self.inputs, 1)), Window::new(&decoded, 0, (1, self.inputs)));
            let part: Vec<f32> = product((tokens, count, self.inputs), sides.0, sides.1)?;
            y.par_chunks_mut(self.outputs)
                .with_min_len(per_task(count))
                .zip(part.par_chunks(count))
                .for_each(|(y, part)| y[first..first + count].copy_from_slice(part));
        }
        Ok(y)
    }
}

/// Rounds a token's values to integers and returns their scale.
fn whole_numbers(x: &[f32], numbers: &mut [i8]) -> f32 {
    let step = nonzero(largest(x) / half_range(QuantDType::Int8));
    let bounds = bounds(QuantDType::Int8);
    numbers.iter_mut().zip(x).for_each(|(number, x)| *number = round_whole(x / step, bounds) as i8);
    step
}

/// Σ a·b. Products of two bytes fit into 16 bits, and processors have an instruction for pairs of those.
#[inline(always)]
fn dot_of_bytes(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::ops::check::{Inputs, close, values};
    use crate::ops::rounded_activations;
    use crate::spec::{Granularity, Recipe, Scheme};

    fn schemes() -> Vec<Scheme> {
        let mut schemes: Vec<Scheme> = Recipe::ALL.iter().map(|recipe| recipe.scheme()).collect();
        // As other writers store them.
        schemes.push(Scheme { granularity: Granularity::Channel, ..schemes[0] });
        schemes.push(Scheme { granularity: Granularity::Group(8), ..schemes[1] });
        schemes.push(Scheme { granularity: Granularity::Group(32), ..schemes[2] });
        schemes.push(Scheme { granularity: Granularity::Tensor, ..schemes[3] });
        schemes.push(Scheme { granularity: Granularity::Tensor, ..schemes[4] });
        schemes
    }

    #[test]
    fn products_are_those_with_the_weight_as_floats_for_few_and_for_many_tokens() {
        for scheme in schemes() {
            for tokens in [1, 3, 8, 9, 40] {
                let inputs = Inputs::new(&[("x", &[tokens, 128]), ("weight", &[24, 128]), ("bias", &[24])]);
                for (dtype, tolerance) in [(DType::F32, 2e-6), (DType::BF16, 1e-2), (DType::F64, 2e-6)] {
                    let v: Vec<Tensor> = inputs.variables(dtype).iter().map(Tensor::detach).collect();
                    let weight = QuantizedWeight::quantize(&v[1], scheme).unwrap();
                    let y = quantized_linear(&v[0], &weight, Some(&v[2])).unwrap();
                    assert_eq!((y.dims(), y.dtype()), (&[tokens, 24][..], dtype));
                    let x = match scheme.activations {
                        Some(numbers) => rounded_activations(&v[0].to_dtype(DType::F32).unwrap(), numbers).unwrap(),
                        None => v[0].clone(),
                    };
                    let wide = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap();
                    let floats = wide(&weight.dequantize(DType::F32).unwrap());
                    let expected = wide(&x).matmul(&floats.t().unwrap()).unwrap().broadcast_add(&wide(&v[2])).unwrap();
                    close(&values(&y), &values(&expected), tolerance, &format!("{scheme}, {tokens} tokens, {dtype:?}"));
                }
            }
        }
    }

    #[test]
    fn odd_widths_with_a_scale_for_each_output_are_read_to_the_last_number() {
        let scheme = Scheme { granularity: Granularity::Channel, ..Recipe::Int4WeightOnly.scheme() };
        let inputs = Inputs::new(&[("x", &[2, 13]), ("weight", &[5, 13])]);
        let v = inputs.variables(DType::F32);
        let weight = QuantizedWeight::quantize(&v[1].detach(), scheme).unwrap();
        let floats = weight.dequantize(DType::F32).unwrap();
        assert!(values(&(&floats - &v[1].detach()).unwrap()).iter().all(|missed| missed.abs() < 0.2));
        let y = quantized_linear(&v[0].detach(), &weight, None).unwrap();
        close(&values(&y), &values(&v[0].detach().matmul(&floats.t().unwrap()).unwrap()), 1e-6, "odd");
    }

    #[test]
    fn the_input_gets_the_gradient_of_the_weight_as_floats() {
        let inputs = Inputs::new(&[("x", &[2, 3, 64]), ("weight", &[10, 64])]);
        let v = inputs.variables(DType::F32);
        let x = Var::from_tensor(&v[0].detach()).unwrap();
        let weight = QuantizedWeight::quantize(&v[1].detach(), Recipe::Int8WeightOnly.scheme()).unwrap();
        let store = quantized_linear(&x, &weight, None).unwrap().sum_all().unwrap().backward().unwrap();
        let expected = weight.dequantize(DType::F32).unwrap().sum_keepdim(0).unwrap().broadcast_as((6, 64)).unwrap();
        close(&values(store.get(&x).unwrap()), &values(&expected), 1e-6, "gradient of x");
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let scheme = Recipe::Int4WeightOnly.scheme();
        let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
        let good = || (zeros(&[4, 64], DType::U8), zeros(&[4, 1], DType::F32));
        assert!(QuantizedWeight::new(scheme, (4, 128), good().0, good().1).is_ok());
        assert!(QuantizedWeight::new(scheme, (4, 128), zeros(&[4, 63], DType::U8), good().1).is_err());
        assert!(QuantizedWeight::new(scheme, (4, 128), good().0, zeros(&[4, 2], DType::F32)).is_err());
        assert!(QuantizedWeight::new(scheme, (4, 100), good().0, good().1).is_err());
        assert!(
            QuantizedWeight::new(scheme, (0, 128), zeros(&[0, 64], DType::U8), zeros(&[0, 1], DType::F32)).is_err()
        );
        assert!(QuantizedWeight::quantize(&zeros(&[4, 100], DType::F32), scheme).is_err());
        let nan = (zeros(&[1, 128], DType::F32) / 0.0).unwrap();
        assert!(QuantizedWeight::quantize(&nan, scheme).unwrap_err().to_string().contains("NaN"));
        let weight = QuantizedWeight::new(scheme, (4, 128), good().0, good().1).unwrap();
        assert!(quantized_linear(&zeros(&[2, 64], DType::F32), &weight, None).is_err());
    }
}
