//! Token ids to vectors.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;

use crate::model::context::Context;
use crate::model::parts::dropout::{Site, dropped};
use crate::model::parts::layer::{leaf, leaf_if_any, norm_if_any};
use crate::model::parts::layer_input::LayerInputs;
use crate::model::parts::norm::Norm;
use crate::ops::embedding;
use crate::spec::{Leaf, Node, Part, Role, Scheme};

/// dropout(norm(scale · embedding + positions)).
#[derive(Clone, Debug)]
pub(in crate::model) struct InputEncoder {
    /// `[vocab, hidden]`.
    pub(in crate::model) weight: Tensor,
    /// `[positions, hidden]`, where positions are learned.
    positions: Option<Tensor>,
    scale: f64,
    sinusoidal: bool,
    norm: Option<Norm>,
    dropout: f64,
    /// What layers are given of each token.
    layer_inputs: Option<LayerInputs>,
}

impl InputEncoder {
    pub(in crate::model) fn load(node: &Node, vb: &VarBuilder) -> Result<Self> {
        let Part::InputEncoder { scale, sinusoidal, dropout } = node.part else {
            candle_core::bail!("`{}` is not an input encoder", node.name)
        };
        let (leaf, inside) = leaf(node, Role::TokenEmbedding, vb)?;
        let weight = table(leaf, &inside)?;
        let learned = leaf_if_any(node, Role::PositionEmbedding, vb);
        let positions = learned.map(|(leaf, inside)| table(leaf, &inside)).transpose()?;
        let norm = norm_if_any(node, Role::EmbeddingNorm, vb)?;
        let layer_inputs = LayerInputs::load(node, vb)?;
        Ok(Self { weight, positions, scale, sinusoidal, norm, dropout, layer_inputs })
    }

    /// Makes it from rows of the tables: `weight` are the rows of the ids. `norm` follows them, and `layer_inputs` has rows of the
    /// same ids.
    pub(in crate::model) fn of_rows(
        node: &Node,
        weight: Tensor,
        positions: Option<Tensor>,
        norm: Option<Norm>,
        layer_inputs: Option<LayerInputs>,
    ) -> Result<Self> {
        let Part::InputEncoder { scale, sinusoidal, dropout } = node.part else {
            candle_core::bail!("`{}` is not an input encoder", node.name)
        };
        Ok(Self { weight, positions, scale, sinusoidal, norm, dropout, layer_inputs })
    }

    /// Rounds the linear layers that can be quantized in every forward pass from now on.
    pub(in crate::model) fn round(&mut self, scheme: Scheme) {
        self.layer_inputs.iter_mut().for_each(|inputs| inputs.round(scheme));
    }

    /// Returns the number of positions, if they are rows of a table.
    pub(in crate::model) fn max_positions(&self) -> Option<usize> {
        self.positions.as_ref().and_then(|table| table.dim(0).ok())
    }

    /// ids `[batch, seq]` → `[batch, seq, hidden]`, behind which what layers are given stands; `positions` are the ids' places, below [`max_positions`](Self::max_positions).
    pub(in crate::model) fn forward(&self, ids: &Tensor, positions: &[Vec<u32>], context: &Context) -> Result<Tensor> {
        let mut x = embedding(&self.weight, ids)?;
        if self.scale != 1.0 {
            x = (x * self.scale)?;
        }
        if self.sinusoidal {
            x = (&x + sinusoidal(positions, self.weight.dim(1)?, x.device())?.to_dtype(x.dtype())?)?;
        }
        if let Some(table) = &self.positions {
            let places: Vec<u32> = positions.iter().flatten().copied().collect();
            x = (&x + embedding(table, &Tensor::from_vec(places, ids.shape(), x.device())?)?)?;
        }
        if let Some(norm) = &self.norm {
            x = norm.forward(&x)?;
        }
        let dropped = dropped(context.dropout, x.clone(), self.dropout, 0, Site::Embedding)?;
        match &self.layer_inputs {
            Some(inputs) => inputs.beside(ids, &dropped),
            None => Ok(dropped),
        }
    }
}

fn table(leaf: &Leaf, vb: &VarBuilder) -> Result<Tensor> {
    match leaf.params().into_iter().next() {
        Some(param) => vb.get(param.shape, param.name),
        None => candle_core::bail!("a table has no weight"),
    }
}

/// Returns sines and cosines `[rows, seq, dim]` in float32: W[p, 2j] = sin(p ω_j), W[p, 2j+1] = cos(p ω_j) with
/// ω_j = 10000^(−2j/dim) (Vaswani et al. 2017).
fn sinusoidal(positions: &[Vec<u32>], dim: usize, device: &Device) -> Result<Tensor> {
    let seq = positions.first().map_or(0, Vec::len);
    // In float32, to equal the table of PyTorch models.
    let frequencies: Vec<f32> =
        (0..dim / 2).map(|j| (-(2.0 * j as f32) * (10_000f32.ln() / dim as f32)).exp()).collect();
    let mut table = Vec::with_capacity(positions.len() * seq * dim);
    for &position in positions.iter().flatten() {
        for frequency in &frequencies {
            let (sin, cos) = (position as f32 * frequency).sin_cos();
            table.extend([sin, cos]);
        }
    }
    Tensor::from_vec(table, (positions.len(), seq, dim), device)?.to_dtype(DType::F32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sines_and_cosines_alternate() {
        let table =
            sinusoidal(&[vec![0, 1, 5]], 4, &Device::Cpu).unwrap().squeeze(0).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(table[0], [0.0, 1.0, 0.0, 1.0]);
        let expected = [5f64.sin(), 5f64.cos(), 0.05f64.sin(), 0.05f64.cos()];
        for (a, b) in table[2].iter().zip(expected) {
            assert!((f64::from(*a) - b).abs() < 1e-6);
        }
    }
}
