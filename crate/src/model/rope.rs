//! Rotary position embedding, halves rotated: (x₁, x₂) → (x₁ cos − x₂ sin, x₂ cos + x₁ sin).

use candle_core::{Device, Result, Tensor};

use crate::ops::rotate;
use crate::spec::{RopeConfig, RopeScaling};

/// Frequencies in radians per token, one for each pair of a head's dimensions: θ^(−2j/head_dim), stretched for long
/// contexts if the configuration says so (Llama 3.1's rule).
pub fn inverse_frequencies(rope: &RopeConfig, head_dim: usize) -> Vec<f32> {
    let base = (0..head_dim / 2).map(|pair| rope.theta.powf(-2.0 * pair as f64 / head_dim as f64));
    match &rope.scaling {
        None => base.map(|frequency| frequency as f32).collect(),
        Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings }) => {
            let original = *original_max_position_embeddings as f64;
            base.map(|frequency| {
                let wavelength = 2.0 * std::f64::consts::PI / frequency;
                let scaled = if wavelength > original / low_freq_factor {
                    frequency / factor
                } else if wavelength < original / high_freq_factor {
                    frequency
                } else {
                    let smooth = (original / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                };
                scaled as f32
            })
            .collect()
        }
    }
}

/// Cosines and sines of one batch's positions, each `[batch or 1, seq, head_dim / 2]` in float32, shared by all layers.
#[derive(Clone, Debug)]
pub(super) struct Rotation {
    cos: Tensor,
    sin: Tensor,
}

impl Rotation {
    pub(super) fn new(frequencies: &[f32], positions: &[Vec<u32>], device: &Device) -> Result<Self> {
        // Rows at the same places share one table.
        let alike = positions.windows(2).all(|pair| pair[0] == pair[1]);
        let positions = if alike { &positions[..positions.len().min(1)] } else { positions };
        let seq = positions.first().map_or(0, Vec::len);
        let angles: Vec<f32> = positions
            .iter()
            .flatten()
            .flat_map(|&position| frequencies.iter().map(move |frequency| position as f32 * frequency))
            .collect();
        let shape = (positions.len(), seq, frequencies.len());
        let table = |f: fn(f32) -> f32| Tensor::from_vec(angles.iter().map(|&angle| f(angle)).collect(), shape, device);
        Ok(Self { cos: table(f32::cos)?, sin: table(f32::sin)? })
    }

    /// x `[batch, heads, seq, head_dim]`.
    pub(super) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        rotate(x, &self.cos, &self.sin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_scaling_keeps_high_divides_low_and_blends_between() {
        let plain = RopeConfig { theta: 500_000.0, scaling: None };
        let scaling = RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        let scaled = RopeConfig { theta: 500_000.0, scaling: Some(scaling) };
        let (plain, scaled) = (inverse_frequencies(&plain, 64), inverse_frequencies(&scaled, 64));
        assert_eq!(plain[0], 1.0);
        assert_eq!(scaled[0], 1.0);
        assert_eq!(scaled[31], plain[31] / 32.0);
        let blended = plain.iter().zip(&scaled).filter(|&(&a, &b)| b != a && (b - a / 32.0).abs() > a * 1e-6);
        assert!(blended.count() > 0);
    }
}
