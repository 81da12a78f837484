//! Gated feed-forward.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::linear::Linear;
use crate::spec::{Activation, Node, Part};

/// down(activation(gate x) · up x).
#[derive(Clone, Debug)]
pub(super) struct GatedFeedForward {
    gate: Linear,
    up: Linear,
    down: Linear,
    activation: Activation,
}

impl GatedFeedForward {
    pub(super) fn load(node: &Node, vb: &VarBuilder) -> Result<Self> {
        let Part::GatedFeedForward { activation } = node.part else {
            candle_core::bail!("`{}` is not a gated feed-forward part", node.name)
        };
        let linear = |name: &str| super::layer::linear(node, name, vb);
        Ok(Self { gate: linear("gate_proj")?, up: linear("up_proj")?, down: linear("down_proj")?, activation })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let gate = match self.activation {
            Activation::Silu => self.gate.forward(x)?.silu()?,
        };
        self.down.forward(&(gate * self.up.forward(x)?)?)
    }
}
