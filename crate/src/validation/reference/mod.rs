//! An independent forward pass over Hugging Face names, in float32 or float64: one layer is in memory, the next one is
//! read meanwhile.
//!
//! It judges conversions, so it shares nothing with `model/`, `spec/` names or the remapping rules: what it computes is
//! written here again, from the published formulas, against the names that Hugging Face files have. Only the matrix
//! product itself is that of `ops`, which tests hold against plain sums.

mod arithmetic;
mod attention;
mod experts;
mod fields;
mod latent;
mod layer;
mod layer_input;
mod linear_attention;
mod rotary;
mod short_conv;
mod state_space;
mod weights;

use serde_json::{Map as Fields, Value};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::naming::outline::{Outline, PositionOutline};
use crate::parallel::read_ahead;
use crate::spec::DType;
use arithmetic::{Activations, Real};
use layer::Layer;

/// A checkpoint in Hugging Face names together with its config.json.
pub struct ReferenceModel<'a> {
    checkpoint: &'a Checkpoint,
    /// The fields of config.json, with the class's defaults.
    fields: Fields<String, Value>,
    outline: Outline,
    rounding: Option<DType>,
}

/// What the reference forward computes.
pub(crate) struct Passes {
    /// Logits `[tokens × vocab]`.
    pub(crate) logits: Vec<f32>,
    /// The residual stream `[tokens × hidden]` after each layer.
    pub(crate) streams: Vec<Vec<f32>>,
    /// Logits of the first tokens in float64.
    exact: Vec<f64>,
}

/// How far float32 is off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noise {
    /// Largest difference of the reference's own logits between float32 and float64.
    pub(crate) float32: f32,
    /// How many tokens it was measured on.
    pub(crate) tokens: usize,
}

impl Passes {
    /// Returns how far the logits over these columns of `vocab` are from those in float64.
    pub(crate) fn noise(&self, columns: &[u32], vocab: usize) -> Noise {
        let rows = self.logits.chunks_exact(vocab.max(1)).zip(self.exact.chunks_exact(vocab.max(1)));
        let off = rows.flat_map(|(row, exact)| {
            columns.iter().map(|&column| (f64::from(row[column as usize]) - exact[column as usize]).abs())
        });
        Noise { float32: off.fold(0.0, f64::max) as f32, tokens: self.exact.len() / vocab.max(1) }
    }
}

/// Puts some columns of logits into their places.
fn place<F: Real>(logits: &mut [F], part: Activations<F>, (first, vocab): (usize, usize)) {
    for (row, part) in logits.chunks_exact_mut(vocab).zip(part.data.chunks_exact(part.width)) {
        row[first..][..part.len()].copy_from_slice(part);
    }
}

/// Elements of the head in memory at a time.
const HEAD_PART: usize = 16 << 20;

/// Parameters times tokens that are computed in float64: a second or two.
const MOST_WORK: usize = 4_000_000_000;

/// Sizes that config.json gives.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    hidden: usize,
    heads: usize,
    groups: usize,
    head: usize,
}

impl<'a> ReferenceModel<'a> {
    /// Over a checkpoint and its config.json, which are read by `outline`.
    pub(crate) fn over(checkpoint: &'a Checkpoint, config: &'a Value, outline: Outline) -> Self {
        Self { checkpoint, fields: Self::with_defaults(config, &outline), outline, rounding: None }
    }

    /// Rounds every weight to this type before computing, as a cast checkpoint would hold it.
    pub fn rounded_to(mut self, dtype: Option<DType>) -> Self {
        self.rounding = dtype;
        self
    }

    /// The sizes of a layer.
    fn sizes_of(&self, layer: usize) -> Sizes {
        let (sizes, own) = (self.sizes(), &self.outline.each_layer);
        let of =
            |term: &Option<String>| self.value_of_layer(term.as_deref()?, layer)?.as_u64().map(|size| size as usize);
        Sizes {
            groups: of(&own.kv_heads).unwrap_or(sizes.groups),
            head: of(&own.head_dim).unwrap_or(sizes.head),
            ..sizes
        }
    }

    fn sizes(&self) -> Sizes {
        let hidden = self.size(&self.outline.width).unwrap_or(0);
        let heads = self.size(&self.outline.heads).unwrap_or(1).max(1);
        let of = |field: &Option<String>| field.as_deref().and_then(|field| self.size(field));
        let groups = of(&self.outline.kv_heads).unwrap_or(heads);
        Sizes { hidden, heads, groups, head: of(&self.outline.head_dim).unwrap_or(hidden / heads) }
    }

    /// Logits `[tokens × vocab]` of one sequence, and the residual stream `[tokens × hidden]` after each layer.
    ///
    /// # Errors
    /// [`CheckpointError`] if a tensor is missing or cannot be read, or on an interrupt.
    pub fn forward(&self, ids: &[u32]) -> Result<(Vec<f32>, Vec<Vec<f32>>), CheckpointError> {
        let passes = self.run(ids, 0)?;
        Ok((passes.logits, passes.streams))
    }

