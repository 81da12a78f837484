//! An independent forward pass over Hugging Face names: plain loops in float32 or float64, one tensor in memory at a time.
//!
//! It judges conversions, so it shares nothing with `model/`, `spec/` names or the remapping rules: what it computes is
//! written here once more, from the published formulas, against the names that Hugging Face files have.

mod arithmetic;
mod fields;
mod outline;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use half::{bf16, f16};
use serde_json::Value;

use crate::checkpoint::{Checkpoint, CheckpointError, TensorData};
use crate::interrupt;
use crate::spec::DType;
use arithmetic::{Real, Rows, activate, add, attend, normalize, project, rotate, widen};
pub(super) use outline::Outline;
use outline::{Map, MatrixOutline, PositionOutline, Projection};

/// A checkpoint in Hugging Face names together with its config.json.
pub struct ReferenceModel<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a Value,
    outline: Outline,
    rounding: Option<DType>,
    /// Tensors of the layer that is computed.
    kept: Mutex<HashMap<String, Arc<Vec<f32>>>>,
}

/// What the reference forward computes.
pub(super) struct Passes {
    /// Logits `[tokens × vocab]`.
    pub(super) logits: Vec<f32>,
    /// The residual stream `[tokens × hidden]` after each layer.
    pub(super) streams: Vec<Vec<f32>>,
    /// Logits of the first tokens in float64.
    exact: Vec<f64>,
}

/// How far float32 is off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noise {
    /// Largest difference of the reference's own logits between float32 and float64.
    pub(super) float32: f32,
    /// How many tokens it was measured on.
    pub(super) tokens: usize,
}

impl Passes {
    /// How far the logits over these columns of `vocab` are from those in float64.
    pub(super) fn noise(&self, columns: &[u32], vocab: usize) -> Noise {
        let rows = self.logits.chunks_exact(vocab.max(1)).zip(self.exact.chunks_exact(vocab.max(1)));
        let off = rows.flat_map(|(row, exact)| {
            columns.iter().map(|&column| (f64::from(row[column as usize]) - exact[column as usize]).abs())
        });
        Noise { float32: off.fold(0.0, f64::max) as f32, tokens: self.exact.len() / vocab.max(1) }
    }
}

/// Puts some columns of logits into their places.
fn place<F: Real>(logits: &mut [F], part: Rows<F>, (first, vocab): (usize, usize)) {
    for (row, part) in logits.chunks_exact_mut(vocab).zip(part.data.chunks_exact(part.width)) {
        row[first..][..part.len()].copy_from_slice(part);
    }
}

