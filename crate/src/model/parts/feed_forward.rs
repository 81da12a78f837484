//! Feed-forward parts.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::model::context::Context;
use crate::model::parts::dropout::{Site, dropped};
use crate::model::parts::linear::Linear;
use crate::ops::{GateActivation, gated, gated_linear};
use crate::spec::{Activation, Mixer, Node, Role};

/// The part of a layer that computes each token by itself.
#[derive(Clone, Debug)]
pub(in crate::model) enum FeedForward {
    /// down(dropout(activation(gate x) · up x)).
    Gated { gate: Linear, up: Linear, down: Linear, activation: Activation, dropout: f64 },
    /// second(activation(dropout(first x))).
    Plain { first: Linear, second: Linear, activation: Activation, dropout: f64 },
}

impl FeedForward {
    pub(in crate::model) fn load(node: &Node, mixer: &Mixer, vb: &VarBuilder) -> Result<Self> {
        let linear = |role| crate::model::parts::layer::linear(node, role, vb);
        match *mixer {
            Mixer::GatedFeedForward { activation, dropout } => Ok(Self::Gated {
                gate: linear(Role::Gate)?,
                up: linear(Role::Up)?,
                down: linear(Role::Down)?,
                activation,
                dropout,
            }),
            Mixer::FeedForward { activation, dropout } => {
                Ok(Self::Plain { first: linear(Role::Up)?, second: linear(Role::Down)?, activation, dropout })
            }
            Mixer::Attention { .. } | Mixer::SingleHeadAttention { .. } | Mixer::User(_) => {
                candle_core::bail!("`{}` is not a feed-forward part", node.name)
            }
        }
    }

    /// x `[batch, seq, hidden]` → the same shape; `layer` is the layer's number.
    pub(in crate::model) fn forward(&self, x: &Tensor, context: &Context, layer: usize) -> Result<Tensor> {
        let inside = |x: Tensor, p: f64| dropped(context.dropout, x, p, layer, Site::FeedForwardInside);
        match self {
            FeedForward::Gated { gate, up, down, activation, dropout } => {
                let product = match (gate_activation(*activation), gate.plain(), up.plain()) {
                    (Some(activation), Some(gate), Some(up)) => gated_linear(x, gate, up, activation)?,
                    (Some(activation), ..) => gated(&gate.forward(x)?, &up.forward(x)?, activation)?,
                    (None, ..) => (activate(&gate.forward(x)?, *activation)? * up.forward(x)?)?,
                };
                down.forward(&inside(product, *dropout)?)
            }
            FeedForward::Plain { first, second, activation, dropout } => {
                second.forward(&activate(&inside(first.forward(x)?, *dropout)?, *activation)?)
            }
        }
    }
}

impl FeedForward {
    /// Returns the linear layers that can be quantized.
    pub(in crate::model) fn linears_mut(&mut self) -> Vec<&mut Linear> {
        match self {
            FeedForward::Gated { gate, up, down, .. } => vec![gate, up, down],
            FeedForward::Plain { first, second, .. } => vec![first, second],
        }
    }
}

/// Returns the function of the fused operator, if it has it.
fn gate_activation(activation: Activation) -> Option<GateActivation> {
    match activation {
        Activation::Silu => Some(GateActivation::Silu),
        Activation::Relu => Some(GateActivation::Relu),
        Activation::Gelu => Some(GateActivation::Gelu),
        Activation::GeluTanh => Some(GateActivation::GeluTanh),
        Activation::Relu2 => None,
    }
}

fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Silu => x.silu(),
        Activation::Relu => x.relu(),
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::Relu2 => x.relu()?.sqr(),
    }
}
