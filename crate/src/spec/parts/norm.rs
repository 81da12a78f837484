//! Normalization over the last dimension.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::declare::{field, words};
use super::field::{Field, FieldKind};
use crate::spec::{Leaf, ModelConfig, Node, NormPosition, Role};

/// Which normalization the layers and the final norm use, and its ε.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NormConfig {
    /// The kind.
    pub kind: NormKind,
    /// Added to the mean square (RMSNorm) or the variance (LayerNorm).
    pub eps: f64,
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
}

const PLACEMENTS: &[NormPlacement] = &[NormPlacement::Pre, NormPlacement::Post, NormPlacement::DeepNet { alpha: None }];
const PLACEMENT_NAMES: &[&str] = &["pre", "post", "deepnet"];

impl NormPlacement {
    /// Returns the name in config.json.
    pub fn name(self) -> &'static str {
        match self {
            NormPlacement::Pre => "pre",
            NormPlacement::Post => "post",
            NormPlacement::DeepNet { .. } => "deepnet",
        }
    }

    /// Returns where the norm of a branch stands.
    pub fn position(self) -> NormPosition {
        match self {
            NormPlacement::Pre => NormPosition::Input,
            NormPlacement::Post | NormPlacement::DeepNet { .. } => NormPosition::Sum,
        }
    }

    /// α in a model of this many layers; 1 for the placements without it.
    pub fn residual_scale(self, layers: usize) -> f64 {
        match self {
            NormPlacement::Pre | NormPlacement::Post => 1.0,
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
            norm: NormConfig = NormConfig { kind: NormKind::RmsNorm, eps: 1e-6 }
                => [norm::NORM_TYPE, norm::RMS_NORM_EPS, norm::LAYER_NORM_EPS];
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

pub(super) const NORM_PLACEMENT: Field = Field::new(
    "norm_placement",
    "Where the norms of a layer stand: before its parts, after the sums, or after sums of a scaled residual stream",
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
        NormPlacement::Pre | NormPlacement::Post => Ok(()),
    },
    |config| match config.placement {
        NormPlacement::DeepNet { alpha } => alpha.map(|alpha| json!(alpha)),
        NormPlacement::Pre | NormPlacement::Post => None,
    },
)
.by_layer()
.positive()
.exported(|config| matches!(config.placement, NormPlacement::DeepNet { alpha: Some(_) }))
.needs("norm_placement: deepnet", |config| matches!(config.placement, NormPlacement::DeepNet { .. }));

pub(in crate::spec) fn node(name: &str, role: Role, config: &ModelConfig, dim: usize) -> Node {
    let eps = config.norm.eps;
    let leaf = match config.norm.kind {
        NormKind::RmsNorm => Leaf::RmsNorm { dim, eps },
        NormKind::LayerNorm => Leaf::LayerNorm { dim, eps },
    };
    Node::leaf(name, role, leaf)
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
