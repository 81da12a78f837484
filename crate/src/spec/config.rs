//! A model's configuration in one normal form, whatever file style it came from.

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::choices::{AttentionKind, Dropouts, NormConfig, NormPlacement, PositionEmbedding, RopeScaling};
use super::{Activation, Architecture, DType, Initialization, ModelSpec, Quantization};

/// Everything that shapes a model, with every default filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// The family.
    pub architecture: Architecture,
    /// Rows of the embedding and of the head.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the feed-forward part.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides the query heads.
    pub num_key_value_heads: usize,
    /// Width of one head; `hidden_size / num_attention_heads` unless given.
    pub head_dim: usize,
    /// Longest sequence, in tokens; the rows of the table where positions are learned.
    pub max_position_embeddings: usize,
    /// The norms.
    pub norm: NormConfig,
    /// Where the norms of a layer stand.
    pub placement: NormPlacement,
    /// Whether a norm follows the last layer.
    pub final_norm: bool,
    /// The shape of self-attention.
    pub attention: AttentionKind,
    /// How tokens' positions enter.
    pub position: PositionEmbedding,
    /// Whether embeddings are multiplied by sqrt(hidden_size).
    pub scale_embedding: bool,
    /// The function inside the feed-forward part.
    pub activation: Activation,
    /// Whether the feed-forward part is gated: down(f(gate x) · up x), else linear2(f(linear1 x)).
    pub gated: bool,
    /// Whether layers have a feed-forward part at all.
    pub feedforward: bool,
    /// How many tokens a query sees, itself included; all earlier ones if not given.
    pub sliding_window: Option<usize>,
    /// Whether queries and keys are normalised per head (RMSNorm over `head_dim`) before rotation.
    pub qk_norm: bool,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
    /// Whether the attention projections have biases.
    pub attention_bias: bool,
    /// Whether the feed-forward projections have biases.
    pub mlp_bias: bool,
    /// Dropout probabilities.
    pub dropout: Dropouts,
    /// How a new model is drawn.
    pub initialization: Initialization,
    /// Runs of layers that differ, in order, together `num_hidden_layers`; empty if all layers are alike.
    pub layers: Vec<LayerRun>,
    /// Element type of the stored weights.
    pub dtype: DType,
    /// Beginning-of-sequence id.
    pub bos_token_id: Option<u32>,
    /// End-of-sequence ids; the first one is the tokenizer's.
    pub eos_token_id: Vec<u32>,
    /// Padding id.
    pub pad_token_id: Option<u32>,
    /// Which linear maps are stored in few bits, if any are. The names are native ones in a native configuration, and
    /// Hugging Face's in one of theirs.
    pub quantization: Option<Quantization>,
}

/// Consecutive equal layers of a stack whose layers are not all equal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerRun {
    /// How many.
    pub count: usize,
    /// The fields of config.json that these layers set otherwise than the model.
    pub set: Map<String, Value>,
    /// The configuration with those fields.
    pub config: Box<ModelConfig>,
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A field that must be there is not.
    #[error("`{field}` is missing\n  where: {origin}\n  do: add it; a {family} model cannot be built without it")]
    Missing {
        /// The field.
        field: String,
        /// The file or configuration.
        origin: String,
        /// The family that needs it.
        family: String,
    },
    /// A field holds something else than it should.
    #[error("`{field}` is {found}, expected {expected}\n  where: {origin}\n  do: correct the field")]
    Invalid {
        /// The field.
        field: String,
        /// What it holds.
        found: String,
        /// What it may hold.
        expected: String,
        /// The file or configuration.
        origin: String,
    },
    /// A family, activation or feature this crate does not build.
    #[error("{what} `{found}` is not supported\n  where: {origin}\n  do: use one of: {supported}")]
    Unsupported {
        /// Which kind of thing.
        what: String,
        /// What was asked for.
        found: String,
        /// What exists.
        supported: String,
        /// The file or configuration.
        origin: String,
    },
}

