//! The whole model: ids to logits.

use candle_core::{Device, Tensor};
use candle_nn::VarBuilder;

use super::ModelError;
use super::batch::Batch;
use super::context::{Context, SharedInputs};
use super::kv_cache::KvCache;
use super::parameters::recorder::{ParameterSet, load_with};
use super::parameters::weights::Weights;
use super::parts::dropout::Dropout;
use super::parts::embedding::InputEncoder;
use super::parts::head::Head;
use super::parts::layer::{Layer, child, norm_if_any};
use super::parts::norm::Norm;
use super::parts::stack::LayerStack;
use crate::ops::AttentionImplementation;
use crate::spec::{DType, ModelConfig, ModelSpec, Node, Part, Recipe, RecipeMisfit, Role, TensorTable};

/// A causal language model on a device, built from its spec.
#[derive(Clone, Debug)]
pub struct CausalLm {
    config: ModelConfig,
    table: TensorTable,
    encoder: InputEncoder,
    stack: LayerStack,
    final_norm: Option<Norm>,
    head: Head,
    shared: SharedInputs,
    parameters: ParameterSet,
    device: Device,
    attention: AttentionImplementation,
}

impl CausalLm {
    /// Builds the model that `config` describes from `weights`, computing in `dtype` on `device`. With `trainable`,
    /// every parameter is a variable that receives gradients.
    ///
    /// # Errors
    /// [`ModelError`] if a parameter is missing or of another shape, or the device fails.
    pub fn build(
        config: &ModelConfig,
        weights: Box<dyn Weights + '_>,
        dtype: DType,
        device: &Device,
        trainable: bool,
    ) -> Result<Self, ModelError> {
        let spec = ModelSpec::resolve(config);
        let tied = !spec.ties.is_empty();
        let table = spec.table(dtype);
        let ((encoder, stack, final_norm, head), parameters) =
            load_with(weights, &table, dtype, device, trainable, |vb| load(&spec.root, tied, config, vb))?;
        Ok(Self {
            config: config.clone(),
            table,
            encoder,
            stack,
            final_norm,
            head,
            shared: SharedInputs::of(&spec.root),
            parameters,
            device: device.clone(),
            attention: AttentionImplementation::default(),
        })
    }

    /// Returns the same model, whose forward passes compute attention by this implementation (default: sdpa).
    #[must_use]
    pub fn with_attention(mut self, attention: AttentionImplementation) -> Self {
        self.attention = attention;
        self
    }

    /// The same model over the same parameters, whose forward passes round weights and inputs of all linear layers but the
    /// head as `recipe` will when they are stored, so that what the model learns survives. Gradients pass through the
    /// rounding. Weights that are already low-bit do not change.
    ///
    /// # Errors
    /// [`RecipeMisfit`] if the recipe has no groups for one of the layers.
    pub fn with_fake_quant(mut self, recipe: Recipe) -> Result<Self, RecipeMisfit> {
        let quantization = recipe.for_model(&self.config)?;
        let scheme = quantization.groups[0].scheme;
        self.encoder.round(scheme);
        self.stack.layers_mut().iter_mut().for_each(|layer| layer.round(scheme));
        Ok(self)
    }

    /// Returns the configuration that it was built from.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Returns its parameters' names, shapes and types.
    pub fn table(&self) -> &TensorTable {
        &self.table
    }

    /// Returns its parameters' values.
    pub fn parameters(&self) -> &ParameterSet {
        &self.parameters
    }

    /// Returns the device that it computes on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns logits `[batch, seq, vocab]` in the model's element type.
    ///
    /// # Errors
    /// [`ModelError`] for ids beyond the vocabulary, an interrupt, or an error of the device.
    pub fn forward(&self, batch: &Batch) -> Result<Tensor, ModelError> {
        self.run(batch, None, None, &mut |_, _| {})
    }

    /// Returns whether all parts of the model continue after the tokens of a cache. Parts of users may not.
    pub fn caches(&self) -> bool {
        self.shared.caches
    }

    /// Returns whether a cache of `known` tokens cannot be continued to a text of `length` tokens, because the longer text is
    /// rotated with other frequencies (LongRoPE).
    pub fn outgrows(&self, known: usize, length: usize) -> bool {
        self.shared.changes_between(known, length)
    }

    /// Like [`forward`](Self::forward), continuing after the tokens in `cache` and adding to it.
    ///
    /// # Errors
    /// As [`forward`](Self::forward), and if a part of the model does not [cache](Self::caches).
    pub fn forward_cached(&self, batch: &Batch, cache: &mut KvCache) -> Result<Tensor, ModelError> {
        self.shared.require_caches()?;
        self.run(batch, Some(cache), None, &mut |_, _| {})
    }

