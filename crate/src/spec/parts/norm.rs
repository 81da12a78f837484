//! Normalization over the last dimension.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::declare::{field, words};
use super::field::{Field, FieldKind};
use crate::spec::config::ConfigError;
use crate::spec::{Leaf, ModelConfig, Node, NormPosition, Role};

/// Which normalization the layers and the final norm use.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NormConfig {
    /// The kind.
    pub kind: NormKind,
    /// Added to the mean square (RMSNorm) or the variance (LayerNorm).
    pub eps: f64,
    /// Whether what is normalized is multiplied by trained factors.
    pub weight: bool,
    /// Whether a trained bias is added; LayerNorm only.
    pub bias: bool,
    /// Added to the stored factors: 1 for the norms of Gemma, which store how far a factor is from 1.
    pub offset: f64,
}

/// A norm with its sizes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormForm {
    /// The kind.
    pub kind: NormKind,
    /// Width of x.
    pub dim: usize,
    /// The number of heads that have factors of their own, `[heads, dim]`; `None` for one vector.
    pub heads: Option<usize>,
    /// Added to the mean square or the variance.
    pub eps: f64,
    /// Whether there are factors.
    pub weight: bool,
    /// Whether there is a bias.
    pub bias: bool,
    /// Added to the factors.
    pub offset: f64,
}

impl NormForm {
    /// Returns RMSNorm over `dim` numbers with one vector of factors.
    pub fn rms(dim: usize, eps: f64) -> Self {
        Self { kind: NormKind::RmsNorm, dim, heads: None, eps, weight: true, bias: false, offset: 0.0 }
    }
}

/// Kinds of normalization over the last dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NormKind {
    /// x / sqrt(mean(x²) + ε) · w (Zhang and Sennrich 2019).
    RmsNorm,
    /// (x − mean(x)) / sqrt(var(x) + ε) · w + b (Ba et al. 2016).
    LayerNorm,
}

words!(NormKind { RmsNorm = "rms_norm", LayerNorm = "layer_norm" });

impl NormKind {
    /// Returns the field of config.json that holds its ε.
    pub fn eps_field(self) -> &'static str {
        match self {
            NormKind::RmsNorm => RMS_NORM_EPS.name,
            NormKind::LayerNorm => LAYER_NORM_EPS.name,
        }
    }
}

/// Where the norms of a layer stand relative to its residual additions. r is the residual dropout, D the layer dropout.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NormPlacement {
    /// r(x) + D(f(norm(x))) (Xiong et al. 2020).
    Pre,
    /// norm(r(x) + D(f(x))) (Vaswani et al. 2017).
    Post,
    /// norm(α·r(x) + D(f(x))) (DeepNet, Wang et al. 2022).
    DeepNet {
        /// α; (2 L)^¼ for a decoder of L layers unless given.
        alpha: Option<f64>,
    },
    /// r(x) + D(norm(f(x))) (OLMo 2, 2024).
    Output,
    /// r(x) + D(post_norm(f(norm(x)))) (Gemma 2, 2024).
    Sandwich,
}

const PLACEMENTS: &[NormPlacement] = &[
    NormPlacement::Pre,
    NormPlacement::Post,
    NormPlacement::DeepNet { alpha: None },
    NormPlacement::Output,
    NormPlacement::Sandwich,
];
const PLACEMENT_NAMES: &[&str] = &["pre", "post", "deepnet", "output", "sandwich"];

impl NormPlacement {
    /// Returns the name in config.json.
    pub fn name(self) -> &'static str {
        match self {
            NormPlacement::Pre => "pre",
            NormPlacement::Post => "post",
            NormPlacement::DeepNet { .. } => "deepnet",
            NormPlacement::Output => "output",
            NormPlacement::Sandwich => "sandwich",
        }
    }

    /// Returns where the norms of a branch stand.
    pub fn position(self) -> NormPosition {
        match self {
            NormPlacement::Pre => NormPosition::Input,
            NormPlacement::Post | NormPlacement::DeepNet { .. } => NormPosition::Sum,
            NormPlacement::Output => NormPosition::Output,
            NormPlacement::Sandwich => NormPosition::Sandwich,
        }
    }

    /// α in a model of this many layers; 1 for the placements without it.
    pub fn residual_scale(self, layers: usize) -> f64 {
        match self {
            NormPlacement::Pre | NormPlacement::Post | NormPlacement::Output | NormPlacement::Sandwich => 1.0,
            NormPlacement::DeepNet { alpha } => alpha.unwrap_or_else(|| deepnet_alpha(layers)),
        }
    }
}

/// α of a DeepNet decoder of this many layers: (2 L)^¼ (Wang et al. 2022, table 1).
fn deepnet_alpha(layers: usize) -> f64 {
    (2.0 * layers as f64).powf(0.25)
}

/// β, the gain of a DeepNet decoder's initialization: (8 L)^−¼ (Wang et al. 2022, table 1).
pub(in crate::spec) fn deepnet_beta(layers: usize) -> f64 {
    (8.0 * layers as f64).powf(-0.25)
}

/// Declares the fields.
macro_rules! norm_fields {
    ($next:ident $($rest:tt)*) => { $next! { $($rest)*
        part "norm" "Normalization over the width, and where it stands" {
            /// The norms. Their ε is what the configuration classes of Hugging Face assume for Llama.
            norm: NormConfig = NormConfig {
                kind: NormKind::RmsNorm, eps: 1e-6, weight: true, bias: true, offset: 0.0
            } => [
                norm::NORM_TYPE,
                norm::RMS_NORM_EPS,
                norm::LAYER_NORM_EPS,
                norm::NORM_WEIGHT,
                norm::NORM_BIAS,
                norm::NORM_OFFSET,
            ];
            /// Where the norms of a layer stand.
            placement: NormPlacement = NormPlacement::Pre => [norm::NORM_PLACEMENT, norm::DEEPNET_ALPHA];
            /// Whether a norm follows the last layer.
            final_norm: bool = true;
        }
    } };
}
pub(super) use norm_fields;

