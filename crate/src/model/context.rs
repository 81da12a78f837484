//! What every layer of one forward pass shares.

use candle_core::{Device, Result, Tensor};

use super::parts::dropout::Dropout;
use super::parts::load_balance::LoadBalance;
use super::parts::mask;
use super::parts::rope::Rotation;
use super::{Batch, ModelError};
use crate::ops::{AttentionImplementation, AttentionMask};
use crate::spec::{LatentForm, Mixer, Node, Part, PositionEmbedding, RopeConfig, Temperature, UserMixer};

/// A window, and the tokens of a chunk.
type View = (Option<usize>, Option<usize>);

/// What has to be prepared for the layers of a model, found once in its tree.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedInputs {
    /// Rotary parameters and head widths.
    rotations: Vec<(RopeConfig, usize)>,
    /// Windows and chunks.
    views: Vec<View>,
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
            Part::Mixer(Mixer::Attention { position, head_dim, window, chunk, dropout, .. }) => {
                if let PositionEmbedding::Rope(rope) = position {
                    self.rotate(rope, *head_dim);
                }
                Some(((*window, *chunk), dropout))
            }
            Part::Mixer(Mixer::SingleHeadAttention { window, dropout, .. }) => Some(((*window, None), dropout)),
            Part::Mixer(Mixer::LatentAttention(LatentForm { position, rope: width, window, dropout, .. })) => {
                if let PositionEmbedding::Rope(rope) = position {
                    self.rotate(rope, *width);
                }
                Some(((*window, None), dropout))
            }
            Part::Mixer(Mixer::User(UserMixer { part, config })) => {
                if let PositionEmbedding::Rope(rope) = &config.position {
                    self.rotate(rope, config.head_dim);
                }
                self.caches &= part.caches();
                Some(((config.sliding_window, None), &config.dropout.attention))
            }
            Part::CausalLm
            | Part::Decoder
            | Part::InputEncoder { .. }
            | Part::LayerStack
            | Part::Layers
            | Part::Layer(_)
            | Part::Branch(_)
            | Part::Experts { .. }
            | Part::Mixer(
                Mixer::GatedDeltaNet(_)
                | Mixer::Mamba2(_)
                | Mixer::Mamba(_)
                | Mixer::ShortConv { .. }
                | Mixer::GatedFeedForward { .. }
                | Mixer::FeedForward { .. }
                | Mixer::Experts(_)
                | Mixer::LayerInput { .. },
            )
            | Part::Leaf(_) => None,
        };
        if let Some((view, dropout)) = attention {
            if !self.views.contains(&view) {
                self.views.push(view);
            }
            self.attention_dropout = self.attention_dropout.max(*dropout);
        }
        node.children.iter().for_each(|child| self.collect(child));
    }
}

/// Rotations and masks of one batch, and how the step is computed.
pub(super) struct Context {
    rotations: Vec<(RopeConfig, usize, Rotation)>,
    masks: Vec<(View, AttentionMask)>,
    /// The position of each token.
    positions: Vec<Vec<u32>>,
    pub(super) attention: AttentionImplementation,
    /// Set during training of models with dropout.
    pub(super) dropout: Option<Dropout>,
    /// Set during training: what routers are told of each other.
    pub(super) balance: Option<LoadBalance>,
    /// What linear attention has to know of the batch.
    pub(super) rows: RowForm,
}

/// Padding and documents of a batch, for parts that read tokens one after another.
#[derive(Debug, Default)]
pub(super) struct RowForm {
    /// `[batch, seq, 1]`: 1 for real tokens and 0 for padding, in float32; `None` without padding.
    pub(super) real: Option<Tensor>,
    /// For each row, where its documents begin; empty if each row is one text.
    pub(super) starts: Vec<Vec<usize>>,
}

impl RowForm {
    fn of(batch: &Batch, past_len: usize, device: &Device) -> Result<Self> {
        let (rows, seq) = batch.dims();
        if let Some(mask) = &batch.attention_mask {
            let real: Vec<f32> = mask.iter().flatten().map(|&bit| if bit == 0 { 0.0 } else { 1.0 }).collect();
            let padded = real.contains(&0.0);
            let real = padded.then(|| Tensor::from_vec(real, (rows, seq, 1), device)).transpose()?;
            return Ok(Self { real, starts: Vec::new() });
        }
        let positions = batch.position_ids.as_deref().filter(|_| past_len == 0).unwrap_or_default();
        let starts_of = |row: &Vec<u32>| -> Vec<usize> {
            let begins = |at: &usize| *at == 0 || row[*at] != row[*at - 1].wrapping_add(1);
            (0..row.len()).filter(begins).collect()
        };
        let starts: Vec<Vec<usize>> = positions.iter().map(starts_of).collect();
        Ok(Self { real: None, starts: if starts.iter().any(|row| row.len() > 1) { starts } else { Vec::new() } })
    }
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
        let mask = |view: &View| {
            let (window, chunk) = *view;
            let visible = match chunk {
                Some(chunk) => mask::chunked(visible.clone(), batch, past_len, chunk)?,
                None => visible.clone(),
            };
            Ok((*view, visible.with_window(window)))
        };
        Ok(Self {
            rotations: shared.rotations.iter().map(rotation).collect::<Result<_>>()?,
            masks: shared.views.iter().map(mask).collect::<std::result::Result<_, ModelError>>()?,
            positions,
            attention,
            dropout,
            balance: None,
            rows: RowForm::of(batch, past_len, device)?,
        })
    }

    /// The same for a training step.
    pub(super) fn for_training(self) -> Self {
        Self { balance: Some(LoadBalance::default()), ..self }
    }

    pub(super) fn rotation(&self, rope: &RopeConfig, head_dim: usize) -> Result<&Rotation> {
        match self.rotations.iter().find(|(known, width, _)| known == rope && *width == head_dim) {
            Some((.., rotation)) => Ok(rotation),
            None => candle_core::bail!("no rotation was prepared for heads of width {head_dim}"),
        }
    }

    /// Returns which token sees which in layers with this window and chunks of this many tokens.
    pub(super) fn attention_mask(&self, window: Option<usize>, chunk: Option<usize>) -> Result<&AttentionMask> {
        match self.masks.iter().find(|(known, _)| *known == (window, chunk)) {
            Some((_, mask)) => Ok(mask),
            None => candle_core::bail!("no mask was prepared for the window {window:?} and chunks of {chunk:?}"),
        }
    }

    /// Returns the factors on queries `[batch, 1, seq, 1]` in float32, or `None` where all are 1.
    pub(super) fn temperature(&self, temperature: Temperature, device: &Device) -> Result<Option<Tensor>> {
        let seq = self.positions.first().map_or(0, Vec::len);
        let factors = self.positions.iter().flatten().map(|position| temperature.factor(*position) as f32);
        let factors: Vec<f32> = factors.collect();
        let grown = factors.iter().any(|factor| *factor != 1.0);
        grown.then(|| Tensor::from_vec(factors, (self.positions.len(), 1, seq, 1), device)).transpose()
    }
}