    /// Like [`forward`](Self::forward); `observe` sees the residual stream `[batch, seq, hidden]` after each layer.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_observed(
        &self,
        batch: &Batch,
        observe: &mut dyn FnMut(usize, &Tensor),
    ) -> Result<Tensor, ModelError> {
        self.run(batch, None, None, observe)
    }

    /// Like [`forward`](Self::forward) with dropouts, whose masks follow from the seed. Models without dropout give the
    /// same.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_training(&self, batch: &Batch, dropout_seed: u64) -> Result<Tensor, ModelError> {
        self.run(batch, None, Some(Dropout { seed: dropout_seed }), &mut |_, _| {})
    }

    fn run(
        &self,
        batch: &Batch,
        mut cache: Option<&mut KvCache>,
        dropout: Option<Dropout>,
        observe: &mut dyn FnMut(usize, &Tensor),
    ) -> Result<Tensor, ModelError> {
        let past_len = cache.as_deref().map_or(0, KvCache::past_len);
        self.check(batch, past_len)?;
        let context = Context::new(&self.shared, batch, past_len, &self.device, self.attention, dropout)?;
        let x = self.encode(batch, past_len, &context)?;
        let mut x = self.stack.forward(x, &context, cache.as_deref_mut(), observe).map_err(interrupted_first)?;
        if let Some(cache) = cache {
            cache.advance(batch.dims().1);
        }
        if let Some(norm) = &self.final_norm {
            x = norm.forward(&x)?;
        }
        Ok(self.head.forward(&x)?)
    }
}

/// Pieces of the model for a training step.
impl CausalLm {
    /// That the tables have a row for each token, and for each position after `past_len` others.
    fn check(&self, batch: &Batch, past_len: usize) -> Result<(), ModelError> {
        batch.check_vocabulary(self.config.vocab_size)?;
        self.encoder.max_positions().map_or(Ok(()), |max_positions| batch.check_positions(max_positions, past_len))
    }

    pub(super) fn context(
        &self,
        batch: &Batch,
        attention: AttentionImplementation,
        dropout_seed: Option<u64>,
    ) -> Result<Context, ModelError> {
        self.check(batch, 0)?;
        let dropout = dropout_seed.map(|seed| Dropout { seed });
        Ok(Context::new(&self.shared, batch, 0, &self.device, attention, dropout)?.for_training())
    }

    /// Input vectors `[batch, seq, hidden]` of the tokens that follow `past_len` others.
    pub(super) fn encode(&self, batch: &Batch, past_len: usize, context: &Context) -> candle_core::Result<Tensor> {
        let ids: Vec<u32> = batch.input_ids.iter().flatten().copied().collect();
        let ids = Tensor::from_vec(ids, batch.dims(), &self.device)?;
        self.encoder.forward(&ids, &batch.positions(past_len), context)
    }

    pub(super) fn layers(&self) -> &[Layer] {
        self.stack.layers()
    }

    pub(super) fn final_norm(&self) -> Option<&Norm> {
        self.final_norm.as_ref()
    }

    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// Returns the embedding table, if the head is tied to it.
    pub(super) fn tied(&self) -> Option<&Tensor> {
        Some(&self.encoder.weight).filter(|table| self.head.weight().is_some_and(|head| head.id() == table.id()))
    }
}

type Parts = (InputEncoder, LayerStack, Option<Norm>, Head);

fn load(root: &Node, tied: bool, config: &ModelConfig, vb: &VarBuilder) -> candle_core::Result<Parts> {
    let (decoder, inside) = child(root, |part| matches!(part, Part::Decoder), vb)?;
    let (encoder, vb_encoder) = child(decoder, |part| matches!(part, Part::InputEncoder { .. }), &inside)?;
    let encoder = InputEncoder::load(encoder, &vb_encoder)?;
    let (stack, vb_stack) = child(decoder, |part| matches!(part, Part::LayerStack), &inside)?;
    let stack = LayerStack::load(stack, &vb_stack)?;
    let final_norm = norm_if_any(decoder, Role::FinalNorm, &inside)?;
    let head = Head::load(root, tied.then_some(&encoder.weight), config, vb)?;
    Ok((encoder, stack, final_norm, head))
}

pub(super) fn interrupted_first(error: candle_core::Error) -> ModelError {
    if crate::interrupt::check().is_err() { crate::interrupt::Interrupted.into() } else { error.into() }
}
