//! An independent forward pass over Hugging Face names, in float32 or float64: one layer is in memory, the next one is
//! read meanwhile.
//!
//! It judges conversions, so it shares nothing with `model/`, `spec/` names or the remapping rules: what it computes is
//! written here again, from the published formulas, against the names that Hugging Face files have. Only the matrix
//! product itself is that of `ops`, which tests hold against plain sums.

mod arithmetic;
mod fields;
mod weights;

use serde_json::Value;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::naming::outline::{self, Map, Outline, PositionOutline, Projection};
use crate::ops::Widened;
use crate::parallel::read_ahead;
use crate::spec::DType;
use arithmetic::{Activations, Real, activate, add, attend, normalize, rotate};
use weights::Loaded;

/// A checkpoint in Hugging Face names together with its config.json.
pub struct ReferenceModel<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a Value,
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
struct Sizes {
    heads: usize,
    groups: usize,
    head: usize,
}

impl<'a> ReferenceModel<'a> {
    /// Over a checkpoint and its config.json, which are read by `outline`.
    pub(crate) fn over(checkpoint: &'a Checkpoint, config: &'a Value, outline: Outline) -> Self {
        Self { checkpoint, config, outline, rounding: None }
    }

    /// Rounds every weight to this type before computing, as a cast checkpoint would hold it.
    pub fn rounded_to(mut self, dtype: Option<DType>) -> Self {
        self.rounding = dtype;
        self
    }

    /// Returns the tensors of a layer, by the outline.
    fn names(&self, layer: usize) -> Vec<String> {
        let tensors = &self.outline.tensors;
        let maps = [&tensors.query, &tensors.key, &tensors.value, &tensors.output, &tensors.up, &tensors.down];
        let maps = maps.into_iter().chain(&tensors.gate).map(|map| &map.tensor);
        let norms = [&tensors.query_norm, &tensors.key_norm].into_iter().flatten();
        let norms = norms.chain([&tensors.attention_norm, &tensors.feedforward_norm]);
        let modules = maps.chain(norms).map(|name| name.replace("{layer}", &layer.to_string()));
        modules.flat_map(|name| [format!("{name}.weight"), format!("{name}.bias")]).collect()
    }

    /// A linear layer of `outputs` outputs (all of its tensor's, if not given), of which `first` others come before it.
    fn linear<F: Real + Widened>(
        &self,
        loaded: &Loaded,
        x: &Activations<F>,
        (map, layer): (&Projection, usize),
        part: Option<(usize, usize)>,
    ) -> Result<Activations<F>, CheckpointError> {
        let name = map.tensor.replace("{layer}", &layer.to_string());
        loaded.project(x, &name, part).ok_or_else(|| self.misfit(&format!("{name}.weight")))
    }

    /// As [`linear`](Self::linear) for a map that may share its tensor with others, whose sizes are known.
    fn shared<F: Real + Widened>(
        &self,
        loaded: &Loaded,
        x: &Activations<F>,
        (map, layer): (&Projection, usize),
        role: Map,
        (sizes, inner): (&Sizes, usize),
    ) -> Result<Activations<F>, CheckpointError> {
        let outputs = |role: &Map| match role {
            Map::Query => sizes.heads * sizes.head,
            Map::Key | Map::Value => sizes.groups * sizes.head,
            Map::Gate | Map::Up => inner,
        };
        let first = map.after.iter().map(outputs).sum();
        self.linear(loaded, x, (map, layer), Some((first, outputs(&role))))
    }

    fn norm<F: Real>(
        &self,
        loaded: &Loaded,
        x: &Activations<F>,
        name: &str,
    ) -> Result<Activations<F>, CheckpointError> {
        let weight = format!("{name}.weight");
        let missing = || CheckpointError::NoTensor { tensor: weight.clone(), path: self.checkpoint.path().to_owned() };
        let values = loaded.vector(&weight).ok_or_else(missing)?;
        let norm = &self.outline.norm;
        let values: Vec<f32> = values.iter().map(|weight| weight + norm.offset).collect();
        let eps = self.number(&norm.eps).unwrap_or(match norm.kind {
            outline::NormKind::RmsNorm => 1e-6,
            outline::NormKind::LayerNorm => 1e-5,
        });
        Ok(normalize(x, norm.kind, &values, loaded.vector(&format!("{name}.bias")), eps))
    }