    /// As [`forward`](Self::forward), and the first tokens in float64 as well, as many as take a second or two. One
    /// layer is in memory at a time, and read once.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub(crate) fn forward_exactly(&self, ids: &[u32]) -> Result<Passes, CheckpointError> {
        let parameters = self.checkpoint.table().parameters().max(1) as usize;
        self.run(ids, (MOST_WORK / parameters).clamp(2, ids.len().max(2)).min(ids.len()))
    }

    fn run(&self, ids: &[u32], exact: usize) -> Result<Passes, CheckpointError> {
        let hidden = self.sizes().hidden;
        let embedded = self.embedded(ids)?;
        let start = embedded[..exact * hidden].iter().map(|&value| f64::from(value)).collect();
        let (mut x, mut precise) =
            (Activations { data: embedded, width: hidden }, Activations { data: start, width: hidden });
        let mut streams = Vec::new();
        let layers = self.size(&self.outline.layers).unwrap_or(0);
        let (mut beside, mut beside_precise) = (self.beside(ids, &x)?, self.beside(&ids[..exact], &precise)?);
        let read = |layer: usize| Layer::load(self, layer, ids.len());
        read_ahead(layers, read, |_, layer| {
            layer.forward(&mut x, &mut beside)?;
            if exact > 0 {
                layer.forward(&mut precise, &mut beside_precise)?;
            }
            streams.push(x.data.clone());
            Ok::<_, CheckpointError>(())
        })?;
        let norm = &self.outline.tensors.final_norm;
        let loaded = self.load([], [format!("{norm}.weight"), format!("{norm}.bias")])?;
        let last = (self.norm(&loaded, &x, norm)?, self.norm(&loaded, &precise, norm)?);
        let (logits, exact) = self.logits(&last.0, &last.1)?;
        Ok(Passes { logits, streams, exact })
    }

    /// What enters the first layer.
    fn embedded(&self, ids: &[u32]) -> Result<Vec<f32>, CheckpointError> {
        let tensors = &self.outline.tensors;
        let name = format!("{}.weight", tensors.embedding);
        let mut x = Vec::new();
        for (position, &id) in ids.iter().enumerate() {
            let mut row = self.row(&name, id as usize)?;
            if self.outline.scaled_embedding {
                let scale = (row.len() as f64).sqrt() as f32;
                row.iter_mut().for_each(|value| *value *= scale);
            }
            if let Some(factor) = self.number_of(self.outline.factors.embedding.as_ref()) {
                row.iter_mut().for_each(|value| *value = (f64::from(*value) * factor) as f32);
            }
            if let (PositionOutline::Learned, Some(name)) = (self.outline.positions, &tensors.positions) {
                let place = self.row(&format!("{name}.weight"), position + self.outline.first_position)?;
                row.iter_mut().zip(place).for_each(|(value, place)| *value += place);
            }
            x.extend(row);
        }
        if let Some(norm) = &tensors.embedding_norm {
            let loaded = self.load([], [format!("{norm}.weight"), format!("{norm}.bias")])?;
            let embedded = Activations { data: x, width: self.sizes().hidden };
            x = self.norm(&loaded, &embedded, norm)?.data;
        }
        Ok(x)
    }

    /// Logits of both passes, some rows of the head at a time.
    fn logits(
        &self,
        x: &Activations<f32>,
        precise: &Activations<f64>,
    ) -> Result<(Vec<f32>, Vec<f64>), CheckpointError> {
        let tensors = &self.outline.tensors;
        let said = self.flag("tie_word_embeddings").unwrap_or(self.outline.tied);
        let tied = said && !self.outline.never_tied;
        let name = format!("{}.weight", if tied { &tensors.embedding } else { &tensors.head });
        let row = self.checkpoint.table().get(&self.stored(&name).into());
        let vocab = row.and_then(|row| row.shape.first().copied()).unwrap_or(0);
        let tokens = |len: usize| len / x.width.max(1);
        let mut logits = vec![0.0; tokens(x.data.len()) * vocab];
        let mut exact = vec![0.0; tokens(precise.data.len()) * vocab];
        let count = (HEAD_PART / x.width.max(1)).clamp(1, vocab.max(1));
        let read = |part: usize| self.matrix(&name, (part * count, count.min(vocab - part * count)));
        read_ahead(vocab.div_ceil(count), read, |part, weight| {
            let (width, misfit) = (weight.outputs(), || self.misfit(&name));
            let data = weight.product(&x.data, 0..width).ok_or_else(misfit)?;
            place(&mut logits, Activations { data, width }, (part * count, vocab));
            let data = weight.product(&precise.data, 0..width).ok_or_else(misfit)?;
            place(&mut exact, Activations { data, width }, (part * count, vocab));
            Ok::<_, CheckpointError>(())
        })?;
        let bias = format!("{}.bias", tensors.head);
        let loaded = self.load([], [bias.clone()])?;
        let bias = loaded.vector(&bias);
        self.finish(&mut logits, bias);
        self.finish(&mut exact, bias);
        Ok((logits, exact))
    }

    /// What follows the product with the head.
    fn finish<F: Real>(&self, logits: &mut [F], bias: Option<&[f32]>) {
        if let Some(bias) = bias.filter(|bias| !bias.is_empty()) {
            for row in logits.chunks_exact_mut(bias.len()) {
                row.iter_mut().zip(bias).for_each(|(logit, bias)| *logit += F::from(*bias));
            }
        }
        let change = |logits: &mut [F], change: &dyn Fn(f64) -> f64| {
            logits.iter_mut().for_each(|logit| *logit = F::nearest(change((*logit).into())));
        };
        if let Some(factor) = self.number_of(self.outline.factors.logits.as_ref()) {
            change(logits, &|logit| logit * factor);
        }
        if let Some(cap) = self.number_of(self.outline.softcaps.logits.as_ref()) {
            change(logits, &|logit| cap * (logit / cap).tanh());
        }
    }
}
