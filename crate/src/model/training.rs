//! One training step's loss and gradients, a segment at a time.
//!
//! candle's backward keeps every gradient until it ends, walks the graph by recursion, and writes zeros for each gradient
//! before it adds. Here encoder, layers and head are separate graphs: forward leaves one for each, and backward goes
//! from the last to the first and passes parameters' gradients on immediately. The stack does not grow with depth, a layer can
//! be computed again instead of being kept, and a gradient can be applied and dropped before the next layer's exists.

use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor, Var};

use super::causal_lm::interrupted_first;
use super::context::Context;
use super::loss::targets;
use super::parts::layer::Layer;
use super::{Batch, CausalLm, IGNORED_LABEL, ModelError, next_token_loss};
use crate::ops::{AttentionImplementation, Gradients, backward_from, collected, linear_cross_entropy_gradients};
use crate::spec::ParamPath;

/// How a step is computed. Only dropout changes the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepOptions {
    /// The implementation of attention.
    pub attention: AttentionImplementation,
    /// Whether layers are recomputed in the backward pass instead of keeping their intermediate values.
    pub gradient_checkpointing: bool,
    /// Whether the sink receives gradients during the backward pass, so that it can apply and drop them.
    pub fuse_optimizer: bool,
    /// Seed of this step's dropouts; `None` disables dropout.
    pub dropout_seed: Option<u64>,
}

/// Receives each trained parameter's complete gradient, once.
pub type GradientSink = Arc<dyn Fn(&ParamPath, &Var, Tensor) -> candle_core::Result<()> + Send + Sync>;

impl CausalLm {
    /// Returns the mean next-token loss of a batch, in nats per token; `sink` receives the gradients. The sink does not
    /// see parameters without a gradient.
    ///
    /// With [`fuse_optimizer`](StepOptions::fuse_optimizer) a gradient reaches the sink as soon as its layer's backward
    /// is done, the last layers first, and may be applied to its variable at once. A tied embedding comes last, when both of
    /// its uses have been added.
    ///
    /// # Errors
    /// [`ModelError`] for ids beyond the vocabulary, an interrupt, or an error of the device or the sink.
    pub fn loss_and_gradients(
        &self,
        batch: &Batch,
        labels: &[Vec<i64>],
        options: &StepOptions,
        sink: GradientSink,
    ) -> Result<f32, ModelError> {
        let context = self.context(batch, options.attention, options.dropout_seed)?;
        let targets = targets(labels, batch.dims(), self.config().vocab_size)?;
        let delivery = Delivery::new(self, options.fuse_optimizer, sink);
        self.step(batch, &targets, labels, options, &context, delivery).map_err(|error| match error {
            StepError::Model(error) => error,
            StepError::Candle(error) => interrupted_first(error),
        })
    }

    fn step(
        &self,
        batch: &Batch,
        targets: &[i64],
        labels: &[Vec<i64>],
        options: &StepOptions,
        context: &Context,
        mut delivery: Delivery,
    ) -> Result<f32, StepError> {
        let encoded = self.encode(batch, 0, context)?;
        let mut x = encoded.detach();
        let mut segments = Vec::with_capacity(self.layers().len());
        for (index, layer) in self.layers().iter().enumerate() {
            crate::interrupt::check().map_err(candle_core::Error::wrap)?;
            let segment = Segment::run(layer, index, &x, context, options.gradient_checkpointing)?;
            x = segment.1;
            segments.push(segment.0);
        }
        let (loss, mut of_x) = self.head_backward(&x, targets, labels, &mut delivery)?;
        drop(x);
        while let Some(segment) = segments.pop() {
            crate::interrupt::check().map_err(candle_core::Error::wrap)?;
            of_x = segment.backward(&self.layers()[segments.len()], segments.len(), context, &of_x, &mut delivery)?;
        }
        let (store, gradients) = collected(|| backward_from(&encoded, &of_x))?;
        delivery.receive(gradients, store, true)?;
        delivery.finish()?;
        Ok(loss)
    }

    /// Final norm, output projection and loss, forward and backward: the loss and the gradient of x.
    fn head_backward(
        &self,
        x: &Tensor,
        targets: &[i64],
        labels: &[Vec<i64>],
        delivery: &mut Delivery,
    ) -> Result<(f32, Tensor), StepError> {
        let leaf = Var::from_tensor(x)?;
        let normed = self.final_norm().map_or(Ok(leaf.as_tensor().clone()), |norm| norm.forward(&leaf))?;
        let head = self.head();
        let (loss, store, mut gradients) = if let Some((weight, multiplier)) = head.plain() {
            // A factor on the logits is one on what the product reads.
            let normed = if multiplier == 1.0 { normed } else { (normed * multiplier)? };
            let (batch, seq, hidden) = normed.dims3()?;
            let flat = normed.detach().reshape((batch * seq, hidden))?;
            let made = linear_cross_entropy_gradients(&flat, weight, targets, IGNORED_LABEL, true)?;
            let Some((of_normed, of_head)) = made.gradients else {
                return Err(candle_core::Error::Msg("the loss has no gradients".to_owned()).into());
            };
            let of_normed = of_normed.reshape(normed.shape())?;
            let (store, mut gradients) = collected(|| backward_from(&normed, &of_normed))?;
            gradients.add(weight.id(), of_head)?;
            (made.loss, store, gradients)
        } else {
            let loss = next_token_loss(&head.forward(&normed)?, labels)?;
            let (store, gradients) = collected(|| loss.backward())?;
            (loss, store, gradients)
        };
        let (of_x, store) = gradient_of(&leaf, store, &mut gradients)?;
        delivery.receive(gradients, store, false)?;
        Ok((loss.to_dtype(DType::F32)?.to_scalar::<f32>()?, of_x))
    }
}

