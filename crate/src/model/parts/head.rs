//! Vectors to logits.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::model::parts::layer::leaf;
use crate::model::parts::linear::Linear;
use crate::ops::softcap;
use crate::spec::{Leaf, ModelConfig, Node, Role};

/// The head: cap · tanh(multiplier · (x Wᵀ + b) / cap).
#[derive(Clone, Debug)]
pub(in crate::model) struct Head {
    linear: Linear,
    form: LogitForm,
}

/// What happens to logits after the product.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct LogitForm {
    multiplier: f64,
    softcap: Option<f64>,
}

impl LogitForm {
    pub(in crate::model) fn of(config: &ModelConfig) -> Self {
        Self { multiplier: config.logits_multiplier, softcap: config.logits_softcap }
    }

    pub(in crate::model) fn apply(self, logits: Tensor) -> Result<Tensor> {
        let logits = if self.multiplier == 1.0 { logits } else { (logits * self.multiplier)? };
        self.softcap.map_or(Ok(logits.clone()), |cap| softcap(&logits, cap))
    }
}

impl Head {
    /// Loads the head of the model at `root`; `tied` is the embedding, if it is the weight.
    pub(in crate::model) fn load(
        root: &Node,
        tied: Option<&Tensor>,
        config: &ModelConfig,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let (leaf, inside) = leaf(root, Role::Head, vb)?;
        let linear = match (tied, leaf) {
            (Some(weight), Leaf::Linear { outputs, bias, .. }) => {
                let bias = bias.map(|_| inside.get(*outputs, "bias")).transpose()?;
                Linear::from_weight(weight.clone(), bias)
            }
            _ => Linear::load(leaf, &inside)?,
        };
        Ok(Self { linear, form: LogitForm::of(config) })
    }

    /// x `[…, hidden]` → logits `[…, vocab]`.
    pub(in crate::model) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.form.apply(self.linear.forward(x)?)
    }

    /// Returns the weight and the factor on x, if logits are only the product of the two.
    pub(in crate::model) fn plain(&self) -> Option<(&Tensor, f64)> {
        self.linear.plain().filter(|_| self.form.softcap.is_none()).map(|weight| (weight, self.form.multiplier))
    }

    /// Returns the weight, if it is stored as floats.
    pub(in crate::model) fn weight(&self) -> Option<&Tensor> {
        self.linear.floats()
    }
}
