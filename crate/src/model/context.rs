//! What every layer of one forward pass shares.

use candle_core::{DType, Device, Result, Tensor};

use super::dropout::Dropout;
use super::mask;
use super::rope::{Rotation, inverse_frequencies};
use super::{Batch, ModelError};
use crate::spec::{Node, Part, PositionEmbedding, RopeConfig};

/// What the layers of a model need prepared, found once in its tree.
#[derive(Clone, Debug, Default)]
pub(super) struct Needs {
    /// Rotary parameters and head widths.
    rotations: Vec<(RopeConfig, usize)>,
    windows: Vec<Option<usize>>,
}

impl Needs {
    pub(super) fn of(root: &Node) -> Self {
        let mut needs = Self::default();
        needs.collect(root);
        needs
    }

    fn collect(&mut self, node: &Node) {
        let window = match &node.part {
            Part::Attention { position, head_dim, window, .. } => {
                if let PositionEmbedding::Rope(rope) = position
                    && !self.rotations.iter().any(|(known, width)| known == rope && width == head_dim)
                {
                    self.rotations.push((rope.clone(), *head_dim));
                }
                Some(window)
            }
            Part::SingleHeadAttention { window, .. } => Some(window),
            _ => None,
        };
        if let Some(window) = window
            && !self.windows.contains(window)
        {
            self.windows.push(*window);
        }
        node.children.iter().for_each(|child| self.collect(child));
    }
}

/// Rotations, masks and distances of one batch, and the dropouts of the step.
pub(super) struct Context {
    rotations: Vec<(RopeConfig, usize, Rotation)>,
    masks: Vec<(Option<usize>, Tensor)>,
    /// key − query `[1, 1, seq, seen + seq]` in float32, for ALiBi.
    pub(super) distances: Tensor,
    /// Set during training of models with dropout.
    pub(super) dropout: Option<Dropout>,
}

impl Context {
    pub(super) fn new(
        needs: &Needs,
        batch: &Batch,
        seen: usize,
        dtype: DType,
        device: &Device,
        dropout: Option<Dropout>,
    ) -> std::result::Result<Self, ModelError> {
        let positions = batch.positions(seen);
        let rotation = |(rope, width): &(RopeConfig, usize)| {
            let frequencies = inverse_frequencies(rope, *width);
            Ok((rope.clone(), *width, Rotation::new(&frequencies, &positions, dtype, device)?))
        };
        let mask = |window: &Option<usize>| Ok((*window, mask::additive(batch, seen, *window, device)?));
        let (_, seq) = batch.dims();
        let distances = (seen..seen + seq).flat_map(|q| (0..seen + seq).map(move |k| k as f32 - q as f32)).collect();
        Ok(Self {
            rotations: needs.rotations.iter().map(rotation).collect::<Result<_>>()?,
            masks: needs.windows.iter().map(mask).collect::<Result<_>>()?,
            distances: Tensor::from_vec(distances, (1, 1, seq, seen + seq), device)?,
            dropout,
        })
    }

    pub(super) fn rotation(&self, rope: &RopeConfig, head_dim: usize) -> Result<&Rotation> {
        match self.rotations.iter().find(|(known, width, _)| known == rope && *width == head_dim) {
            Some((.., rotation)) => Ok(rotation),
            None => candle_core::bail!("no rotation was prepared for heads of width {head_dim}"),
        }
    }

    /// `[batch or 1, 1, seq, seen + seq]`, added to the scores.
    pub(super) fn mask(&self, window: Option<usize>) -> Result<&Tensor> {
        match self.masks.iter().find(|(known, _)| *known == window) {
            Some((_, mask)) => Ok(mask),
            None => candle_core::bail!("no mask was prepared for the window {window:?}"),
        }
    }
}