/// A layer with its input as a leaf and, if it was kept, its output.
struct Segment {
    leaf: Var,
    kept: Option<Tensor>,
}

impl Segment {
    /// Returns the segment, and the layer's output outside any graph.
    fn run(
        layer: &Layer,
        index: usize,
        x: &Tensor,
        context: &Context,
        recompute: bool,
    ) -> candle_core::Result<(Self, Tensor)> {
        let leaf = Var::from_tensor(x)?;
        let y = layer.forward(leaf.as_tensor(), context, index, None)?;
        let value = y.detach();
        Ok((Self { leaf, kept: (!recompute).then_some(y) }, value))
    }

    /// Returns the gradient of the layer's input from `of_y`, the gradient of its output.
    fn backward(
        self,
        layer: &Layer,
        index: usize,
        context: &Context,
        of_y: &Tensor,
        delivery: &mut Delivery,
    ) -> candle_core::Result<Tensor> {
        let Self { leaf, kept } = self;
        let y = kept.map_or_else(|| layer.forward(leaf.as_tensor(), context, index, None), Ok)?;
        let (store, mut gradients) = collected(|| backward_from(&y, of_y))?;
        // The graph's values are no longer needed, and the sink may need the memory.
        drop(y);
        let (of_x, store) = gradient_of(&leaf, store, &mut gradients)?;
        delivery.receive(gradients, store, false)?;
        Ok(of_x)
    }
}

/// Returns a leaf's gradient, which fused operators and candle's own leave in different places.
fn gradient_of(
    leaf: &Var,
    mut store: GradStore,
    gradients: &mut Gradients,
) -> candle_core::Result<(Tensor, GradStore)> {
    let gradient = added(gradients.remove(leaf.as_tensor()), store.remove(leaf.as_tensor()))?;
    match gradient {
        Some(gradient) => Ok((gradient, store)),
        None => candle_core::bail!("a layer's input got no gradient"),
    }
}

fn added(one: Option<Tensor>, other: Option<Tensor>) -> candle_core::Result<Option<Tensor>> {
    match (one, other) {
        (Some(one), Some(other)) => (one + other).map(Some),
        (one, other) => Ok(one.or(other)),
    }
}

/// Passes gradients to the sink, as they come or when backward is done.
struct Delivery {
    sink: GradientSink,
    at_once: bool,
    /// Parameters without a gradient so far.
    missing: Vec<(ParamPath, Var)>,
    /// The head's part of the gradient of a tied embedding, until the embedding's part comes.
    tied: Option<Tensor>,
    half: Option<Tensor>,
    waiting: Vec<(ParamPath, Var, Tensor)>,
}

impl Delivery {
    fn new(model: &CausalLm, at_once: bool, sink: GradientSink) -> Self {
        let (missing, tied) = (model.parameters().variables(), model.tied().cloned());
        Self { sink, at_once, missing, tied, half: None, waiting: Vec::new() }
    }

    /// Takes a segment's gradients; `last` is the segment with the embedding.
    fn receive(&mut self, mut gradients: Gradients, mut store: GradStore, last: bool) -> candle_core::Result<()> {
        let mut missing = Vec::with_capacity(self.missing.len());
        for (path, var) in std::mem::take(&mut self.missing) {
            let mut gradient = added(gradients.remove(var.as_tensor()), store.remove(var.as_tensor()))?;
            if self.tied.as_ref().is_some_and(|tied| tied.id() == var.as_tensor().id()) {
                gradient = added(self.half.take(), gradient)?;
                if !last {
                    self.half = gradient.take();
                }
            }
            match gradient {
                Some(gradient) if self.at_once => (self.sink)(&path, &var, gradient)?,
                Some(gradient) => self.waiting.push((path, var, gradient)),
                None => missing.push((path, var)),
            }
        }
        self.missing = missing;
        Ok(())
    }

    fn finish(self) -> candle_core::Result<()> {
        for (path, var, gradient) in self.waiting {
            (self.sink)(&path, &var, gradient)?;
        }
        Ok(())
    }
}

/// Returns an interrupt that is inside one of candle's errors as such.
enum StepError {
    Model(ModelError),
    Candle(candle_core::Error),
}

impl From<ModelError> for StepError {
    fn from(error: ModelError) -> Self {
        Self::Model(error)
    }
}

impl From<candle_core::Error> for StepError {
    fn from(error: candle_core::Error) -> Self {
        Self::Candle(error)
    }
}
