//! What every layer of one forward pass shares.

use candle_core::{Device, Result};

use super::parts::dropout::Dropout;
use super::parts::mask;
use super::parts::rope::Rotation;
use super::{Batch, ModelError};
use crate::ops::{AttentionImplementation, AttentionMask};
use crate::spec::{Mixer, Node, Part, PositionEmbedding, RopeConfig, UserMixer};

/// What has to be prepared for the layers of a model, found once in its tree.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedInputs {
    /// Rotary parameters and head widths.
    rotations: Vec<(RopeConfig, usize)>,
    windows: Vec<Option<usize>>,
    /// The highest probability with which a layer drops attention weights.
    attention_dropout: f64,
    /// Whether all parts continue after the tokens of a cache.
    pub(super) caches: bool,
}

impl SharedInputs {
    pub(super) fn of(root: &Node) -> Self {
        let mut shared = Self { caches: true, ..Self::default() };
        shared.collect(root);
        shared
    }

    /// That every part continues after the tokens of a cache.
    pub(super) fn require_caches(&self) -> std::result::Result<(), ModelError> {
        if self.caches {
            return Ok(());
        }
        let what = "a part of this model keeps no keys and values: give it the whole text";
        Err(candle_core::Error::msg(what).into())
    }

    /// Returns whether a text of `length` tokens is rotated in another way than the `known` tokens of a cache were.
    pub(super) fn changes_between(&self, known: usize, length: usize) -> bool {
        self.rotations.iter().any(|(rope, _)| rope.changes_between(known, length))
    }

    fn rotate(&mut self, rope: &RopeConfig, head_dim: usize) {
        if !self.rotations.iter().any(|(known, width)| known == rope && *width == head_dim) {
            self.rotations.push((rope.clone(), head_dim));
        }
    }

    fn collect(&mut self, node: &Node) {
        let attention = match &node.part {
            Part::Mixer(Mixer::Attention { position, head_dim, window, dropout, .. }) => {
                if let PositionEmbedding::Rope(rope) = position {
                    self.rotate(rope, *head_dim);
                }
                Some((window, dropout))
            }
            Part::Mixer(Mixer::SingleHeadAttention { window, dropout, .. }) => Some((window, dropout)),
            Part::Mixer(Mixer::User(UserMixer { part, config })) => {
                if let PositionEmbedding::Rope(rope) = &config.position {
                    self.rotate(rope, config.head_dim);
                }
                self.caches &= part.caches();
                Some((&config.sliding_window, &config.dropout.attention))
            }
            Part::CausalLm
            | Part::Decoder
            | Part::InputEncoder { .. }
            | Part::LayerStack
            | Part::Layers
            | Part::Layer(_)
            | Part::Branch(_)
            | Part::Mixer(Mixer::GatedFeedForward { .. } | Mixer::FeedForward { .. })
            | Part::Leaf(_) => None,
        };
        if let Some((window, dropout)) = attention {
            if !self.windows.contains(window) {
                self.windows.push(*window);
            }
            self.attention_dropout = self.attention_dropout.max(*dropout);
        }
        node.children.iter().for_each(|child| self.collect(child));
    }
}

/// Rotations and masks of one batch, and how the step is computed.
pub(super) struct Context {
    rotations: Vec<(RopeConfig, usize, Rotation)>,
    masks: Vec<(Option<usize>, AttentionMask)>,
    pub(super) attention: AttentionImplementation,
    /// Set during training of models with dropout.
    pub(super) dropout: Option<Dropout>,
}

impl Context {
    pub(super) fn new(
        shared: &SharedInputs,
        batch: &Batch,
        past_len: usize,
        device: &Device,
        attention: AttentionImplementation,
        dropout: Option<Dropout>,
    ) -> std::result::Result<Self, ModelError> {
        let positions = batch.positions(past_len);
        let rotation = |(rope, width): &(RopeConfig, usize)| {
            Ok((rope.clone(), *width, Rotation::new(rope, *width, &positions, device)?))
        };
        if dropout.is_some() {
            attention.check_dropout(shared.attention_dropout)?;
        }
        let visible = mask::attention_mask(batch, past_len)?;
        let mask = |window: &Option<usize>| (*window, visible.clone().with_window(*window));
        Ok(Self {
            rotations: shared.rotations.iter().map(rotation).collect::<Result<_>>()?,
            masks: shared.windows.iter().map(mask).collect(),
            attention,
            dropout,
        })
    }

    pub(super) fn rotation(&self, rope: &RopeConfig, head_dim: usize) -> Result<&Rotation> {
        match self.rotations.iter().find(|(known, width, _)| known == rope && *width == head_dim) {
            Some((.., rotation)) => Ok(rotation),
            None => candle_core::bail!("no rotation was prepared for heads of width {head_dim}"),
        }
    }

    /// Returns which token sees which in layers with this window.
    pub(super) fn attention_mask(&self, window: Option<usize>) -> Result<&AttentionMask> {
        match self.masks.iter().find(|(known, _)| *known == window) {
            Some((_, mask)) => Ok(mask),
            None => candle_core::bail!("no mask was prepared for the window {window:?}"),
        }
    }
}
