//! The families of models, and what each takes for granted.

use serde::{Deserialize, Serialize};

use super::choices::{
    AlibiConfig, AlibiSlopes, AttentionKind, Dropouts, NormConfig, NormKind, NormPlacement, PositionEmbedding,
    RopeConfig,
};
use super::config_json::NATIVE_PREFIX;
use super::{Activation, Initialization};

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

/// What a configuration of a family need not say.
pub(super) struct Defaults {
    pub(super) norm: NormConfig,
    pub(super) placement: NormPlacement,
    pub(super) final_norm: bool,
    pub(super) attention: AttentionKind,
    pub(super) position: PositionEmbedding,
    pub(super) scale_embedding: bool,
    pub(super) activation: Activation,
    pub(super) gated: bool,
    pub(super) qk_norm: bool,
    pub(super) mlp_bias: bool,
    pub(super) tied: bool,
    pub(super) dropout: Dropouts,
    pub(super) initialization: Initialization,
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

    pub(super) fn defaults(self) -> Defaults {
        let rope = PositionEmbedding::Rope(RopeConfig { theta: 10_000.0, scaling: None });
        let llama = Defaults {
            // What the Hugging Face configuration classes of these families assume.
            norm: NormConfig { kind: NormKind::RmsNorm, eps: 1e-6 },
            placement: NormPlacement::Pre,
            final_norm: true,
            attention: AttentionKind::MultiHead,
            position: rope,
            scale_embedding: false,
            activation: Activation::Silu,
            gated: true,
            qk_norm: false,
            mlp_bias: false,
            tied: false,
            dropout: Dropouts::default(),
            initialization: Initialization::Llama,
        };
        match self {
            Architecture::Llama | Architecture::Mistral => llama,
            Architecture::Qwen3 => Defaults { qk_norm: true, ..llama },
            Architecture::CausalLm => Defaults {
                norm: NormConfig { kind: NormKind::LayerNorm, eps: 1e-5 },
                placement: NormPlacement::Post,
                final_norm: false,
                position: PositionEmbedding::Sinusoidal,
                scale_embedding: true,
                activation: Activation::Relu,
                gated: false,
                mlp_bias: true,
                dropout: Dropouts { embedding: 0.1, layer: 0.1, ..Dropouts::default() },
                initialization: Initialization::ScaledEmbedding,
                ..llama
            },
            Architecture::DeepOne => Defaults {
                placement: NormPlacement::DeepNet { alpha: None },
                position: PositionEmbedding::Alibi(AlibiConfig { slopes: AlibiSlopes::Alternate, trainable: true }),
                activation: Activation::Relu,
                initialization: Initialization::DeepNet,
                ..llama
            },
            Architecture::SingleHead => Defaults {
                // PyTorch's default where none is given: the spacing of float32 at 1.
                norm: NormConfig { kind: NormKind::RmsNorm, eps: f64::from(f32::EPSILON) },
                attention: AttentionKind::SingleHead,
                position: PositionEmbedding::Alibi(AlibiConfig { slopes: AlibiSlopes::Half, trainable: true }),
                scale_embedding: true,
                activation: Activation::Relu,
                tied: true,
                initialization: Initialization::ScaledEmbedding,
                ..llama
            },
        }
    }
}
