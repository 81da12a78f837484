//! Rounding for training: the forward pass gets the values that the low-bit type will hold, and the backward pass ignores the rounding.

use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::super::collect::accumulate_grad;
use super::super::cuda;
use super::super::element::{Element, Wide, by_element, made, slice};
use super::super::rows::per_task;
use super::fit::{TRIED, largest, nonzero, scale_of};
use super::numbers::{half_range, round_all};
use crate::spec::{Granularity, QuantDType, Scheme};

/// Returns the weight `[outputs, inputs]` as it will be after it was stored by this scheme and read again. Its gradient is that of
/// the result (a straight-through estimator; Bengio et al. 2013).
///
/// # Errors
/// candle's error, if the groups do not divide the width.
pub fn rounded_weight(weight: &Tensor, scheme: &Scheme) -> Result<Tensor> {
    let (_, inputs) = weight.dims2()?;
    let group = scheme.group_size(inputs);
    if group == 0 || !inputs.is_multiple_of(group) {
        candle_core::bail!("rows of {inputs} weights do not divide into groups: {scheme}")
    }
    let group = if scheme.granularity == Granularity::Tensor { weight.elem_count() } else { group };
    weight.contiguous()?.apply_op1(Rounding { numbers: scheme.weights, group, fitted: true })
}

/// Returns x as a product will get it: each token (a row of the last dimension) rounded with a scale of its own. The gradient
/// passes as in [`rounded_weight`].
///
/// # Errors
/// candle's error, for element types that are not floats.
pub fn rounded_activations(x: &Tensor, numbers: QuantDType) -> Result<Tensor> {
    let group = x.dims().last().copied().unwrap_or(1).max(1);
    x.contiguous()?.apply_op1(Rounding { numbers, group, fitted: false })
}

/// Rounds rows of this width in place, each with a scale of its own.
pub(super) fn round_rows(numbers: QuantDType, values: &mut [f32], width: usize) {
    values.par_chunks_mut(width).with_min_len(per_task(width)).for_each(|row| {
        let scale = nonzero(largest(row) / half_range(numbers));
        row.iter_mut().for_each(|x| *x /= scale);
        round_all(numbers, row);
        row.iter_mut().for_each(|x| *x *= scale);
    });
}

struct Rounding {
    numbers: QuantDType,
    /// This many neighbors share a scale.
    group: usize,
    /// Scales are fitted as those of stored weights are; else they are those of the largest magnitude.
    fitted: bool,
}

impl CustomOp1 for Rounding {
    fn name(&self) -> &'static str {
        "rounding"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        by_element!(storage, self.name(), T => {
            let x = slice::<T>(storage, layout, self.name())?;
            // Scales are stored in the type of the weights.
            let stored = |scale: f32| wide::<T>(narrow(scale));
            let mut out = vec![T::default(); x.len()];
            let each = out.par_chunks_mut(self.group).zip(x.par_chunks(self.group));
            each.with_min_len(per_task(self.group)).for_each_init(Vec::new, |values: &mut Vec<f32>, (out, x)| {
                values.clear();
                values.extend(x.iter().map(|x| wide(*x)));
                let scale = match self.fitted {
                    true => scale_of(self.numbers, values, stored),
                    false => nonzero(largest(values) / half_range(self.numbers)),
                };
                values.iter_mut().for_each(|x| *x /= scale);
                round_all(self.numbers, values);
                out.iter_mut().zip(values).for_each(|(out, x)| *out = narrow(*x * scale));
            });
            Ok(made(out, layout.shape()))
        })
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let rounded = cuda::rounded((storage, layout), self.numbers, self.group, if self.fitted { TRIED } else { 0 })?;
        Ok((rounded, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        accumulate_grad(x, g.clone())
    }
}

pub(super) fn wide<T: Element>(x: T) -> f32 {
    x.wide().to_f64() as f32
}

pub(super) fn narrow<T: Element>(x: f32) -> T {
    T::narrow(T::Wide::of(f64::from(x)))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Var};

    use super::*;
    use crate::ops::QuantizedWeight;
    use crate::ops::check::{Inputs, values};
    use crate::spec::Recipe;

    #[test]
    fn a_rounded_weight_is_what_the_stored_one_stands_for() {
        let inputs = Inputs::new(&[("weight", &[24, 256])]);
        for scheme in Recipe::ALL.map(Recipe::scheme) {
            let weight = inputs.variables(DType::F32)[0].detach();
            let stored = QuantizedWeight::quantize(&weight, scheme).unwrap().dequantize(DType::F32).unwrap();
            assert_eq!(values(&rounded_weight(&weight, &scheme).unwrap()), values(&stored), "{scheme}");
        }
    }

    #[test]
    fn more_bits_and_smaller_groups_miss_less() {
        let inputs = Inputs::new(&[("weight", &[64, 512])]);
        let weight = inputs.variables(DType::F32)[0].detach();
        let missed = |weights, granularity| {
            let scheme = Scheme { weights, granularity, packed: true, activations: None };
            values(&(rounded_weight(&weight, &scheme).unwrap() - &weight).unwrap()).iter().map(|x| x * x).sum::<f64>()
        };
        let missed = [
            missed(QuantDType::Int4, Granularity::Channel),
            missed(QuantDType::Int4, Granularity::Group(128)),
            missed(QuantDType::Int4, Granularity::Group(32)),
            missed(QuantDType::F8E4M3, Granularity::Channel),
            missed(QuantDType::Int8, Granularity::Channel),
        ];
        assert!(missed.windows(2).all(|pair| pair[0] > pair[1]), "{missed:?}");
        assert!(missed[4] > 0.0 && missed[0] / missed[4] > 100.0, "{missed:?}");
    }

    #[test]
    fn gradients_pass_through_rounding() {
        let inputs = Inputs::new(&[("weight", &[8, 32])]);
        let weight = Var::from_tensor(&inputs.variables(DType::F32)[0].detach()).unwrap();
        for y in [
            rounded_weight(&weight, &Recipe::Int8DynamicActInt4Weight.scheme()).unwrap(),
            rounded_activations(&weight, QuantDType::Int8).unwrap(),
        ] {
            let store = (y * 3.0).unwrap().sum_all().unwrap().backward().unwrap();
            assert!(values(store.get(&weight).unwrap()).iter().all(|g| *g == 3.0));
        }
    }

    #[test]
    fn tokens_are_rounded_one_by_one() {
        let x = Tensor::new(&[[1f32, -0.5, 0.251], [1000.0, 3.0, -3.0]], &candle_core::Device::Cpu).unwrap();
        let y = rounded_activations(&x, QuantDType::Int8).unwrap().to_vec2::<f32>().unwrap();
        let step = 1.0 / 127.5;
        assert_eq!(y[0], [127.0 * step, -64.0 * step, 32.0 * step]);
        assert_eq!(y[1][1], 0.0);
    }
}
