//! Replaced when model/training.rs lands.
use std::sync::Arc;

use candle_core::{DType, Tensor, Var};

use crate::model::{Batch, CausalLm, ModelError, next_token_loss};
use crate::spec::ParamPath;

/// x
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AttentionImplementation {
    /// x
    Eager,
    /// x
    #[default]
    Sdpa,
}

impl std::str::FromStr for AttentionImplementation {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "eager" => Ok(Self::Eager),
            "sdpa" => Ok(Self::Sdpa),
            _ => Err("use eager, sdpa, flash_attention_2 or flex_attention".to_owned()),
        }
    }
}

impl std::fmt::Display for AttentionImplementation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Eager => "eager",
            Self::Sdpa => "sdpa",
        })
    }
}

pub(super) struct StepOptions {
    pub(super) attention: AttentionImplementation,
    pub(super) gradient_checkpointing: bool,
    pub(super) fuse_optimizer: bool,
    pub(super) dropout_seed: u64,
}

pub(super) type Sink = Arc<dyn Fn(&ParamPath, &Var, Tensor) -> candle_core::Result<()> + Send + Sync>;

pub(super) fn loss_and_gradients(
    model: &CausalLm,
    batch: &Batch,
    labels: &[Vec<i64>],
    _options: &StepOptions,
    sink: Sink,
) -> Result<f32, ModelError> {
    let loss = next_token_loss(&model.forward(batch)?, labels)?;
    let mut gradients = loss.backward()?;
    for (path, var) in model.parameters().variables() {
        if let Some(gradient) = gradients.remove(var.as_tensor()) {
            sink(&path, &var, gradient)?;
        }
    }
    Ok(loss.to_dtype(DType::F32)?.to_scalar()?)
}

pub(super) fn sgd_in_place(var: &Var, gradient: &Tensor, lr: f64) -> candle_core::Result<()> {
    var.set(&(var.as_tensor().detach() - (gradient * lr)?)?)
}
