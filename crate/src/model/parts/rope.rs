//! Rotary position embedding, halves rotated: (x₁, x₂) → (x₁ cos − x₂ sin, x₂ cos + x₁ sin).

use candle_core::{Device, Result, Tensor};

use crate::ops::rotate;
use crate::spec::{Frequencies, RopeConfig};

/// Cosines and sines of one batch's positions, each `[batch or 1, seq, rotated / 2]` in float32, shared by all layers.
#[derive(Clone, Debug)]
pub(in crate::model) struct Rotation {
    cos: Tensor,
    sin: Tensor,
    /// Factors on the queries, `[batch or 1, 1, seq, 1]` in float32.
    query_scale: Option<Tensor>,
}

impl Rotation {
    pub(in crate::model) fn new(
        rope: &RopeConfig,
        head_dim: usize,
        positions: &[Vec<u32>],
        device: &Device,
    ) -> Result<Self> {
        let length = positions.iter().flatten().max().map_or(0, |last| *last as usize + 1);
        let Frequencies { inverse, attention_factor } = rope.frequencies(head_dim, length);
        // Rows with the same positions share one table.
        let alike = positions.windows(2).all(|pair| pair[0] == pair[1]);
        let positions = if alike { &positions[..positions.len().min(1)] } else { positions };
        let (rows, seq) = (positions.len(), positions.first().map_or(0, Vec::len));
        let angles: Vec<f32> = positions
            .iter()
            .flatten()
            .flat_map(|&position| inverse.iter().map(move |frequency| position as f32 * frequency))
            .collect();
        let factor = attention_factor as f32;
        let table = |f: fn(f32) -> f32| {
            let values = angles.iter().map(|&angle| f(angle) * factor).collect();
            Tensor::from_vec(values, (rows, seq, inverse.len()), device)
        };
        let scales: Option<Vec<f32>> =
            positions.iter().flatten().map(|&position| rope.query_scale(position).map(|scale| scale as f32)).collect();
        let scales = scales.filter(|scales| scales.iter().any(|scale| *scale != 1.0));
        let query_scale = scales.map(|scales| Tensor::from_vec(scales, (rows, 1, seq, 1), device)).transpose()?;
        Ok(Self { cos: table(f32::cos)?, sin: table(f32::sin)?, query_scale })
    }

    /// x `[batch, heads, seq, head_dim]`.
    pub(in crate::model) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        rotate(x, &self.cos, &self.sin)
    }

    /// Multiplies queries by the temperature of their positions, where there is one.
    pub(in crate::model) fn tempered(&self, query: Tensor) -> Result<Tensor> {
        match &self.query_scale {
            Some(scale) => query.broadcast_mul(&scale.to_dtype(query.dtype())?),
            None => Ok(query),
        }
    }
}
