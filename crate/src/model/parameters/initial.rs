//! Initial values of parameters: the spec's recipe, drawn on the host so that CPU and GPU start equal.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use half::f16;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::model::ModelError;
use crate::model::parameters::weights::{Weights, candle_dtype, require_room};
use crate::spec::{DType, Init, ParamPath, TensorRow, TensorTable};

/// Draws each parameter from a ChaCha8 stream of its own, keyed by seed and name: values do not depend on the order of
/// construction, on threads or on the device.
pub struct InitialWeights {
    seed: u64,
    /// How each parameter is drawn, and the length of its rows.
    recipe: HashMap<ParamPath, (Init, usize)>,
}

impl InitialWeights {
    /// Returns the recipe of a model's table.
    pub fn new(table: &TensorTable, seed: u64) -> Self {
        let entry = |row: &TensorRow| Some((row.path.clone(), (row.init?, row.shape.last().copied().unwrap_or(1))));
        let recipe = table.rows().iter().filter_map(entry).collect();
        Self { seed, recipe }
    }

    /// Returns the values of one parameter.
    pub fn values(&self, path: &ParamPath, elements: usize) -> Vec<f32> {
        let (init, width) = self.recipe.get(path).copied().unwrap_or((Init::Zeros, 1));
        let mut random = stream(self.seed, path.as_str());
        if let Init::Uniform { bound } = init {
            return (0..elements).map(|_| (random.random_range(-1.0..1.0) * bound) as f32).collect();
        }
        if let Init::LogUniform { low, high } = init {
            return (0..elements).map(|_| random.random_range(low..high).ln() as f32).collect();
        }
        if let Init::InverseSoftplus { low, high } = init {
            let draw = |_| random.random_range(low.ln()..high.ln()).exp().exp_m1().ln() as f32;
            return (0..elements).map(draw).collect();
        }
        let mut normal = move || -> f64 { StandardNormal.sample(&mut random) };
        match init {
            Init::Zeros => vec![0.0; elements],
            Init::Ones => vec![1.0; elements],
            Init::Constant(value) => vec![value as f32; elements],
            Init::Normal { std, zero_row } => {
                let mut values: Vec<f32> = (0..elements).map(|_| (normal() * std) as f32).collect();
                if let Some(row) = zero_row.and_then(|row| values.chunks_mut(width).nth(row)) {
                    row.fill(0.0);
                }
                values
            }
            Init::TruncatedNormal { std, bound } => (0..elements)
                .map(|_| {
                    loop {
                        let value = normal() * std;
                        // A bound below half a σ would loop for a long time; no recipe has one, and clamping stays in bounds.
                        if value.abs() <= bound || bound < std / 2.0 {
                            return value.clamp(-bound, bound) as f32;
                        }
                    }
                })
                .collect(),
            Init::LogOfColumn => (0..elements).map(|place| ((place % width + 1) as f64).ln() as f32).collect(),
            Init::Slopes(slopes) => slopes.values(elements),
            // Drawn above.
            Init::Uniform { .. } | Init::LogUniform { .. } | Init::InverseSoftplus { .. } => Vec::new(),
        }
    }
}

/// Returns the random stream of one name: FNV-1a of the name selects it, the seed keys it.
pub(crate) fn stream(seed: u64, name: &str) -> ChaCha8Rng {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(hash);
    random
}

impl Weights for InitialWeights {
    fn tensor(&self, path: &ParamPath, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor, ModelError> {
        crate::interrupt::check()?;
        require_room(path, shape, DType::F32, dtype)?;
        let values = self.values(path, shape.iter().product());
        if dtype == DType::F16 && values.iter().any(|value| value.abs() > f16::MAX.to_f32()) {
            return Err(ModelError::InfiniteInitial { path: path.to_string(), dtype });
        }
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(candle_dtype(dtype))?.to_device(device)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(init: Init, seed: u64) -> Vec<f32> {
        let row = TensorRow { init: Some(init), ..TensorRow::stored("w".into(), vec![20_000], DType::F32) };
        InitialWeights::new(&TensorTable::from_rows(vec![row]), seed).values(&"w".into(), 20_000)
    }

    #[test]
    fn moments_and_bounds_are_those_of_the_recipe() {
        let values = drawn(Init::TruncatedNormal { std: 0.02, bound: 0.06 }, 1);
        let mean = values.iter().sum::<f32>() / 20_000.0;
        let std = (values.iter().map(|value| value * value).sum::<f32>() / 20_000.0).sqrt();
        assert!(mean.abs() < 5e-4 && (std - 0.0197).abs() < 5e-4, "mean {mean}, std {std}");
        assert!(values.iter().all(|value| value.abs() <= 0.06));
    }

    #[test]
    fn the_same_seed_draws_the_same_values_and_another_seed_others() {
        let init = Init::Normal { std: 1.0, zero_row: None };
        assert_eq!(drawn(init, 7), drawn(init, 7));
        assert_ne!(drawn(init, 7), drawn(init, 8));
    }
}
