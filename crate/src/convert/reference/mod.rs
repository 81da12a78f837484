//! An independent forward pass over Hugging Face names: plain loops in float32 or float64, one tensor in memory at a time.
//!
//! It judges conversions, so it shares nothing with `model/`, `spec/` names or the remapping rules: what it computes is
//! written here once more, from the published formulas, against the names that Hugging Face files have.

mod arithmetic;
mod fields;
mod outline;

use half::{bf16, f16};
use serde_json::Value;

use crate::checkpoint::{Checkpoint, CheckpointError};
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
}

/// How far float32 is off, and how large the logits are that it is off from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noise {
    /// Largest difference of the reference's own logits between float32 and float64.
    pub(super) float32: f32,
    /// How many tokens it was measured on.
    pub(super) tokens: usize,
}

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
        Self { checkpoint, config, outline, rounding: None }
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

    fn tensor(&self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        interrupt::check()?;
        let values = widen(&self.checkpoint.read(&self.stored(name).into())?);
        Ok(match self.rounding {
            Some(DType::BF16) => values.into_iter().map(|value| bf16::from_f32(value).to_f32()).collect(),
            Some(DType::F16) => values.into_iter().map(|value| f16::from_f32(value).to_f32()).collect(),
            _ => values,
        })
    }

    fn optional(&self, name: &str) -> Result<Option<Vec<f32>>, CheckpointError> {
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
        let mut bias = self.optional(&format!("{name}.bias"))?;
        let all = weight.len() / x.width;
        if self.outline.matrices == MatrixOutline::InputsFirst {
            weight = (0..all)
                .flat_map(|output| (0..x.width).map(move |input| (input, output)))
                .map(|(input, output)| weight[input * all + output])
                .collect();
        }
        if let Some((first, outputs)) = part {
            weight = weight[first * x.width..][..outputs * x.width].to_vec();
            bias = bias.map(|bias| bias[first..][..outputs].to_vec());
        }
        Ok(project(x, &weight, bias.as_deref()))
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
        let eps = self.number(&norm.eps).unwrap_or(match norm.kind {
            outline::NormKind::RmsNorm => 1e-6,
            outline::NormKind::LayerNorm => 1e-5,
        });
        Ok(normalize(x, norm.kind, &weight, bias.as_deref(), eps))
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
        self.forward_in(ids)
    }

    /// As [`forward`](Self::forward), computed in another type.
    pub(super) fn forward_in<F: Real>(&self, ids: &[u32]) -> Result<(Vec<F>, Vec<Vec<F>>), CheckpointError> {
        let (outline, tensors) = (&self.outline, &self.outline.tensors);
        let hidden = self.size(&outline.width).unwrap_or(0);
        let heads = self.size(&outline.heads).unwrap_or(1);
        let of = |field: &Option<String>| field.as_deref().and_then(|field| self.size(field));
        let groups = of(&outline.kv_heads).unwrap_or(heads);
        let head = of(&outline.head_dim).unwrap_or(hidden / heads);
        let sizes = Sizes { heads, groups, head };
        let frequencies = self.frequencies(head);

        let rows_of = |table: Vec<f32>, rows: &mut dyn Iterator<Item = usize>| -> Vec<F> {
            rows.flat_map(|row| table[row * hidden..][..hidden].iter().map(|&value| F::from(value)).collect::<Vec<_>>())
                .collect()
        };
        let table = self.tensor(&format!("{}.weight", tensors.embedding))?;
        let mut x = Rows { data: rows_of(table, &mut ids.iter().map(|&id| id as usize)), width: hidden };
        if let (PositionOutline::Learned, Some(name)) = (outline.positions, &tensors.positions) {
            let table = self.tensor(&format!("{name}.weight"))?;
            add(&mut x, &Rows { data: rows_of(table, &mut (0..ids.len())), width: hidden });
        }
        let mut streams = Vec::new();
        for layer in 0..self.size(&outline.layers).unwrap_or(0) {
            let named = |name: &str| name.replace("{layer}", &layer.to_string());
            let input = self.norm(&x, &named(&tensors.attention_norm))?;
            let mut q = self.shared(&input, (&tensors.query, layer), Map::Query, &sizes, 0)?;
            let mut k = self.shared(&input, (&tensors.key, layer), Map::Key, &sizes, 0)?;
            let v = self.shared(&input, (&tensors.value, layer), Map::Value, &sizes, 0)?;
            for (x, norm) in [(&mut q, &tensors.query_norm), (&mut k, &tensors.key_norm)] {
                if let Some(norm) = norm {
                    self.norm_heads(x, &named(norm))?;
                }
                match outline.positions {
                    PositionOutline::RotaryHalves => rotate(x, head, &frequencies, false),
                    PositionOutline::RotaryNeighbours => rotate(x, head, &frequencies, true),
                    PositionOutline::Learned | PositionOutline::None => {}
                }
            }
            let mixed = attend(&q, &k, &v, (heads, groups, head), self.window(layer));
            add(&mut x, &self.linear(&mixed, (&tensors.output, layer), None)?);

            let input = self.norm(&x, &named(&tensors.feedforward_norm))?;
            let inner = self.inner(layer)?;
            let up = self.shared(&input, (&tensors.up, layer), Map::Up, &sizes, inner)?;
            let mut inside = match &tensors.gate {
                Some(gate) => self.shared(&input, (gate, layer), Map::Gate, &sizes, inner)?,
                None => Rows { data: up.data.clone(), width: up.width },
            };
            for (value, up) in inside.data.iter_mut().zip(&up.data) {
                let up = if tensors.gate.is_some() { *up } else { F::from(1.0) };
                *value = activate(*value, outline.activation) * up;
            }
            add(&mut x, &self.linear(&inside, (&tensors.down, layer), None)?);
            streams.push(x.data.clone());
        }
        let x = self.norm(&x, &tensors.final_norm)?;
        let tied = self.flag("tie_word_embeddings").unwrap_or(outline.tied);
        let head = self.tensor(&format!("{}.weight", if tied { &tensors.embedding } else { &tensors.head }))?;
        Ok((project(&x, &head, None).data, streams))
    }

    /// How far the logits of the first tokens, which `forward` gave for `ids`, are from those in float64.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub(super) fn noise(&self, ids: &[u32], logits: &[f32], columns: &[u32]) -> Result<Noise, CheckpointError> {
        let parameters = self.checkpoint.table().parameters().max(1) as usize;
        let tokens = (MOST_WORK / parameters).clamp(2, ids.len().max(2)).min(ids.len());
        let (exact, _) = self.forward_in::<f64>(&ids[..tokens])?;
        let vocab = logits.len() / ids.len().max(1);
        let rows = logits.chunks_exact(vocab.max(1)).zip(exact.chunks_exact(vocab.max(1)));
        let off = rows.flat_map(|(row, exact)| {
            columns.iter().map(|&column| (f64::from(row[column as usize]) - exact[column as usize]).abs())
        });
        Ok(Noise { float32: off.fold(0.0, f64::max) as f32, tokens })
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