/// Rows of the head in memory at a time.
const HEAD_ROWS: usize = 4096;

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
    pub(super) fn over(checkpoint: &'a Checkpoint, config: &'a Value, outline: Outline) -> Self {
        Self { checkpoint, config, outline, rounding: None, kept: Mutex::default() }
    }

    /// Rounds every weight to this type before computing, as a cast checkpoint would hold it.
    pub fn rounded_to(mut self, dtype: Option<DType>) -> Self {
        self.rounding = dtype;
        self
    }

    /// A name as the file has it: some leave the first word out.
    fn stored<'n>(&self, name: &'n str) -> &'n str {
        let short = self.outline.optional_prefix.as_deref().and_then(|prefix| name.strip_prefix(prefix));
        short.filter(|short| self.checkpoint.table().get(&(*short).into()).is_some()).unwrap_or(name)
    }

    /// A whole tensor, which is kept until the layer that it belongs to is computed in every type.
    fn tensor(&self, name: &str) -> Result<Arc<Vec<f32>>, CheckpointError> {
        interrupt::check()?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tensor) = kept.get(name) {
            return Ok(Arc::clone(tensor));
        }
        let tensor = Arc::new(self.rounded(widen(&self.checkpoint.read(&self.stored(name).into())?)));
        kept.insert(name.to_owned(), Arc::clone(&tensor));
        Ok(tensor)
    }

    /// Forgets the tensors of a layer.
    fn forget(&self) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn rounded(&self, values: Vec<f32>) -> Vec<f32> {
        match self.rounding {
            Some(DType::BF16) => values.into_iter().map(|value| bf16::from_f32(value).to_f32()).collect(),
            Some(DType::F16) => values.into_iter().map(|value| f16::from_f32(value).to_f32()).collect(),
            _ => values,
        }
    }

    /// Some rows of a matrix, from `first` on: of embeddings and heads, which are larger than all the rest.
    fn rows(&self, name: &str, first: usize, count: usize) -> Result<Vec<f32>, CheckpointError> {
        interrupt::check()?;
        let path = self.stored(name).into();
        let missing = || CheckpointError::NoTensor { tensor: name.to_owned(), path: self.checkpoint.path().to_owned() };
        let row = self.checkpoint.table().get(&path).ok_or_else(missing)?;
        let width: usize = row.shape.iter().skip(1).product();
        let mut bytes = vec![0; count * width * row.dtype.bytes()];
        self.checkpoint.read_at(&path, (first * width * row.dtype.bytes()) as u64, &mut bytes)?;
        let shape = vec![count, width];
        Ok(self.rounded(widen(&TensorData { dtype: row.dtype, shape, bytes })))
    }

    fn optional(&self, name: &str) -> Result<Option<Arc<Vec<f32>>>, CheckpointError> {
        let found = self.checkpoint.table().get(&self.stored(name).into()).is_some();
        if found { self.tensor(name).map(Some) } else { Ok(None) }
    }

    /// A linear map of `outputs` outputs (all of its tensor's, if not given), of which `first` others come before it.
    fn linear<F: Real>(
        &self,
        x: &Rows<F>,
        (map, layer): (&Projection, usize),
        part: Option<(usize, usize)>,
    ) -> Result<Rows<F>, CheckpointError> {
        let name = map.tensor.replace("{layer}", &layer.to_string());
        let mut weight = self.tensor(&format!("{name}.weight"))?;
        let bias = self.optional(&format!("{name}.bias"))?;
        let all = weight.len() / x.width;
        if self.outline.matrices == MatrixOutline::InputsFirst {
            let turned = (0..all).flat_map(|output| (0..x.width).map(move |input| (input, output)));
            weight = Arc::new(turned.map(|(input, output)| weight[input * all + output]).collect());
        }
        let (first, outputs) = part.unwrap_or((0, all));
        let bias = bias.as_ref().map(|bias| &bias[first..][..outputs]);
        Ok(project(x, &weight[first * x.width..][..outputs * x.width], bias))
    }

    /// As [`linear`](Self::linear) for a map that may share its tensor with others, whose sizes are known.
    fn shared<F: Real>(
        &self,
        x: &Rows<F>,
        (map, layer): (&Projection, usize),
        role: Map,
        sizes: &Sizes,
        inner: usize,
    ) -> Result<Rows<F>, CheckpointError> {
        let outputs = |role: &Map| match role {
            Map::Query => sizes.heads * sizes.head,
            Map::Key | Map::Value => sizes.groups * sizes.head,
            Map::Gate | Map::Up => inner,
        };
        let first = map.after.iter().map(outputs).sum();
        self.linear(x, (map, layer), Some((first, outputs(&role))))
    }

    fn norm<F: Real>(&self, x: &Rows<F>, name: &str) -> Result<Rows<F>, CheckpointError> {
        let weight = self.tensor(&format!("{name}.weight"))?;
        let bias = self.optional(&format!("{name}.bias"))?;
        let norm = &self.outline.norm;
        let weight: Vec<f32> = weight.iter().map(|weight| weight + norm.offset).collect();
        let eps = self.number(&norm.eps).unwrap_or(match norm.kind {
            outline::NormKind::RmsNorm => 1e-6,
            outline::NormKind::LayerNorm => 1e-5,
        });
        Ok(normalize(x, norm.kind, &weight, bias.as_ref().map(|bias| bias.as_slice()), eps))
    }

    /// The same over each head's part of a row, where the file has such a norm.
    fn norm_heads<F: Real>(&self, x: &mut Rows<F>, name: &str) -> Result<(), CheckpointError> {
        let weight = format!("{name}.weight");
        let Some(row) = self.checkpoint.table().get(&weight.as_str().into()) else { return Ok(()) };
        let heads = Rows { data: std::mem::take(&mut x.data), width: row.shape.iter().product() };
        x.data = self.norm(&heads, name)?.data;
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

    /// As [`forward`](Self::forward), and the first tokens in float64 as well, as many as take a second or two. One layer is
    /// in memory at a time, and read once.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub(super) fn forward_exactly(&self, ids: &[u32]) -> Result<Passes, CheckpointError> {
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
        let (mut x, mut precise) = (Rows { data: embedded, width: hidden }, Rows { data: start, width: hidden });
        let mut streams = Vec::new();
        for layer in 0..self.size(&self.outline.layers).unwrap_or(0) {
            self.layer(&mut x, layer, &sizes, &frequencies)?;
            if exact > 0 {
                self.layer(&mut precise, layer, &sizes, &frequencies)?;
            }
            self.forget();
            streams.push(x.data.clone());
        }
        let last =
            (self.norm(&x, &self.outline.tensors.final_norm)?, self.norm(&precise, &self.outline.tensors.final_norm)?);
        self.forget();
        let (logits, exact) = self.logits(&last.0, &last.1)?;
        Ok(Passes { logits, streams, exact })
    }

    /// What enters the first layer.
    fn embedded(&self, ids: &[u32]) -> Result<Vec<f32>, CheckpointError> {
        let tensors = &self.outline.tensors;
        let name = format!("{}.weight", tensors.embedding);
        let mut x = Vec::new();
        for (position, &id) in ids.iter().enumerate() {
            let mut row = self.rows(&name, id as usize, 1)?;
            if self.outline.scaled_embedding {
                let scale = (row.len() as f64).sqrt() as f32;
                row.iter_mut().for_each(|value| *value *= scale);
            }
            if let (PositionOutline::Learned, Some(name)) = (self.outline.positions, &tensors.positions) {
                let place = self.rows(&format!("{name}.weight"), position + self.outline.first_position, 1)?;
                row.iter_mut().zip(place).for_each(|(value, place)| *value += place);
            }
            x.extend(row);
        }
        Ok(x)
    }

    /// One layer.
    fn layer<F: Real>(
        &self,
        x: &mut Rows<F>,
        layer: usize,
        sizes: &Sizes,
        frequencies: &[f64],
    ) -> Result<(), CheckpointError> {
        let (outline, tensors) = (&self.outline, &self.outline.tensors);
        let named = |name: &str| name.replace("{layer}", &layer.to_string());
        let input = self.norm(x, &named(&tensors.attention_norm))?;
        let mut q = self.shared(&input, (&tensors.query, layer), Map::Query, sizes, 0)?;
        let mut k = self.shared(&input, (&tensors.key, layer), Map::Key, sizes, 0)?;
        let v = self.shared(&input, (&tensors.value, layer), Map::Value, sizes, 0)?;
        for (x, norm) in [(&mut q, &tensors.query_norm), (&mut k, &tensors.key_norm)] {
            if let Some(norm) = norm {
                self.norm_heads(x, &named(norm))?;
            }
            match outline.positions {
                _ if !self.is_rotated(layer) => {}
                PositionOutline::RotaryHalves => rotate(x, sizes.head, frequencies, false),
                PositionOutline::RotaryNeighbours => rotate(x, sizes.head, frequencies, true),
                PositionOutline::Learned | PositionOutline::None => {}
            }
        }
        let mixed = attend(&q, &k, &v, (sizes.heads, sizes.groups, sizes.head), self.window(layer));
        add(x, &self.linear(&mixed, (&tensors.output, layer), None)?);

        let input = self.norm(x, &named(&tensors.feedforward_norm))?;
        let inner = self.inner(layer)?;
        let up = self.shared(&input, (&tensors.up, layer), Map::Up, sizes, inner)?;
        let mut inside = match &tensors.gate {
            Some(gate) => self.shared(&input, (gate, layer), Map::Gate, sizes, inner)?,
            None => Rows { data: up.data.clone(), width: up.width },
        };
        for (value, up) in inside.data.iter_mut().zip(&up.data) {
            let up = if tensors.gate.is_some() { *up } else { F::from(1.0) };
            *value = activate(*value, outline.activation) * up;
        }
        add(x, &self.linear(&inside, (&tensors.down, layer), None)?);
        Ok(())
    }

    /// Logits of both passes, some rows of the head at a time.
    fn logits(&self, x: &Rows<f32>, precise: &Rows<f64>) -> Result<(Vec<f32>, Vec<f64>), CheckpointError> {
        let tensors = &self.outline.tensors;
        let tied = self.flag("tie_word_embeddings").unwrap_or(self.outline.tied);
        let name = format!("{}.weight", if tied { &tensors.embedding } else { &tensors.head });
        let row = self.checkpoint.table().get(&self.stored(&name).into());
        let vocab = row.and_then(|row| row.shape.first().copied()).unwrap_or(0);
        let tokens = |len: usize| len / x.width.max(1);
        let mut logits = vec![0.0; tokens(x.data.len()) * vocab];
        let mut exact = vec![0.0; tokens(precise.data.len()) * vocab];
        for first in (0..vocab).step_by(HEAD_ROWS) {
            let weight = self.rows(&name, first, HEAD_ROWS.min(vocab - first))?;
            place(&mut logits, project(x, &weight, None), (first, vocab));
            place(&mut exact, project(precise, &weight, None), (first, vocab));
        }
        Ok((logits, exact))
    }

    /// The width inside the feed-forward part: the inputs of its last map.
    fn inner(&self, layer: usize) -> Result<usize, CheckpointError> {
        let name = format!("{}.weight", self.outline.tensors.down.tensor.replace("{layer}", &layer.to_string()));
        let elements =
            self.checkpoint.table().get(&self.stored(&name).into()).map(|row| row.shape.iter().product::<usize>());
        let missing = || CheckpointError::NoTensor { tensor: name.clone(), path: self.checkpoint.path().to_owned() };
        Ok(elements.ok_or_else(missing)? / self.size(&self.outline.width).unwrap_or(1).max(1))
    }
}
