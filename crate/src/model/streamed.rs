//! A model that is in memory layer by layer: one layer computes while the next one is read.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use candle_core::{Device, Tensor};

use super::batch::Batch;
use super::causal_lm::interrupted_first;
use super::context::{Context, SharedInputs};
use super::kv_cache::KvCache;
use super::parameters::recorder::load_part;
use super::parameters::weights::Weights;
use super::parts::embedding::InputEncoder;
use super::parts::head::LogitForm;
use super::parts::layer::{Layer, child, linear, norm_if_any};
use super::parts::layer_input::LayerInputs;
use super::parts::linear::Linear;
use super::parts::stack::{self, LayerStack};
use super::{ModelError, candle_dtype};
use crate::ops::AttentionImplementation;
use crate::parallel::read_ahead;
use crate::spec::{DType, Leaf, ModelConfig, ModelSpec, Node, Part, Role, TensorRow, TensorTable};
use crate::{interrupt, memory};

/// Elements of a head that are in memory at a time.
const HEAD_PART: usize = 16 << 20;

/// Memory of a forward pass besides layers, parts of the head and logits: activations of some tokens, buffers, the program.
const REST: u64 = 96 << 20;

/// A causal language model whose weights are read as they are needed, to compute logits in float32. They stay in the type
/// that they are stored in and are widened block by block.
pub struct StreamedLm<'a> {
    config: ModelConfig,
    root: Node,
    table: TensorTable,
    weights: Box<dyn Weights + 'a>,
    shared: SharedInputs,
    device: Device,
    layers: usize,
    /// The layers that stay in memory after they were read, if any do.
    kept: Option<Mutex<HashMap<usize, Layer>>>,
}

impl<'a> StreamedLm<'a> {
    /// Makes the model that `config` describes from `weights`, without reading them.
    ///
    /// # Errors
    /// [`ModelError`] if the configuration's tree has no layers.
    pub fn new(config: &ModelConfig, weights: Box<dyn Weights + 'a>, device: &Device) -> Result<Self, ModelError> {
        let spec = ModelSpec::resolve(config);
        Ok(Self {
            config: config.clone(),
            table: spec.table(DType::F32),
            shared: SharedInputs::of(&spec.root),
            layers: layer_nodes(&spec.root).map_or(0, stack::count),
            root: spec.root,
            weights,
            device: device.clone(),
            kept: None,
        })
    }

    /// Keeps layers in memory from their first use on, for many passes.
    #[must_use]
    pub fn keeping_layers(mut self, keep: bool) -> Self {
        self.kept = keep.then(Mutex::default);
        self
    }

    /// Returns the configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Logits `[batch × seq × vocab]`, row-major; `observe` sees the residual stream `[batch, seq, hidden]` after each layer.
    ///
    /// # Errors
    /// [`ModelError`] if a parameter is missing, of another shape or cannot be read; for ids beyond the vocabulary, an
    /// interrupt, or an error of the device.
    pub fn forward_observed(
        &self,
        batch: &Batch,
        observe: &mut dyn FnMut(usize, &Tensor),
    ) -> Result<Vec<f32>, ModelError> {
        self.run(batch, None, observe)
    }

    /// Returns whether a cache of `known` tokens cannot be continued to a text of `length` tokens.
    pub fn outgrows(&self, known: usize, length: usize) -> bool {
        self.shared.changes_between(known, length)
    }

    /// Like [`forward_observed`](Self::forward_observed), continuing after the tokens in `cache` and adding to it.
    ///
    /// # Errors
    /// As [`forward_observed`](Self::forward_observed), and if a part of the model does not keep keys and values.
    pub fn forward_cached(&self, batch: &Batch, cache: &mut KvCache) -> Result<Vec<f32>, ModelError> {
        self.shared.require_caches()?;
        self.run(batch, Some(cache), &mut |_, _| {})
    }

    fn run(
        &self,
        batch: &Batch,
        mut cache: Option<&mut KvCache>,
        observe: &mut dyn FnMut(usize, &Tensor),
    ) -> Result<Vec<f32>, ModelError> {
        let past_len = cache.as_deref().map_or(0, KvCache::past_len);
        batch.check_vocabulary(self.config.vocab_size)?;
        if let Some(max_positions) = self.rows_of(Role::PositionEmbedding).and_then(|row| row.shape.first()) {
            batch.check_positions(*max_positions, past_len)?;
        }
        let attention = AttentionImplementation::default();
        let context = Context::new(&self.shared, batch, past_len, &self.device, attention, None)?;
        let mut x = self.encode(batch, past_len, &context)?;
        let work = |index: usize, layer: Layer| {
            interrupt::check()?;
            x = layer.forward(&x, &context, index, cache.as_deref_mut()).map_err(interrupted_first)?;
            observe(index, &layer.stream_of(&x)?);
            Ok::<_, ModelError>(())
        };
        read_ahead(self.layers, |index| self.layer(index), work)?;
        if let Some(cache) = cache {
            cache.advance(batch.dims().1);
        }
        self.logits(&x)
    }