    /// The same over each head's part of a row, where the file has such a norm.
    fn norm_heads<F: Real>(&self, loaded: &Loaded, x: &mut Activations<F>, name: &str) -> Result<(), CheckpointError> {
        let Some(weight) = loaded.vector(&format!("{name}.weight")) else { return Ok(()) };
        let heads = Activations { data: std::mem::take(&mut x.data), width: weight.len() };
        x.data = self.norm(loaded, &heads, name)?.data;
        Ok(())
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
        let hidden = self.size(&self.outline.width).unwrap_or(0);
        let heads = self.size(&self.outline.heads).unwrap_or(1);
        let of = |field: &Option<String>| field.as_deref().and_then(|field| self.size(field));
        let groups = of(&self.outline.kv_heads).unwrap_or(heads);
        let head = of(&self.outline.head_dim).unwrap_or(hidden / heads);
        let sizes = Sizes { heads, groups, head };
        let frequencies = self.frequencies(head);
        let embedded = self.embedded(ids)?;
        let start = embedded[..exact * hidden].iter().map(|&value| f64::from(value)).collect();
        let (mut x, mut precise) =
            (Activations { data: embedded, width: hidden }, Activations { data: start, width: hidden });
        let mut streams = Vec::new();
        let layers = self.size(&self.outline.layers).unwrap_or(0);
        let read = |layer: usize| self.load(self.names(layer));
        read_ahead(layers, read, |layer, loaded| {
            self.layer(&loaded, &mut x, layer, (&sizes, &frequencies))?;
            if exact > 0 {
                self.layer(&loaded, &mut precise, layer, (&sizes, &frequencies))?;
            }
            streams.push(x.data.clone());
            Ok::<_, CheckpointError>(())
        })?;
        let norm = &self.outline.tensors.final_norm;
        let loaded = self.load([format!("{norm}.weight"), format!("{norm}.bias")])?;
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
            if let (PositionOutline::Learned, Some(name)) = (self.outline.positions, &tensors.positions) {
                let place = self.row(&format!("{name}.weight"), position + self.outline.first_position)?;
                row.iter_mut().zip(place).for_each(|(value, place)| *value += place);
            }
            x.extend(row);
        }
        Ok(x)
    }

    /// One layer.
    fn layer<F: Real + Widened>(
        &self,
        loaded: &Loaded,
        x: &mut Activations<F>,
        layer: usize,
        (sizes, frequencies): (&Sizes, &[f64]),
    ) -> Result<(), CheckpointError> {
        let (outline, tensors) = (&self.outline, &self.outline.tensors);
        let named = |name: &str| name.replace("{layer}", &layer.to_string());
        let input = self.norm(loaded, x, &named(&tensors.attention_norm))?;
        let mut q = self.shared(loaded, &input, (&tensors.query, layer), Map::Query, (sizes, 0))?;
        let mut k = self.shared(loaded, &input, (&tensors.key, layer), Map::Key, (sizes, 0))?;
        let v = self.shared(loaded, &input, (&tensors.value, layer), Map::Value, (sizes, 0))?;
        for (x, norm) in [(&mut q, &tensors.query_norm), (&mut k, &tensors.key_norm)] {
            if let Some(norm) = norm {
                self.norm_heads(loaded, x, &named(norm))?;
            }
            match outline.positions {
                _ if !self.is_rotated(layer) => {}
                PositionOutline::RotaryHalves => rotate(x, sizes.head, frequencies, false),
                PositionOutline::RotaryNeighbors => rotate(x, sizes.head, frequencies, true),
                PositionOutline::Learned | PositionOutline::None => {}
            }
        }
        let mixed = attend(&q, &k, &v, (sizes.heads, sizes.groups, sizes.head), self.window(layer));
        add(x, &self.linear(loaded, &mixed, (&tensors.output, layer), None)?);

        let input = self.norm(loaded, x, &named(&tensors.feedforward_norm))?;
        let inner = self.inner(layer)?;
        let up = self.shared(loaded, &input, (&tensors.up, layer), Map::Up, (sizes, inner))?;
        let mut inside = match &tensors.gate {
            Some(gate) => self.shared(loaded, &input, (gate, layer), Map::Gate, (sizes, inner))?,
            None => Activations { data: up.data.clone(), width: up.width },
        };
        for (value, up) in inside.data.iter_mut().zip(&up.data) {
            let up = if tensors.gate.is_some() { *up } else { F::from(1.0) };
            *value = activate(*value, outline.activation) * up;
        }
        add(x, &self.linear(loaded, &inside, (&tensors.down, layer), None)?);
        Ok(())
    }

    /// Logits of both passes, some rows of the head at a time.
    fn logits(
        &self,
        x: &Activations<f32>,
        precise: &Activations<f64>,
    ) -> Result<(Vec<f32>, Vec<f64>), CheckpointError> {
        let tensors = &self.outline.tensors;
        let tied = self.flag("tie_word_embeddings").unwrap_or(self.outline.tied);
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
        Ok((logits, exact))
    }

    /// Returns the width inside the feed-forward part: the inputs of its last map.
    fn inner(&self, layer: usize) -> Result<usize, CheckpointError> {
        let name = format!("{}.weight", self.outline.tensors.down.tensor.replace("{layer}", &layer.to_string()));
        let elements =
            self.checkpoint.table().get(&self.stored(&name).into()).map(|row| row.shape.iter().product::<usize>());
        let missing = || CheckpointError::NoTensor { tensor: name.clone(), path: self.checkpoint.path().to_owned() };
        Ok(elements.ok_or_else(missing)? / self.size(&self.outline.width).unwrap_or(1).max(1))
    }
}
