//! One training step's loss and gradients.

use std::sync::Arc;

use candle_core::{DType, Tensor, Var};

use super::{Batch, CausalLm, ModelError, next_token_loss};
use crate::ops::AttentionImplementation;
use crate::spec::ParamPath;

/// How a step is computed. None of it but dropout changes what is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepOptions {
    /// Which implementation of attention runs.
    pub attention: AttentionImplementation,
    /// Whether layers are recomputed in the backward pass instead of keeping what they computed.
    pub gradient_checkpointing: bool,
    /// Whether the sink receives gradients during the backward pass, so that it can apply and drop them.
    pub fuse_optimizer: bool,
    /// Seed of this step's dropouts; none for a step without.
    pub dropout_seed: Option<u64>,
}

/// Receives each trained parameter's complete gradient, once.
pub type GradientSink = Arc<dyn Fn(&ParamPath, &Var, Tensor) -> candle_core::Result<()> + Send + Sync>;

impl CausalLm {
    /// The mean next-token loss of a batch, in nats per token; `sink` receives the gradients. Parameters that receive none
    /// do not reach the sink.
    ///
    /// # Errors
    /// [`ModelError`] for ids beyond the vocabulary, an interrupt, the device's refusal, or the sink's.
    pub fn loss_and_gradients(
        &self,
        batch: &Batch,
        labels: &[Vec<i64>],
        options: &StepOptions,
        sink: GradientSink,
    ) -> Result<f32, ModelError> {
        let logits = match options.dropout_seed {
            Some(seed) => self.forward_training(batch, seed)?,
            None => self.forward(batch)?,
        };
        let loss = next_token_loss(&logits, labels)?;
        let mut gradients = loss.backward()?;
        crate::interrupt::check()?;
        for (path, var) in self.parameters().variables() {
            if let Some(gradient) = gradients.remove(var.as_tensor()) {
                sink(&path, &var, gradient)?;
            }
        }
        Ok(loss.to_dtype(DType::F32)?.to_scalar::<f32>()?)
    }
}