impl ModelConfig {
    /// Checks what the parts need of each other.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] for sizes of zero, heads that do not divide, or an odd head width.
    pub fn validate(&self, origin: &str) -> Result<(), ConfigError> {
        let invalid = |field: &str, found: String, expected: &str| ConfigError::Invalid {
            field: field.to_owned(),
            found,
            expected: expected.to_owned(),
            origin: origin.to_owned(),
        };
        // Bounds keep products of sizes far below overflow: no model comes near them.
        for (field, value) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ] {
            if value == 0 || value > 1 << 28 {
                return Err(invalid(field, value.to_string(), "a number from 1 to 268435456"));
            }
        }
        if self.sliding_window == Some(0) {
            return Err(invalid("sliding_window", "0".to_owned(), "a number from 1, or null"));
        }
        if self.num_hidden_layers > 10_000 {
            return Err(invalid("num_hidden_layers", self.num_hidden_layers.to_string(), "a number from 1 to 10000"));
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            let expected = format!("a divisor of num_attention_heads ({})", self.num_attention_heads);
            return Err(invalid("num_key_value_heads", self.num_key_value_heads.to_string(), &expected));
        }
        if self.attention == AttentionKind::SingleHead
            && (self.num_attention_heads, self.head_dim) != (1, self.hidden_size)
        {
            let found = format!("{} of width {}", self.num_attention_heads, self.head_dim);
            return Err(invalid("num_attention_heads", found, "1 of the model's width (attention_type single_head)"));
        }
        let mut positive = vec![(self.norm.kind.eps_field(), self.norm.eps)];
        match &self.position {
            PositionEmbedding::Rope(rope) => {
                if !self.head_dim.is_multiple_of(2) {
                    return Err(invalid("head_dim", self.head_dim.to_string(), "an even number (rotary halves)"));
                }
                positive.push(("rope_theta", rope.theta));
                if let Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, .. }) = &rope.scaling
                    && !(*factor >= 1.0 && *low_freq_factor > 0.0 && high_freq_factor > low_freq_factor)
                {
                    let found = format!(
                        "factor {factor}, low_freq_factor {low_freq_factor}, high_freq_factor {high_freq_factor}"
                    );
                    let expected = "factor ≥ 1 and 0 < low_freq_factor < high_freq_factor";
                    return Err(invalid("rope_parameters", found, expected));
                }
            }
            PositionEmbedding::Sinusoidal if !self.hidden_size.is_multiple_of(2) => {
                return Err(invalid("hidden_size", self.hidden_size.to_string(), "an even number (sines and cosines)"));
            }
            PositionEmbedding::Sinusoidal
            | PositionEmbedding::Learned
            | PositionEmbedding::Alibi(_)
            | PositionEmbedding::None => {}
        }
        if let NormPlacement::DeepNet { alpha: Some(alpha) } = self.placement {
            positive.push(("deepnet_alpha", alpha));
        }
        for (field, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                return Err(invalid(field, value.to_string(), "a positive number"));
            }
        }
        for (field, probability) in self.dropout.fields() {
            if !(0.0..1.0).contains(&probability) {
                return Err(invalid(field, probability.to_string(), "a probability from 0 to below 1"));
            }
        }
        if let Initialization::Rules(rules) = &self.initialization {
            for rule in rules {
                Regex::new(&rule.pattern).map_err(|error| {
                    let what = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
                    invalid("initialization", format!("`{}` ({what})", rule.pattern), "a regular expression")
                })?;
            }
        }
        let runs: usize = self.layers.iter().map(|run| run.count).sum();
        if !self.layers.is_empty() && runs != self.num_hidden_layers {
            let expected = format!("as many layers as num_hidden_layers ({})", self.num_hidden_layers);
            return Err(invalid("layers", format!("{runs} layers"), &expected));
        }
        if self.quantization.is_some()
            && let Some((name, inputs, group)) = Quantization::misfit(&ModelSpec::resolve(self).root)
        {
            let expected = format!("a divisor of {inputs}, the width of {name}");
            return Err(invalid("quantization_config group_size", group.to_string(), &expected));
        }
        for (field, id) in [("bos_token_id", self.bos_token_id), ("pad_token_id", self.pad_token_id)] {
            if id.is_some_and(|id| id as usize >= self.vocab_size) {
                let expected = format!("an id below vocab_size ({})", self.vocab_size);
                return Err(invalid(field, id.map_or_else(String::new, |id| id.to_string()), &expected));
            }
        }
        Ok(())
    }

    /// The configuration of each layer: the model's own, with what its run sets otherwise.
    pub fn layer(&self, index: usize) -> &ModelConfig {
        let mut before = 0;
        for run in &self.layers {
            before += run.count;
            if index < before {
                return &run.config;
            }
        }
        self
    }

    /// The fields whose values no configuration of Hugging Face's class for this family can express; empty if a model
    /// of this configuration can be converted.
    pub fn beyond_hugging_face(&self) -> Vec<String> {
        if self.architecture.hf_class().is_none() {
            return vec![format!("the family {}", self.architecture.name())];
        }
        let usual = self.architecture.defaults();
        let windowed = self.architecture == Architecture::Llama && self.sliding_window.is_some();
        let dropout = Dropouts { attention: self.dropout.attention, ..Dropouts::default() };
        [
            ("norm_type", self.norm.kind != usual.norm.kind),
            ("norm_placement", self.placement != usual.placement),
            ("final_norm", self.final_norm != usual.final_norm),
            ("attention_type", self.attention != usual.attention),
            ("position_embedding", !matches!(self.position, PositionEmbedding::Rope(_))),
            ("scale_embedding", self.scale_embedding != usual.scale_embedding),
            ("hidden_act", self.activation != usual.activation),
            ("gated_mlp", self.gated != usual.gated),
            ("feedforward", !self.feedforward),
            ("qk_norm", self.qk_norm != usual.qk_norm),
            ("sliding_window", windowed),
            ("embedding, layer, residual or activation dropout", self.dropout != dropout),
            ("layers", !self.layers.is_empty()),
        ]
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(field, _)| field.to_owned())
        .collect()
    }
}
