//! Feed-forward parts.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::model::context::Context;
use crate::model::parts::dropout::{Site, dropped};
use crate::model::parts::layer::scaled;
use crate::model::parts::linear::Linear;
use crate::ops::{GateActivation, GatedMatrices, gated, gated_linear, softplus};
use crate::spec::{Activation, ClampedSwiglu, Leaf, Mixer, Node, Part};

/// The function of gate and up.
#[derive(Clone, Debug)]
pub(in crate::model) enum GateFunction {
    /// activation(gate) · up, by the fused operator.
    Fused(GateActivation),
    /// The same, of a function that it does not have.
    Product(Function),
    /// GPT-OSS's.
    Clamped(ClampedSwiglu),
}

/// The part of a layer that computes each token by itself.
#[derive(Clone, Debug)]
pub(in crate::model) enum FeedForward {
    /// down(dropout(activation(gate x) · up x)).
    Gated { gate: Linear, up: Linear, down: Linear, function: GateFunction, factors: (f64, f64), dropout: f64 },
    /// second(activation(dropout(first x))).
    Plain { first: Linear, second: Linear, function: Function, dropout: f64 },
}

/// The function inside, with the numbers that it trains.
#[derive(Clone, Debug)]
pub(in crate::model) struct Function {
    activation: Activation,
    /// xIELU's, `[1]` each.
    alphas: Option<(Tensor, Tensor)>,
}

impl FeedForward {
    pub(in crate::model) fn load(node: &Node, mixer: &Mixer, vb: &VarBuilder) -> Result<Self> {
        // In the order of a forward pass: those of experts have roles of their own.
        let mut linears = Vec::new();
        for child in &node.children {
            if let Part::Leaf(leaf @ Leaf::Linear { .. }) = &child.part {
                linears.push(Linear::load(leaf, &vb.pp(&child.name))?);
            }
        }
        let mut linears = linears.into_iter();
        let mut next = || match linears.next() {
            Some(linear) => Ok(linear),
            None => candle_core::bail!("`{}` lacks a linear layer", node.name),
        };
        match *mixer {
            Mixer::GatedFeedForward { activation, clamped, factors, dropout } => {
                let function = match clamped {
                    Some(form) => GateFunction::Clamped(form),
                    None => gate_function(activation, vb)?,
                };
                Ok(Self::Gated { gate: next()?, up: next()?, down: next()?, function, factors, dropout })
            }
            Mixer::FeedForward { activation, dropout } => {
                Ok(Self::Plain { first: next()?, second: next()?, function: Function::load(activation, vb)?, dropout })
            }
            Mixer::Attention { .. }
            | Mixer::SingleHeadAttention { .. }
            | Mixer::LatentAttention(_)
            | Mixer::GatedDeltaNet(_)
            | Mixer::Mamba2(_)
            | Mixer::Mamba(_)
            | Mixer::ShortConv { .. }
            | Mixer::Experts(_)
            | Mixer::LayerInput { .. }
            | Mixer::User(_) => {
                candle_core::bail!("`{}` is not a feed-forward part", node.name)
            }
        }
    }

    /// x `[batch, seq, hidden]` → the same shape; `layer` is the layer's number.
    pub(in crate::model) fn forward(&self, x: &Tensor, context: &Context, layer: usize) -> Result<Tensor> {
        let inside = |x: Tensor, p: f64| dropped(context.dropout, x, p, layer, Site::FeedForwardInside);
        match self {
            FeedForward::Gated { gate, up, down, function, factors: (of_gate, of_result), dropout } => {
                let fused = gate.plain().zip(up.plain()).filter(|_| *of_gate == 1.0);
                let product = match (function, fused) {
                    (GateFunction::Fused(activation), Some((gate, up))) => gated_linear(x, gate, up, *activation)?,
                    _ => function.apply(&scaled(&gate.forward(x)?, *of_gate)?, &up.forward(x)?)?,
                };
                scaled(&down.forward(&inside(product, *dropout)?)?, *of_result)
            }
            FeedForward::Plain { first, second, function, dropout } => {
                second.forward(&function.apply(&inside(first.forward(x)?, *dropout)?)?)
            }
        }
    }
}

