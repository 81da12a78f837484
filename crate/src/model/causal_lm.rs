//! The whole model: ids to logits.

use candle_core::{Device, Tensor};
use candle_nn::VarBuilder;

use super::attention::Context;
use super::batch::Batch;
use super::embedding::Embedding;
use super::kv_cache::KvCache;
use super::layer::{child, leaf, linear, norm};
use super::linear::Linear;
use super::norm::RmsNorm;
use super::rope::{Rotation, inverse_frequencies};
use super::stack::LayerStack;
use super::weights::{ParameterSet, Weights, candle_dtype, load_with};
use super::{ModelError, mask};
use crate::spec::{DType, ModelConfig, ModelSpec, Node, TensorTable};

/// A causal language model on a device, built from its spec.
#[derive(Clone, Debug)]
pub struct CausalLm {
    config: ModelConfig,
    table: TensorTable,
    embedding: Embedding,
    stack: LayerStack,
    final_norm: RmsNorm,
    head: Linear,
    frequencies: Vec<f32>,
    parameters: ParameterSet,
    device: Device,
    dtype: DType,
}

impl CausalLm {
    /// Builds the model that `config` describes from `weights`, computing in `dtype` on `device`. With `trainable`,
    /// every parameter is a variable that receives gradients.
    ///
    /// # Errors
    /// [`ModelError`] if a parameter is missing or of another shape, or the device refuses.
    pub fn build(
        config: &ModelConfig,
        weights: Box<dyn Weights + '_>,
        dtype: DType,
        device: &Device,
        trainable: bool,
    ) -> Result<Self, ModelError> {
        let spec = ModelSpec::resolve(config);
        let tied = !spec.ties.is_empty();
        let ((embedding, stack, final_norm, head), parameters) =
            load_with(weights, dtype, device, trainable, |vb| load(&spec.root, tied, vb))?;
        Ok(Self {
            config: config.clone(),
            table: spec.table(dtype),
            embedding,
            stack,
            final_norm,
            head,
            frequencies: inverse_frequencies(&config.rope, config.head_dim),
            parameters,
            device: device.clone(),
            dtype,
        })
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Its parameters' names, shapes and types.
    pub fn table(&self) -> &TensorTable {
        &self.table
    }

    /// Its parameters' values.
    pub fn parameters(&self) -> &ParameterSet {
        &self.parameters
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Logits `[batch, seq, vocab]` in the model's element type.
    ///
    /// # Errors
    /// [`ModelError`] for ids beyond the vocabulary, an interrupt, or the device's refusal.
    pub fn forward(&self, batch: &Batch) -> Result<Tensor, ModelError> {
        self.run(batch, None, &mut |_, _| {})
    }

    /// As [`forward`](Self::forward), continuing after the tokens in `cache` and adding to it.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_cached(&self, batch: &Batch, cache: &mut KvCache) -> Result<Tensor, ModelError> {
        self.run(batch, Some(cache), &mut |_, _| {})
    }

    /// As [`forward`](Self::forward); `observe` sees the residual stream `[batch, seq, hidden]` after each layer.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_observed(
        &self,
        batch: &Batch,
        observe: &mut dyn FnMut(usize, &Tensor),
    ) -> Result<Tensor, ModelError> {
        self.run(batch, None, observe)
    }

    fn run(
        &self,
        batch: &Batch,
        cache: Option<&mut KvCache>,
        observe: &mut dyn FnMut(usize, &Tensor),
    ) -> Result<Tensor, ModelError> {
        batch.check_vocabulary(self.config.vocab_size)?;
        let seen = cache.as_deref().map_or(0, KvCache::seen);
        let dtype = candle_dtype(self.dtype);
        let ids: Vec<u32> = batch.input_ids.iter().flatten().copied().collect();
        let ids = Tensor::from_vec(ids, batch.dims(), &self.device)?;
        let rotation = Rotation::new(&self.frequencies, &batch.positions(seen), dtype, &self.device)?;
        let mask = mask::additive(batch, seen, self.config.sliding_window, &self.device)?;
        let context = Context { rotation: &rotation, mask: &mask };
        let x =
            self.stack.forward(self.embedding.forward(&ids)?, &context, cache, observe).map_err(interrupted_first)?;
        Ok(self.head.forward(&self.final_norm.forward(&x)?)?)
    }
}

type Parts = (Embedding, LayerStack, RmsNorm, Linear);

fn load(root: &Node, tied: bool, vb: &VarBuilder) -> candle_core::Result<Parts> {
    let decoder = child(root, "causal_lm")?;
    let vb_decoder = vb.pp("causal_lm");
    let (table, vb_embedding) = leaf(child(decoder, "input_encoder")?, "embedding", &vb_decoder.pp("input_encoder"))?;
    let embedding = Embedding::load(table, &vb_embedding)?;
    let stack = LayerStack::load(child(decoder, "layer_stack")?, &vb_decoder.pp("layer_stack"))?;
    let final_norm = norm(decoder, "layer_norm", &vb_decoder)?;
    let head = if tied { Linear::from_weight(embedding.weight.clone()) } else { linear(root, "lm_head", vb)? };
    Ok((embedding, stack, final_norm, head))
}

fn interrupted_first(error: candle_core::Error) -> ModelError {
    if crate::interrupt::check().is_err() { crate::interrupt::Interrupted.into() } else { error.into() }
}
