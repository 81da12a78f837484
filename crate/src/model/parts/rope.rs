//! Rotary position embedding, halves rotated: (x₁, x₂) → (x₁ cos − x₂ sin, x₂ cos + x₁ sin).

use candle_core::{Device, Result, Tensor};

use crate::ops::rotate;

/// Cosines and sines of one batch's positions, each `[batch or 1, seq, head_dim / 2]` in float32, shared by all layers.
#[derive(Clone, Debug)]
pub(in crate::model) struct Rotation {
    cos: Tensor,
    sin: Tensor,
}

impl Rotation {
    pub(in crate::model) fn new(frequencies: &[f32], positions: &[Vec<u32>], device: &Device) -> Result<Self> {
        // Rows with the same positions share one table.
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
    pub(in crate::model) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        rotate(x, &self.cos, &self.sin)
    }
}
