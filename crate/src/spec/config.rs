//! A model's configuration in one normal form, whatever file style it came from.

use serde::{Deserialize, Serialize};

use super::DType;

/// A family of models that this crate knows how to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Architecture {
    /// Llama 2 and 3: pre-norm, RMSNorm, grouped-query attention, rotary positions, gated SiLU feed-forward.
    Llama,
    /// Mistral: Llama whose attention may look back over a window only.
    Mistral,
    /// Qwen3: Llama whose queries and keys are normalised per head before they are rotated.
    Qwen3,
}

impl Architecture {
    /// Every family, for error messages and `--model-type`.
    pub const ALL: &'static [Architecture] = &[Architecture::Llama, Architecture::Mistral, Architecture::Qwen3];

    /// The name in `model_type` and `hf_model_type`.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Llama => "llama",
            Architecture::Mistral => "mistral",
            Architecture::Qwen3 => "qwen3",
        }
    }

    /// Finds a family by name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|family| family.name() == name)
    }

    /// The model class that Hugging Face transformers has for it.
    pub fn hf_class(self) -> &'static str {
        match self {
            Architecture::Llama => "LlamaForCausalLM",
            Architecture::Mistral => "MistralForCausalLM",
            Architecture::Qwen3 => "Qwen3ForCausalLM",
        }
    }
}

/// Rotary position embedding (Su et al. 2021), halves rotated as in Hugging Face models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RopeConfig {
    /// Base θ of the geometric frequency series.
    pub theta: f64,
    /// Stretching of low frequencies for long contexts.
    pub scaling: Option<RopeScaling>,
}

/// Ways to stretch rotary frequencies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RopeScaling {
    /// Llama 3.1's rule: wavelengths beyond `original / low` are divided by `factor`, those within
    /// `original / high` stay, and those between are blended linearly in original/wavelength.
    Llama3 {
        /// Division of the low frequencies.
        factor: f64,
        /// Lower bound of the blend.
        low_freq_factor: f64,
        /// Upper bound of the blend.
        high_freq_factor: f64,
        /// Context length of the original training, in tokens.
        original_max_position_embeddings: usize,
    },
}

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
    /// Longest sequence, in tokens.
    pub max_position_embeddings: usize,
    /// Added to the mean square inside RMSNorm.
    pub rms_norm_eps: f64,
    /// Rotary positions.
    pub rope: RopeConfig,
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
    /// Element type of the stored weights.
    pub dtype: DType,
    /// Beginning-of-sequence id.
    pub bos_token_id: Option<u32>,
    /// End-of-sequence ids; the first one is the tokenizer's.
    pub eos_token_id: Vec<u32>,
    /// Padding id.
    pub pad_token_id: Option<u32>,
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
        if !self.head_dim.is_multiple_of(2) {
            return Err(invalid("head_dim", self.head_dim.to_string(), "an even number (rotary halves)"));
        }
        for (field, value) in [("rms_norm_eps", self.rms_norm_eps), ("rope_theta", self.rope.theta)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(invalid(field, value.to_string(), "a positive number"));
            }
        }
        if let Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, .. }) = &self.rope.scaling
            && !(*factor >= 1.0 && *low_freq_factor > 0.0 && high_freq_factor > low_freq_factor)
        {
            let found =
                format!("factor {factor}, low_freq_factor {low_freq_factor}, high_freq_factor {high_freq_factor}");
            return Err(invalid("rope_parameters", found, "factor ≥ 1 and 0 < low_freq_factor < high_freq_factor"));
        }
        for (field, id) in [("bos_token_id", self.bos_token_id), ("pad_token_id", self.pad_token_id)] {
            if id.is_some_and(|id| id as usize >= self.vocab_size) {
                let expected = format!("an id below vocab_size ({})", self.vocab_size);
                return Err(invalid(field, id.map_or_else(String::new, |id| id.to_string()), &expected));
            }
        }
        Ok(())
    }
}
