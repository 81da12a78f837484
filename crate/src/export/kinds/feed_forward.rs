//! Feed-forward parts and mixtures of them.

use serde::Serialize;

use super::norm::Norm;
use crate::spec::{Activation, FeedForwardKind, GroupScore, ModelConfig, RouterScore};

/// A kind of feed-forward part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::export) struct FeedForward {
    pub(in crate::export) name: String,
    pub(in crate::export) doc: String,
    pub(in crate::export) gated: bool,
    pub(in crate::export) bias: bool,
    pub(in crate::export) activation: Activation,
    /// Whether GPT-OSS's function of gate and up takes the place of the product.
    pub(in crate::export) clamped: bool,
    /// Whether there are factors on the gate and on the result.
    pub(in crate::export) scaled: (bool, bool),
    pub(in crate::export) dropout: bool,
    /// Whether the width inside is told by what makes it: experts have another one than dense layers.
    pub(in crate::export) sized: bool,
}

impl FeedForward {
    pub(in crate::export) fn of(config: &ModelConfig) -> Self {
        let activation = config.activation;
        let clamped = config.gated && activation == Activation::Silu && config.swiglu_limit.is_some();
        let factors = crate::spec::parts::feed_forward::factors(config);
        let scaled = (factors.0 != 1.0, factors.1 != 1.0);
        let short = match activation {
            Activation::Silu | Activation::Relu | Activation::Gelu | Activation::Relu2 | Activation::Xielu => {
                activation.name()
            }
            Activation::GeluTanh => Activation::Gelu.name(),
        };
        let doc = if clamped {
            "down(g · sigmoid(swiglu_alpha · g) · (u + 1)), where g is gate x of at most swiglu_limit, and u is up x within ± that."
                .to_owned()
        } else if config.gated {
            format!("down({short}(gate x) · up x).")
        } else {
            format!("linear2({short}(linear1 x)).")
        };
        Self {
            name: String::new(),
            doc,
            gated: config.gated,
            bias: config.mlp_bias,
            activation,
            clamped,
            scaled,
            dropout: config.dropout.activation > 0.0,
            sized: config.feed_forward_kind == FeedForwardKind::Experts,
        }
    }

    pub(in crate::export) fn words(&self) -> Vec<&'static str> {
        let activation = match self.activation {
            Activation::Silu => "Silu",
            Activation::Relu => "Relu",
            Activation::Gelu => "Gelu",
            Activation::GeluTanh => "TanhGelu",
            Activation::Relu2 => "Relu2",
            Activation::Xielu => "Xielu",
        };
        vec![if self.gated { "Gated" } else { "Plain" }, if self.clamped { "Clamped" } else { activation }]
    }
}

/// A kind of mixture of experts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::export) struct Mixture {
    pub(in crate::export) name: String,
    pub(in crate::export) doc: String,
    /// The class of an expert.
    pub(in crate::export) expert: String,
    pub(in crate::export) score: &'static str,
    pub(in crate::export) softmax_after: bool,
    pub(in crate::export) norm: bool,
    pub(in crate::export) scaling: bool,
    pub(in crate::export) scales_input: bool,
    pub(in crate::export) bias: bool,
    pub(in crate::export) correction: bool,
    pub(in crate::export) grouped: bool,
    pub(in crate::export) group_score: &'static str,
    pub(in crate::export) shared: bool,
    pub(in crate::export) shared_gate: bool,
    /// The field with the width of the expert that every token uses.
    pub(in crate::export) shared_width: &'static str,
    pub(in crate::export) router_norm: Option<Norm>,
    pub(in crate::export) expert_scale: bool,
    /// The norms of experts beside a dense part.
    pub(in crate::export) beside: Option<Norm>,
}

impl Mixture {
    /// A mixture of experts of this class, which is named already.
    pub(in crate::export) fn of(config: &ModelConfig, expert: String) -> Self {
        let mut doc = "Each token uses the `num_experts_per_tok` experts with the highest scores".to_owned();
        if config.router_groups > 1 && config.router_score != RouterScore::SparseMixer {
            doc.push_str(" of the `router_topk_groups` best groups");
        }
        let shared = crate::spec::parts::experts::shared_width(config).is_some();
        if shared {
            doc.push_str(", and one that all tokens use");
        }
        // SparseMixer's weights are what it makes of logits.
        let weighs = config.router_score != RouterScore::SparseMixer;
        Self {
            name: String::new(),
            doc: doc + ".",
            expert,
            score: match config.router_score {
                RouterScore::Softmax => "softmax",
                RouterScore::Sigmoid => "sigmoid",
                RouterScore::SparseMixer => "sparse_mixer",
            },
            softmax_after: config.router_softmax_after_topk && config.router_score == RouterScore::Softmax,
            norm: weighs && config.router_norm_topk,
            scaling: weighs && config.router_scaling_factor != 1.0,
            scales_input: config.router_scales_input,
            bias: config.router_bias,
            correction: weighs && config.router_correction,
            grouped: weighs && config.router_groups > 1,
            group_score: match config.router_group_score {
                GroupScore::Max => "max",
                GroupScore::TopTwo => "top_two",
            },
            shared,
            shared_gate: config.shared_expert_intermediate_size.is_some() && config.shared_expert_gate,
            shared_width: if config.experts_beside_mlp {
                "intermediate_size"
            } else {
                "shared_expert_intermediate_size"
            },
            router_norm: config.router_norm.then(|| Norm::of_layer(config)),
            expert_scale: weighs && config.router_expert_scale,
            beside: config.experts_beside_mlp.then(|| Norm::of_layer(config)),
        }
    }

    pub(in crate::export) fn words(&self) -> Vec<&'static str> {
        let score = match self.score {
            "softmax" => "Softmax",
            "sigmoid" => "Sigmoid",
            _ => "SparseMixer",
        };
        let mut words = vec!["Routed", score];
        words.extend(self.shared.then_some("Shared"));
        words.extend(self.beside.is_some().then_some("Beside"));
        words.extend(self.grouped.then_some("Grouped"));
        words
    }
}