impl FeedForward {
    /// Returns the matrices and the function, if this is only products and a fused gate; `dropping` if dropouts are in effect.
    pub(in crate::model) fn plain(&self, dropping: bool) -> Option<(GatedMatrices, GateActivation)> {
        match self {
            FeedForward::Gated { gate, up, down, function: GateFunction::Fused(activation), factors, dropout }
                if *factors == (1.0, 1.0) && (!dropping || *dropout == 0.0) =>
            {
                let (gate, up, down) = (gate.plain()?.clone(), up.plain()?.clone(), down.plain()?.clone());
                Some((GatedMatrices { gate, up, down }, *activation))
            }
            FeedForward::Gated { .. } | FeedForward::Plain { .. } => None,
        }
    }

    /// Returns the linear layers that can be quantized.
    pub(in crate::model) fn linears_mut(&mut self) -> Vec<&mut Linear> {
        match self {
            FeedForward::Gated { gate, up, down, .. } => vec![gate, up, down],
            FeedForward::Plain { first, second, .. } => vec![first, second],
        }
    }
}

impl GateFunction {
    /// Returns the function of gate and up.
    pub(in crate::model) fn apply(&self, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        match self {
            GateFunction::Fused(activation) => Ok(gated(gate, up, *activation)?),
            GateFunction::Product(function) => function.apply(gate)? * up,
            GateFunction::Clamped(form) => clamped(gate, up, *form),
        }
    }
}

/// g · sigmoid(α g) · (u + 1), where g is at most the limit and u within ± the limit.
fn clamped(gate: &Tensor, up: &Tensor, form: ClampedSwiglu) -> Result<Tensor> {
    let gate = gate.minimum(form.limit)?;
    let up = up.maximum(-form.limit)?.minimum(form.limit)?;
    let logistic = candle_nn::ops::sigmoid(&(&gate * form.alpha)?)?;
    (gate * logistic)? * (up + 1.0)?
}

/// Returns activation(gate) · up, with the numbers that the activation trains.
pub(in crate::model) fn gate_function(activation: Activation, vb: &VarBuilder) -> Result<GateFunction> {
    match gate_activation(activation) {
        Some(fused) => Ok(GateFunction::Fused(fused)),
        None => Function::load(activation, vb).map(GateFunction::Product),
    }
}

/// Returns the function of the fused operator, if it has it.
fn gate_activation(activation: Activation) -> Option<GateActivation> {
    match activation {
        Activation::Silu => Some(GateActivation::Silu),
        Activation::Relu => Some(GateActivation::Relu),
        Activation::Gelu => Some(GateActivation::Gelu),
        Activation::GeluTanh => Some(GateActivation::GeluTanh),
        Activation::Relu2 | Activation::Xielu => None,
    }
}

impl Function {
    fn load(activation: Activation, vb: &VarBuilder) -> Result<Self> {
        let alphas = (activation == Activation::Xielu)
            .then(|| Ok::<_, candle_core::Error>((vb.get(1, "xielu_alpha_p")?, vb.get(1, "xielu_alpha_n")?)));
        Ok(Self { activation, alphas: alphas.transpose()? })
    }

    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        match (self.activation, &self.alphas) {
            (Activation::Xielu, Some((positive, negative))) => xielu(x, positive, negative),
            (Activation::Xielu, None) => candle_core::bail!("xIELU lacks its numbers"),
            (Activation::Silu, _) => x.silu(),
            (Activation::Relu, _) => x.relu(),
            (Activation::Gelu, _) => x.gelu_erf(),
            (Activation::GeluTanh, _) => x.gelu(),
            (Activation::Relu2, _) => x.relu()?.sqr(),
        }
    }
}

/// α_p x² + x / 2 above zero, α_n (e^min(x, −1e-6) − 1 − x) + x / 2 elsewhere: the bound is that of the published function.
fn xielu(x: &Tensor, positive: &Tensor, negative: &Tensor) -> Result<Tensor> {
    let positive = softplus(positive)?;
    let negative = (softplus(negative)? + 0.5)?;
    let above = x.gt(0.0)?.to_dtype(x.dtype())?;
    let below = (1.0 - &above)?;
    let grown = x.relu()?.sqr()?.broadcast_mul(&positive)?;
    let sunk = ((x.minimum(-1e-6)?.exp()? - 1.0)? - x)?.broadcast_mul(&negative)?;
    (grown * above)? + (sunk * below)? + (x * 0.5)?
}
