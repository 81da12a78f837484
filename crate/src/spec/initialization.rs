//! Initialization recipes: rules over pseudo-names of parameters, first match wins.

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::parts::deepnet_beta;
use super::{Init, ModelConfig, Role};

/// How a new model's parameters are drawn.
///
/// Rules see pseudo-names: `attn.query`, `attn.key`, `attn.value`, `attn.gate`, `attn.beta`, `attn.decay`, `attn.output`,
/// `ssm.input`, `ssm.selection`, `ssm.step` (its bias begins at its own values), `ff.up_proj`, `ff.gate_proj`, `ff.down_proj` (of experts, too), `ff.router`, `ff.shared_expert_gate`, `embedding`,
/// `positions` (a learned table of them) and `lm_head`, each followed by `.weight` or
/// `.bias`. A parameter that no rule matches is drawn as PyTorch would: linear weights and biases U(±1/sqrt(inputs)),
/// embeddings N(0, 1); learned positions as GPT-2's, N(0, 0.02²). Norms start at one (their biases at zero) and ALiBi
/// slopes at their own values: no rule sees them. The embedding of the padding token is zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Initialization {
    /// Biases 0; up projection, query, key, value and routers σ = `initializer_range` (0.02); gate, down and output projections that
    /// over sqrt(2 L); head
    /// σ = d^−½ cut at 3 σ; embedding N(0, 1). A tied embedding serves as head too and is drawn N(0, d^−½).
    Llama,
    /// Biases 0; feed-forward, value and output Xavier uniform of gain β; query and key of gain 1; embedding N(0, 1)
    /// (N(0, d^−½) if tied); head as PyTorch.
    #[serde(rename = "deepnet")]
    DeepNet,
    /// Embedding N(0, d^−½), which a scale of sqrt(d) brings to N(0, 1); all else as PyTorch.
    ScaledEmbedding,
    /// Everything as PyTorch.
    Pytorch,
    /// Custom rules.
    Rules(Vec<InitRule>),
}

/// One rule of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitRule {
    /// A regular expression searched in the pseudo-name.
    #[serde(rename = "match")]
    pub pattern: String,
    /// What the parameter is drawn from.
    pub init: Distribution,
}

/// A distribution that may depend on the parameter's shape.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Distribution {
    /// All zeros.
    Zeros,
    /// All ones.
    Ones,
    /// Normal with mean 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// Normal with mean 0, redrawn beyond `bound`.
    TruncatedNormal {
        /// Standard deviation before truncation.
        std: f64,
        /// Largest absolute value.
        bound: f64,
    },
    /// Uniform between −bound and bound.
    Uniform {
        /// Largest absolute value.
        bound: f64,
    },
    /// Uniform within gain · sqrt(6 / (inputs + outputs)) (Glorot and Bengio 2010).
    XavierUniform {
        /// Factor on the bound.
        gain: f64,
    },
    /// PyTorch's `nn.Linear`: uniform within 1 / sqrt(inputs).
    LinearDefault,
}

impl Distribution {
    /// Returns the distribution of a parameter of a map from `inputs` to `outputs`.
    pub fn of(self, inputs: usize, outputs: usize) -> Init {
        match self {
            Distribution::Zeros => Init::Zeros,
            Distribution::Ones => Init::Ones,
            Distribution::Normal { std } => Init::Normal { std, zero_row: None },
            Distribution::TruncatedNormal { std, bound } => Init::TruncatedNormal { std, bound },
            Distribution::Uniform { bound } => Init::Uniform { bound },
            Distribution::XavierUniform { gain } => {
                Init::Uniform { bound: gain * (6.0 / (inputs + outputs) as f64).sqrt() }
            }
            Distribution::LinearDefault => Init::Uniform { bound: (inputs as f64).powf(-0.5) },
        }
    }
}

/// How a learned table of positions is drawn where no rule says: as GPT-2's (Radford et al. 2019).
pub(crate) const POSITIONS: Distribution = Distribution::Normal { std: 0.02 };

