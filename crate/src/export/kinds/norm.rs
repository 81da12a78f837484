//! Norms.

use serde::Serialize;

use crate::spec::{ModelConfig, NormForm, NormKind};

/// A norm: its class, and the field of config.json with its ε.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::export) struct Norm {
    /// The class in Python.
    pub(in crate::export) class: &'static str,
    /// Further arguments of it.
    pub(in crate::export) more: &'static str,
    pub(in crate::export) eps: &'static str,
    /// The type in Rust.
    pub(in crate::export) rust: &'static str,
    /// The beginning of the expression that makes it: a function, an open parenthesis, and first arguments.
    pub(in crate::export) make: String,
    /// Whether it has factors for each head.
    pub(in crate::export) each_head: bool,
}

impl Norm {
    pub(in crate::export) fn of(form: &NormForm) -> Self {
        let NormForm { kind, heads, weight, bias, offset, dim: _, eps: _ } = *form;
        let (shifted, each_head) = (offset != 0.0, heads.is_some());
        let (class, more) = match (kind, weight) {
            _ if each_head && bias => ("HeadNorm", ", bias=True"),
            _ if each_head => ("HeadNorm", ""),
            (NormKind::RmsNorm, false) => ("PlainRMSNorm", ""),
            (NormKind::RmsNorm, true) if shifted => ("OffsetRMSNorm", ""),
            (NormKind::RmsNorm, true) => ("RMSNorm", ""),
            (NormKind::LayerNorm, false) => ("nn.LayerNorm", ", elementwise_affine=False"),
            (NormKind::LayerNorm, true) if shifted && bias => ("OffsetLayerNorm", ""),
            (NormKind::LayerNorm, true) if shifted => ("OffsetLayerNorm", ", bias=False"),
            (NormKind::LayerNorm, true) if bias => ("nn.LayerNorm", ""),
            (NormKind::LayerNorm, true) => ("nn.LayerNorm", ", bias=False"),
        };
        let (rust, make) = match class {
            "RMSNorm" => ("RmsNorm", "rms_norm(".to_owned()),
            "nn.LayerNorm" if more.is_empty() => ("LayerNorm", "layer_norm(".to_owned()),
            _ => {
                let centered = kind == NormKind::LayerNorm;
                let form =
                    format!("Form {{ centered: {centered}, weight: {weight}, bias: {bias}, offset: {offset:?} }}");
                ("Norm", format!("Norm::load({form}, "))
            }
        };
        Self { class, more, eps: kind.eps_field(), rust, make, each_head }
    }

    /// The norms of the layers and of the model.
    pub(in crate::export) fn of_layer(config: &ModelConfig) -> Self {
        Self::of(&crate::spec::parts::norm::form(config, config.hidden_size))
    }

    /// Returns how a new one is drawn, as statements of Python.
    pub(in crate::export) fn draws(form: &NormForm) -> Vec<String> {
        let weight = if form.offset == 0.0 { "nn.init.ones_" } else { "nn.init.zeros_" };
        let weight = form.weight.then(|| format!("{weight}(module.weight)"));
        weight.into_iter().chain(form.bias.then(|| "nn.init.zeros_(module.bias)".to_owned())).collect()
    }
}

/// The norms of queries and keys.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::export) struct QkNorm {
    #[serde(flatten)]
    pub(in crate::export) norm: Norm,
    /// What they run over: `head`, `width` or `each_head`.
    pub(in crate::export) scope: &'static str,
    pub(in crate::export) after_rope: bool,
}