    fn layer(&self, index: usize) -> Result<Layer, ModelError> {
        if let Some(kept) = &self.kept
            && let Some(layer) = kept.lock().unwrap_or_else(PoisonError::into_inner).get(&index)
        {
            return Ok(layer.clone());
        }
        let mut layer = load_part(&*self.weights, &self.table, &self.device, |vb| {
            let (decoder, vb) = child(&self.root, |part| matches!(part, Part::Decoder), vb)?;
            let (stack, vb) = child(decoder, |part| matches!(part, Part::LayerStack), &vb)?;
            LayerStack::load_one(stack, index, &vb)
        })?;
        layer.stream();
        if let Some(kept) = &self.kept {
            kept.lock().unwrap_or_else(PoisonError::into_inner).insert(index, layer.clone());
        }
        Ok(layer)
    }

    /// Returns the parameter of this role that has rows, if there is one.
    fn rows_of(&self, role: Role) -> Option<&TensorRow> {
        self.table.of_role(role).find(|row| row.shape.len() == 2)
    }

    /// Returns some rows of a table, in float32.
    fn gathered(&self, row: &TensorRow, wanted: &[u32]) -> Result<Tensor, ModelError> {
        let mut parts = Vec::new();
        let mut start = 0;
        while start < wanted.len() {
            // Neighbors are read at once.
            let first = wanted[start] as usize;
            let count = (start..wanted.len()).take_while(|at| wanted[*at] as usize == first + at - start).count();
            let rows = first..first + count;
            let Some(part) = self.weights.rows(&row.path, &row.shape, rows, DType::F32, &self.device)? else {
                let whole = self.weights.narrow(&row.path, &row.shape, DType::F32, &self.device)?;
                let wanted = Tensor::from_vec(wanted.to_vec(), wanted.len(), &self.device)?;
                return Ok(whole.index_select(&wanted, 0)?.to_dtype(candle_dtype(DType::F32))?);
            };
            parts.push(part);
            start += count;
        }
        Ok(Tensor::cat(&parts, 0)?.to_dtype(candle_dtype(DType::F32))?)
    }

    /// Input vectors `[batch, seq, hidden]`, of the rows of the tables that the batch names.
    fn encode(&self, batch: &Batch, past_len: usize, context: &Context) -> Result<Tensor, ModelError> {
        let missing = || ModelError::from(candle_core::Error::msg("the model has no embedding"));
        let table = self.rows_of(Role::TokenEmbedding).ok_or_else(missing)?;
        let ids: Vec<u32> = batch.input_ids.iter().flatten().copied().collect();
        let mut wanted = ids.clone();
        wanted.sort_unstable();
        wanted.dedup();
        let weight = self.gathered(table, &wanted)?;
        let places: Vec<u32> = ids.iter().map(|id| wanted.partition_point(|known| known < id) as u32).collect();
        let places = Tensor::from_vec(places, batch.dims(), &self.device)?;
        let positions = batch.positions(past_len);
        let last = positions.iter().flatten().copied().max().unwrap_or(0);
        let learned = self.rows_of(Role::PositionEmbedding);
        let learned = learned.map(|row| self.gathered(row, &(0..=last).collect::<Vec<u32>>())).transpose()?;
        let encoder = encoder_node(&self.root).ok_or_else(missing)?;
        let norm = load_part(&*self.weights, &self.table, &self.device, |vb| {
            let (decoder, vb) = child(&self.root, |part| matches!(part, Part::Decoder), vb)?;
            let (encoder, vb) = child(decoder, |part| matches!(part, Part::InputEncoder { .. }), &vb)?;
            norm_if_any(encoder, Role::EmbeddingNorm, &vb)
        })?;
        let inputs = self.rows_of(Role::LayerInputEmbedding).map(|row| self.gathered(row, &wanted)).transpose()?;
        let inputs = inputs.map(|rows| {
            load_part(&*self.weights, &self.table, &self.device, |vb| {
                let (decoder, vb) = child(&self.root, |part| matches!(part, Part::Decoder), vb)?;
                let (encoder, vb) = child(decoder, |part| matches!(part, Part::InputEncoder { .. }), &vb)?;
                LayerInputs::of_rows(encoder, rows.clone(), &vb)
            })
        });
        let encoder = InputEncoder::of_rows(encoder, weight, learned, norm, inputs.transpose()?)?;
        Ok(encoder.forward(&places, &positions, context)?)
    }