impl Initialization {
    /// Returns the name in config.json, if it is not a list of rules.
    pub fn name(&self) -> Option<&'static str> {
        match self {
            Initialization::Llama => Some("llama"),
            Initialization::DeepNet => Some("deepnet"),
            Initialization::ScaledEmbedding => Some("scaled_embedding"),
            Initialization::Pytorch => Some("pytorch"),
            Initialization::Rules(_) => None,
        }
    }

    /// Returns the rules as they apply to a model, in order.
    pub fn rules(&self, config: &ModelConfig) -> Vec<InitRule> {
        let layers = config.num_hidden_layers;
        let head_std = (config.hidden_size as f64).powf(-0.5);
        let embedding_std = if config.tie_word_embeddings { head_std } else { 1.0 };
        let rule = |pattern: &str, init| InitRule { pattern: pattern.to_owned(), init };
        let range = config.initializer_range;
        let truncated = |std| Distribution::TruncatedNormal { std, bound: 2.0 };
        match self {
            Initialization::Llama => vec![
                rule(r"bias", Distribution::Zeros),
                rule(
                    r"ff\.(up_proj|router|shared_expert_gate)|attn\.(query|key|value|gate|beta|decay)|ssm\.(input|selection)",
                    truncated(range),
                ),
                rule(r"ff\.(gate|down)_proj|attn\.output", truncated(range / (2.0 * layers as f64).sqrt())),
                rule(r"lm_head", Distribution::TruncatedNormal { std: head_std, bound: 3.0 * head_std }),
                rule(r"embedding", Distribution::Normal { std: embedding_std }),
            ],
            Initialization::DeepNet => vec![
                rule(r"bias", Distribution::Zeros),
                rule(r"ff\.|attn\.(value|output)", Distribution::XavierUniform { gain: deepnet_beta(layers) }),
                rule(r"attn\.(query|key)", Distribution::XavierUniform { gain: 1.0 }),
                rule(r"embedding", Distribution::Normal { std: embedding_std }),
            ],
            Initialization::ScaledEmbedding => vec![rule(r"embedding", Distribution::Normal { std: head_std })],
            Initialization::Pytorch => Vec::new(),
            Initialization::Rules(rules) => rules.clone(),
        }
    }
}

/// A recipe with compiled patterns.
pub(super) struct InitRules(Vec<(Regex, Distribution)>);

impl InitRules {
    /// The recipe of a configuration. Patterns were checked by [`ModelConfig::validate`]; one that does not compile matches
    /// nothing.
    pub(super) fn of(config: &ModelConfig) -> Self {
        let rules = config.initialization.rules(config).into_iter();
        Self(rules.filter_map(|rule| Some((Regex::new(&rule.pattern).ok()?, rule.init))).collect())
    }

    fn find(&self, pseudo_name: &str) -> Option<Distribution> {
        self.0.iter().find(|(pattern, _)| pattern.is_match(pseudo_name)).map(|(_, init)| *init)
    }

    /// Of the weight of a linear part.
    pub(super) fn weight(&self, role: Role, inputs: usize, outputs: usize) -> Init {
        self.find(&format!("{}.weight", role.pseudo_name())).unwrap_or(Distribution::LinearDefault).of(inputs, outputs)
    }

    /// Of the bias of a linear part.
    pub(super) fn bias(&self, role: Role, inputs: usize, outputs: usize) -> Init {
        self.find(&format!("{}.bias", role.pseudo_name())).unwrap_or(Distribution::LinearDefault).of(inputs, outputs)
    }

    /// Of the embedding table; the padding token's row is zero.
    pub(super) fn embedding(&self, vocab: usize, dim: usize, padding: Option<u32>) -> Init {
        match self
            .find(&format!("{}.weight", Role::TokenEmbedding.pseudo_name()))
            .unwrap_or(Distribution::Normal { std: 1.0 })
            .of(vocab, dim)
        {
            Init::Normal { std, .. } => Init::Normal { std, zero_row: padding.map(|id| id as usize) },
            other => other,
        }
    }
    /// Of a learned table of positions.
    pub(super) fn positions(&self, positions: usize, dim: usize) -> Init {
        self.find(&format!("{}.weight", Role::PositionEmbedding.pseudo_name())).unwrap_or(POSITIONS).of(positions, dim)
    }
}