pub(super) const NORM_TYPE: Field =
    field!("norm_type", NormKind, norm.kind, "Which norm layers and model use").by_layer();

pub(super) const RMS_NORM_EPS: Field = Field::new(
    "rms_norm_eps",
    "Added to the mean square inside RMSNorm",
    FieldKind::Number,
    |reading, config| match config.norm.kind {
        NormKind::RmsNorm => reading.take("rms_norm_eps", &mut config.norm.eps),
        NormKind::LayerNorm => Ok(()),
    },
    |config| (config.norm.kind == NormKind::RmsNorm).then(|| json!(config.norm.eps)),
)
.by_layer()
.always_written()
.positive()
.exported(|config| config.norm.kind == NormKind::RmsNorm)
.needs("norm_type: rms_norm", |config| config.norm.kind == NormKind::RmsNorm);

pub(super) const LAYER_NORM_EPS: Field = Field::new(
    "layer_norm_eps",
    "Added to the variance inside LayerNorm",
    FieldKind::Number,
    |reading, config| match config.norm.kind {
        NormKind::LayerNorm => reading.take("layer_norm_eps", &mut config.norm.eps),
        NormKind::RmsNorm => Ok(()),
    },
    |config| (config.norm.kind == NormKind::LayerNorm).then(|| json!(config.norm.eps)),
)
.by_layer()
.always_written()
.positive()
.exported(|config| config.norm.kind == NormKind::LayerNorm)
.needs("norm_type: layer_norm", |config| config.norm.kind == NormKind::LayerNorm);

pub(super) const NORM_WEIGHT: Field =
    field!("norm_weight", bool, norm.weight, "Whether norms have trained factors").by_layer();

pub(super) const NORM_BIAS: Field = field!("norm_bias", bool, norm.bias, "Whether LayerNorm has a trained bias")
    .by_layer()
    .needs("norm_type: layer_norm", |config| config.norm.kind == NormKind::LayerNorm);

pub(super) const NORM_OFFSET: Field = field!(
    "norm_offset",
    f64,
    norm.offset,
    "Added to the stored factors of norms: 0, or 1 for norms that store how far a factor is from 1"
)
.by_layer()
.needs("norm_weight: true", |config| config.norm.weight);

pub(super) const NORM_PLACEMENT: Field = Field::new(
    "norm_placement",
    "Where the norms of a layer stand: before its parts (pre), after the sums (post), after sums of a scaled residual \
     stream (deepnet), after its parts (output), or before and after them (sandwich)",
    FieldKind::Word(PLACEMENT_NAMES),
    |reading, config| {
        let words: Vec<_> = PLACEMENTS.iter().map(|&placement| (placement.name(), placement)).collect();
        if let Some(placement) = reading.fields.word("norm_placement", &words)? {
            config.placement = placement;
        }
        Ok(())
    },
    |config| Some(json!(config.placement.name())),
)
.by_layer();

pub(super) const DEEPNET_ALPHA: Field = Field::new(
    "deepnet_alpha",
    "Factor on the residual stream; null for (2 L)^0.25 of L layers",
    FieldKind::OptionalNumber,
    |reading, config| match &mut config.placement {
        NormPlacement::DeepNet { alpha } => reading.take("deepnet_alpha", alpha),
        NormPlacement::Pre | NormPlacement::Post | NormPlacement::Output | NormPlacement::Sandwich => Ok(()),
    },
    |config| match config.placement {
        NormPlacement::DeepNet { alpha } => alpha.map(|alpha| json!(alpha)),
        NormPlacement::Pre | NormPlacement::Post | NormPlacement::Output | NormPlacement::Sandwich => None,
    },
)
.by_layer()
.positive()
.exported(|config| matches!(config.placement, NormPlacement::DeepNet { alpha: Some(_) }))
.needs("norm_placement: deepnet", |config| matches!(config.placement, NormPlacement::DeepNet { .. }));

/// A norm over `dim` numbers by the configuration.
pub(crate) fn form(config: &ModelConfig, dim: usize) -> NormForm {
    let NormConfig { kind, eps, weight, bias, offset } = config.norm;
    let bias = bias && weight && kind == NormKind::LayerNorm;
    NormForm { kind, dim, heads: None, eps, weight, bias, offset: if weight { offset } else { 0.0 } }
}

pub(in crate::spec) fn node(name: &str, role: Role, config: &ModelConfig, dim: usize) -> Node {
    Node::leaf(name, role, Leaf::Norm(form(config, dim)))
}

/// Checks what is added to factors.
pub(in crate::spec) fn validate(config: &ModelConfig, fault: super::Fault<'_>) -> Result<(), ConfigError> {
    match config.norm.offset {
        0.0 | 1.0 => Ok(()),
        other => Err(fault(NORM_OFFSET.name, other.to_string(), "0 or 1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deepnet_constants_are_those_of_the_paper() {
        for (layers, alpha, beta) in [(4, 1.681_793, 0.420_448), (16, 2.378_414, 0.297_302), (32, 2.828_427, 0.25)] {
            assert!((deepnet_alpha(layers) - alpha).abs() < 1e-6);
            assert!((deepnet_beta(layers) - beta).abs() < 1e-6);
        }
    }
}
