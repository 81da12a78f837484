//! Normalisation over the last dimension.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::field::{Field, FieldKind, field, words};
use crate::spec::{Leaf, ModelConfig, Node, Role};

/// Which normalisation the layers and the final norm use, and its ε.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NormConfig {
    /// The kind.
    pub kind: NormKind,
    /// Added to the mean square (RMSNorm) or the variance (LayerNorm).
    pub eps: f64,
}

/// Kinds of normalisation over the last dimension.
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
    /// The field of config.json that holds its ε.
    pub fn eps_field(self) -> &'static str {
        match self {
            NormKind::RmsNorm => RMS_NORM_EPS.name,
            NormKind::LayerNorm => LAYER_NORM_EPS.name,
        }
    }
}

/// Declares the fields.
macro_rules! norm_fields {
    ($next:ident $($rest:tt)*) => { $next! { $($rest)*
        part "norm" "Normalisation over the width" {
            /// The norms. Their ε is what the configuration classes of Hugging Face assume for Llama.
            norm: NormConfig = NormConfig { kind: NormKind::RmsNorm, eps: 1e-6 }
                => [norm::NORM_TYPE, norm::RMS_NORM_EPS, norm::LAYER_NORM_EPS];
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
.hugging_face()
.positive()
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
.hugging_face()
.positive()
.needs("norm_type: layer_norm", |config| config.norm.kind == NormKind::LayerNorm);

pub(in crate::spec) fn node(name: &str, role: Role, config: &ModelConfig, dim: usize) -> Node {
    let eps = config.norm.eps;
    let leaf = match config.norm.kind {
        NormKind::RmsNorm => Leaf::RmsNorm { dim, eps },
        NormKind::LayerNorm => Leaf::LayerNorm { dim, eps },
    };
    Node::leaf(name, role, leaf)
}