    /// Returns the logits of the residual stream after the last layer, some rows of the head at a time.
    fn logits(&self, x: &Tensor) -> Result<Vec<f32>, ModelError> {
        let norm = load_part(&*self.weights, &self.table, &self.device, |vb| {
            let (decoder, vb) = child(&self.root, |part| matches!(part, Part::Decoder), vb)?;
            norm_if_any(decoder, Role::FinalNorm, &vb)
        })?;
        let x = norm.map_or_else(|| Ok(x.clone()), |norm| norm.forward(x))?;
        let form = LogitForm::of(&self.config);
        let Some(row) = self.rows_of(Role::Head).filter(|_| !self.quantizes_head()) else {
            let head = load_part(&*self.weights, &self.table, &self.device, |vb| linear(&self.root, Role::Head, vb))?;
            return Ok(form.apply(head.forward(&x)?)?.flatten_all()?.to_vec1()?);
        };
        let (vocab, width) = (row.shape[0], row.shape[1]);
        let stored = row.tied_to.as_ref().unwrap_or(&row.path);
        let read = |rows| self.weights.rows(stored, &row.shape, rows, DType::F32, &self.device);
        let bias = self.table.of_role(Role::Head).find(|row| row.shape.len() == 1);
        let bias =
            bias.map(|bias| self.weights.tensor(&bias.path, &bias.shape, DType::F32, &self.device)).transpose()?;
        let count = (HEAD_PART / width.max(1)).clamp(1, vocab.max(1));
        let whole = match read(0..1)? {
            Some(_) => None,
            None => Some(self.weights.narrow(stored, &row.shape, DType::F32, &self.device)?),
        };
        let part = |index: usize| {
            let rows = index * count..vocab.min((index + 1) * count);
            let bias = bias.as_ref().map(|bias| bias.narrow(0, rows.start, rows.len())).transpose()?;
            let weight = match &whole {
                Some(whole) => Some(whole.narrow(0, rows.start, rows.len())?),
                None => read(rows)?,
            };
            let weight = weight.ok_or_else(|| candle_core::Error::msg("rows of the head cannot be read"))?;
            Ok::<_, ModelError>(Linear::streamed(weight, bias))
        };
        let tokens = x.elem_count() / width.max(1);
        let bytes = tokens.saturating_mul(vocab).saturating_mul(4);
        if !memory::is_obtainable(bytes) {
            return Err(ModelError::NoMemory { path: "logits".to_owned(), bytes });
        }
        let mut logits = vec![0f32; tokens * vocab];
        read_ahead(vocab.div_ceil(count), part, |index, part| {
            interrupt::check()?;
            let values: Vec<f32> = form.apply(part.forward(&x)?)?.flatten_all()?.to_vec1()?;
            let width = values.len() / tokens.max(1);
            for (row, values) in logits.chunks_exact_mut(vocab).zip(values.chunks_exact(width.max(1))) {
                row[index * count..][..width].copy_from_slice(values);
            }
            Ok::<_, ModelError>(())
        })?;
        Ok(logits)
    }

    fn quantizes_head(&self) -> bool {
        let head = self.root.child(Role::Head).map(|head| &head.part);
        matches!(head, Some(Part::Leaf(Leaf::Linear { quantized: Some(_), .. })))
    }
}

fn decoder(root: &Node) -> Option<&Node> {
    root.children.iter().find(|child| matches!(child.part, Part::Decoder))
}

fn encoder_node(root: &Node) -> Option<&Node> {
    decoder(root)?.children.iter().find(|child| matches!(child.part, Part::InputEncoder { .. }))
}

/// Returns the node whose children are the layers.
fn layer_nodes(root: &Node) -> Option<&Node> {
    let stack = decoder(root)?.children.iter().find(|child| matches!(child.part, Part::LayerStack))?;
    stack.children.iter().find(|child| matches!(child.part, Part::Layers))
}

/// Returns the bytes of a node's parameters, stored as `dtype`.
fn bytes_of(node: &Node, dtype: DType) -> u64 {
    let own = match &node.part {
        Part::Leaf(leaf) => leaf.params().iter().map(|param| bytes(&param.shape, param.dtype.unwrap_or(dtype))).sum(),
        _ => 0,
    };
    let inside: u64 = node.children.iter().map(|child| bytes_of(child, dtype)).sum();
    own + inside * node.repeat.unwrap_or(1) as u64
}

fn bytes(shape: &[usize], dtype: DType) -> u64 {
    shape.iter().map(|&dim| dim as u64).product::<u64>() * dtype.bytes() as u64
}

/// Returns the bytes that a streamed model with this configuration needs to compute logits of this many tokens, with weights
/// stored as `dtype`: two layers, parts of the head, activations.
pub fn streamed_memory(config: &ModelConfig, dtype: DType, tokens: usize) -> u64 {
    let root = ModelSpec::resolve(config).root;
    let layers = layer_nodes(&root).into_iter().flat_map(|layers| &layers.children);
    let layer = layers.map(|layer| bytes_of(layer, dtype)).max().unwrap_or(0);
    let (tokens, vocab, hidden) = (tokens as u64, config.vocab_size as u64, config.hidden_size as u64);
    let inside = (config.intermediate_size as u64).max(hidden);
    let head = 2 * (HEAD_PART * dtype.bytes()) as u64;
    2 * layer + head + 4 * tokens * (2 * vocab + 4 * inside + 8 * hidden) + REST
}
