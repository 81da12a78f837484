//! Mixtures of experts, as the reference forward reads them.

use serde::Deserialize;

/// Layers with experts. Others have the feed-forward part that `tensors:` describes.
///
/// Where a field of config.json is named, an expression over fields will do as well.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpertsOutline {
    /// The expression that says whether the layer of number `layer` has experts; without it, every layer does whose router
    /// the files have.
    #[serde(default)]
    pub(crate) layers: Option<String>,
    /// The field with the number of experts.
    pub(crate) count: String,
    /// The field with the number of experts that a token uses.
    pub(crate) active: String,
    /// What makes scores of the router's logits.
    #[serde(default)]
    pub(crate) score: ScoreOutline,
    /// Whether the weights of the chosen experts are divided by their sum.
    #[serde(default)]
    pub(crate) normalized: bool,
    /// The field that says so.
    #[serde(default)]
    pub(crate) normalized_if: Option<String>,
    /// The field with a factor on the weights.
    #[serde(default)]
    pub(crate) scaling: Option<String>,
    /// Whether weights multiply what enters experts.
    #[serde(default)]
    pub(crate) weigh_inputs: bool,
    /// Groups that the experts of a token are of.
    #[serde(default)]
    pub(crate) groups: Option<GroupsOutline>,
    /// The field with half the distance, as a share, beyond which SparseMixer leaves logits out.
    #[serde(default)]
    pub(crate) jitter: Option<String>,
    /// The fields with α and the bound of GPT-OSS's gate.
    #[serde(default)]
    pub(crate) clamped: Option<ClampedOutline>,
    /// The module that makes logits.
    pub(crate) router: String,
    /// The tensor that is added to scores where experts are chosen.
    #[serde(default)]
    pub(crate) correction: Option<String>,
    /// The modules of an expert; `{expert}` stands for its number.
    #[serde(default)]
    pub(crate) gate: Option<String>,
    #[serde(default)]
    pub(crate) up: Option<String>,
    #[serde(default)]
    pub(crate) down: Option<String>,
    /// The tensors of all experts.
    #[serde(default)]
    pub(crate) stacked: Option<StackedOutline>,
    /// The modules of the expert that every token uses.
    #[serde(default)]
    pub(crate) shared: Option<SharedOutline>,
    /// Whether experts are not gated.
    #[serde(default)]
    pub(crate) ungated: bool,
    /// Norms and factors of experts that read the residual stream itself.
    #[serde(default)]
    pub(crate) beside: Option<BesideOutline>,
}

/// Experts beside a dense part, each with norms of its own. The router reads what enters the layer's second half, divided by
/// the root of its mean square, multiplied by factors and divided by the root of the width.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BesideOutline {
    /// The tensor of those factors.
    pub(crate) router_scale: String,
    /// The tensor of the factors on the weights of experts.
    pub(crate) expert_scale: String,
    /// The norm before the experts, that after them, and that after the dense part.
    pub(crate) norm: String,
    pub(crate) output_norm: String,
    pub(crate) shared_norm: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ScoreOutline {
    /// The softmax over all experts.
    #[default]
    Softmax,
    /// The softmax over the chosen experts.
    SoftmaxOfChosen,
    Sigmoid,
    SparseMixer,
}

/// Fields that say of which experts those of a token are.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupsOutline {
    pub(crate) count: String,
    pub(crate) active: String,
    /// Whether a group is as good as its two best experts together, instead of as its best one.
    #[serde(default)]
    pub(crate) best_two: bool,
    /// The expression that says whether groups count.
    #[serde(default)]
    pub(crate) used_if: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClampedOutline {
    pub(crate) alpha: String,
    pub(crate) limit: String,
}

/// Tensors whose first dimension counts experts. Biases have the names of weights with `_bias` at the end.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StackedOutline {
    /// Gate and up, or up alone where experts are not gated.
    pub(crate) gate_up: String,
    pub(crate) down: String,
    /// Whether the matrices have a row for each input.
    #[serde(default)]
    pub(crate) inputs_first: bool,
    /// Whether outputs of gate and up alternate.
    #[serde(default)]
    pub(crate) alternating: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SharedOutline {
    /// Without it, `up` makes gate and up one after the other, unless experts are not gated.
    #[serde(default)]
    pub(crate) gate: Option<String>,
    pub(crate) up: String,
    pub(crate) down: String,
    /// The module whose logistic function is a factor on what it returns.
    #[serde(default)]
    pub(crate) factor: Option<String>,
}

impl ExpertsOutline {
    /// Returns the fields and expressions over config.json, with the keys that they stand under; but for the expression that
    /// is computed for each layer.
    pub(crate) fn terms(&self) -> Vec<(&'static str, &str)> {
        let groups = self.groups.as_ref();
        let clamped = self.clamped.as_ref();
        let terms = [
            ("experts.count", Some(&self.count)),
            ("experts.active", Some(&self.active)),
            ("experts.normalized_if", self.normalized_if.as_ref()),
            ("experts.scaling", self.scaling.as_ref()),
            ("experts.jitter", self.jitter.as_ref()),
            ("experts.groups.count", groups.map(|groups| &groups.count)),
            ("experts.groups.active", groups.map(|groups| &groups.active)),
            ("experts.groups.used_if", groups.and_then(|groups| groups.used_if.as_ref())),
            ("experts.clamped.alpha", clamped.map(|clamped| &clamped.alpha)),
            ("experts.clamped.limit", clamped.map(|clamped| &clamped.limit)),
        ];
        terms.into_iter().filter_map(|(key, term)| Some((key, term?.as_str()))).collect()
    }
}
