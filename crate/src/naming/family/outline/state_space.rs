//! Layers with selective state spaces, as the reference forward reads them.

use serde::Deserialize;

/// Mamba-2 or, without `heads`, Mamba, in place of attention or beside it.
///
/// Where a field of config.json is named, an expression over fields will do as well.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StateSpaceOutline {
    /// The expression that says whether the layer of number `layer` has it; without it, every layer does.
    #[serde(default)]
    pub(crate) layers: Option<String>,
    /// Whether attention reads the same input, and both results are added.
    #[serde(default)]
    pub(crate) beside_attention: bool,
    /// The fields with the number of heads, their width, and the number of groups. Of Mamba-2.
    #[serde(default)]
    pub(crate) heads: Option<String>,
    #[serde(default)]
    pub(crate) head_dim: Option<String>,
    #[serde(default)]
    pub(crate) groups: Option<String>,
    /// The field with the width of what steps are made of. Of Mamba.
    #[serde(default)]
    pub(crate) rank: Option<String>,
    /// The fields with the numbers of a state, and with the tokens that the convolution sees.
    pub(crate) state: String,
    pub(crate) kernel: String,
    /// The field with the shortest and the longest step.
    #[serde(default)]
    pub(crate) step_limits: Option<String>,
    /// Fields with factors.
    #[serde(default)]
    pub(crate) factors: Option<StateSpaceFactors>,
    /// What makes gate, values, what is written, what is read, and steps (Mamba-2), or values and gate (Mamba).
    pub(crate) input: String,
    pub(crate) convolution: String,
    /// What makes steps, what is written and what is read of the values, and what makes steps of those. Of Mamba.
    #[serde(default)]
    pub(crate) selection: Option<String>,
    #[serde(default)]
    pub(crate) step: Option<String>,
    /// The norms of steps, of what is written and of what is read. Of Mamba.
    #[serde(default)]
    pub(crate) norms: Vec<String>,
    /// The tensor that is added to steps. Of Mamba-2.
    #[serde(default)]
    pub(crate) step_bias: Option<String>,
    /// The tensors with the logarithm of the rate of decay, and with the factor on what passes the state by.
    pub(crate) decay_log: String,
    pub(crate) skip: String,
    /// The norm of each group, after the gate. Of Mamba-2.
    #[serde(default)]
    pub(crate) norm: Option<String>,
    /// The field that says whether there is such a norm.
    #[serde(default)]
    pub(crate) norm_if: Option<String>,
    /// The field that says whether it stands before the gate.
    #[serde(default)]
    pub(crate) norm_before_gate_if: Option<String>,
    pub(crate) output: String,
}

/// Fields with factors on the input, on what the input projection makes, and on the output.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StateSpaceFactors {
    pub(crate) input: Option<String>,
    /// On gate, values, what is written, what is read, and steps.
    #[serde(default)]
    pub(crate) projected: Vec<String>,
    pub(crate) output: Option<String>,
}

impl StateSpaceOutline {
    /// Returns the fields and expressions over config.json, with the keys that they stand under; but for the expression that
    /// is computed for each layer.
    pub(crate) fn terms(&self) -> Vec<(&'static str, &str)> {
        let factors = self.factors.as_ref();
        let terms = [
            ("state_space.heads", self.heads.as_ref()),
            ("state_space.head_dim", self.head_dim.as_ref()),
            ("state_space.groups", self.groups.as_ref()),
            ("state_space.rank", self.rank.as_ref()),
            ("state_space.state", Some(&self.state)),
            ("state_space.kernel", Some(&self.kernel)),
            ("state_space.step_limits", self.step_limits.as_ref()),
            ("state_space.norm_if", self.norm_if.as_ref()),
            ("state_space.norm_before_gate_if", self.norm_before_gate_if.as_ref()),
            ("state_space.factors.input", factors.and_then(|factors| factors.input.as_ref())),
            ("state_space.factors.output", factors.and_then(|factors| factors.output.as_ref())),
        ];
        let projected = factors.into_iter().flat_map(|factors| &factors.projected);
        let projected = projected.map(|term| ("state_space.factors.projected", Some(term)));
        terms.into_iter().chain(projected).filter_map(|(key, term)| Some((key, term?.as_str()))).collect()
    }
}
