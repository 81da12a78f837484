//! The families of models, and what each takes for granted.

use serde::{Deserialize, Serialize};

use super::config_json::NATIVE_PREFIX;
use super::{
    Activation, AlibiConfig, AlibiSlopes, AttentionKind, Dropouts, Initialization, ModelConfig, NormConfig, NormKind,
    NormPlacement, PositionEmbedding,
};

/// A family of models that this crate knows how to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Architecture {
    /// Llama 2 and 3: pre-norm, RMSNorm, grouped-query attention, rotary positions, gated SiLU feed-forward.
    Llama,
    /// Mistral: Llama whose attention may look back over a window only.
    Mistral,
    /// Qwen3: Llama whose queries and keys are normalised per head before they are rotated.
    Qwen3,
    /// The decoder of the original transformer: post-norm, LayerNorm, sinusoidal positions, ReLU (Vaswani et al. 2017).
    CausalLm,
    /// DeepNet post-norm layers (Wang et al. 2022), ALiBi attention (Press et al. 2022), ReLU-gated feed-forward.
    #[serde(rename = "deepone")]
    DeepOne,
    /// One attention head without output projection, ALiBi, ReLU-gated feed-forward, tied head.
    SingleHead,
}

impl Architecture {
    /// Every family.
    pub const ALL: &'static [Architecture] = &[
        Architecture::Llama,
        Architecture::Mistral,
        Architecture::Qwen3,
        Architecture::CausalLm,
        Architecture::DeepOne,
        Architecture::SingleHead,
    ];

    /// The families that Hugging Face transformers has, too: those that models are converted from and to.
    pub fn convertible() -> impl Iterator<Item = Architecture> {
        Self::ALL.iter().copied().filter(|family| family.hf_class().is_some())
    }

    /// The name in `model_type` and `hf_model_type`.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Llama => "llama",
            Architecture::Mistral => "mistral",
            Architecture::Qwen3 => "qwen3",
            Architecture::CausalLm => "causal_lm",
            Architecture::DeepOne => "deepone",
            Architecture::SingleHead => "single_head",
        }
    }

    /// The version of the names of parameters and of the fields of config.json that this crate writes. A change of either
    /// is a new version, and a step in `update/migrations` that leads to it.
    pub const VERSION: u64 = 1;

    /// The `model_type` of native folders.
    pub fn native_model_type(self) -> String {
        format!("{NATIVE_PREFIX}{}", self.name())
    }

    /// Finds a family by name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|family| family.name() == name)
    }

    /// Finds a family by the short name that Forgather's generated models carry in their `model_type`.
    pub(super) fn from_forgather_name(name: &str) -> Option<Self> {
        match name {
            "llama2" | "llama3_2" => Some(Architecture::Llama),
            "dynamic_causal_transformer" => Some(Architecture::CausalLm),
            "singlehead" => Some(Architecture::SingleHead),
            _ => Self::from_name(name),
        }
    }

    /// The model class that Hugging Face transformers has for it, if there is one.
    pub fn hf_class(self) -> Option<&'static str> {
        match self {
            Architecture::Llama => Some("LlamaForCausalLM"),
            Architecture::Mistral => Some("MistralForCausalLM"),
            Architecture::Qwen3 => Some("Qwen3ForCausalLM"),
            Architecture::CausalLm | Architecture::DeepOne | Architecture::SingleHead => None,
        }
    }

    /// [`ModelConfig::usual`] of this family.
    pub(super) fn usual(self) -> ModelConfig {
        ModelConfig::usual(self)
    }
}

impl ModelConfig {
    /// What a configuration of the family need not say; sizes are 0.
    pub fn usual(family: Architecture) -> Self {
        let plain = ModelConfig::plain(family);
        match family {
            Architecture::Llama | Architecture::Mistral => plain,
            Architecture::Qwen3 => ModelConfig { qk_norm: true, ..plain },
            Architecture::CausalLm => ModelConfig {
                norm: NormConfig { kind: NormKind::LayerNorm, eps: 1e-5 },
                placement: NormPlacement::Post,
                final_norm: false,
                position: PositionEmbedding::Sinusoidal,
                scale_embedding: true,
                activation: Activation::Relu,
                gated: false,
                mlp_bias: true,
                dropout: Dropouts { embedding: 0.1, layer: 0.1, ..Dropouts::NONE },
                initialization: Initialization::ScaledEmbedding,
                ..plain
            },
            Architecture::DeepOne => ModelConfig {
                placement: NormPlacement::DeepNet { alpha: None },
                position: PositionEmbedding::Alibi(AlibiConfig { slopes: AlibiSlopes::Alternate, trainable: true }),
                activation: Activation::Relu,
                initialization: Initialization::DeepNet,
                ..plain
            },
            Architecture::SingleHead => ModelConfig {
                // PyTorch's default where none is given: the spacing of float32 at 1.
                norm: NormConfig { kind: NormKind::RmsNorm, eps: f64::from(f32::EPSILON) },
                attention: AttentionKind::SingleHead,
                position: PositionEmbedding::Alibi(AlibiConfig { slopes: AlibiSlopes::Half, trainable: true }),
                scale_embedding: true,
                activation: Activation::Relu,
                tie_word_embeddings: true,
                initialization: Initialization::ScaledEmbedding,
                ..plain
            },
        }
    }
}
