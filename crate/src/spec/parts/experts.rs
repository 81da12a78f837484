//! Mixtures of experts: feed-forward parts of which each token uses a few.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::declare::words;
use super::feed_forward::{self, FeedForwardKind};
use super::field::{Field, FieldKind};
use super::{linear, norm};
use crate::spec::config::{ConfigError, ModelConfig};
use crate::spec::initialization::InitRules;
use crate::spec::{Activation, Cost, CostScope, Init, Leaf, Mixer, Node, NormPlacement, Part, Role};

/// What makes scores of a router's logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RouterScore {
    /// Their softmax over all experts, or over the chosen ones (Shazeer et al. 2017).
    Softmax,
    /// The logistic function of each (DeepSeek-AI 2024).
    Sigmoid,
    /// SparseMixer's: the experts are chosen one after the other, and the weight of each is its softmax over those whose
    /// logits are close to it (Liu et al. 2024).
    SparseMixer,
}

words!(RouterScore { Softmax = "softmax", Sigmoid = "sigmoid", SparseMixer = "sparse_mixer" });

/// What makes the score of a group of experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GroupScore {
    /// The largest score of its experts.
    Max,
    /// The sum of its two largest.
    TopTwo,
}

words!(GroupScore { Max = "max", TopTwo = "top_two" });

/// How a router chooses experts, and weighs what they return.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RouterForm {
    /// How many experts there are.
    pub experts: usize,
    /// How many of them a token uses.
    pub active: usize,
    /// What makes scores of logits.
    pub score: RouterScore,
    /// Whether the softmax is over the chosen experts only.
    pub softmax_after_topk: bool,
    /// Whether the weights of the chosen experts are divided by their sum.
    pub norm_topk: bool,
    /// Factor on the weights.
    pub scaling: f64,
    /// Whether the weights are factors on what enters experts, instead of what leaves them.
    pub scales_input: bool,
    /// Groups of consecutive experts, and how many of the groups a token may use.
    pub groups: (usize, usize),
    /// What makes the score of a group.
    pub group_score: GroupScore,
    /// Logits that are further below the largest one than this share of it do not count (SparseMixer).
    pub threshold: f64,
    /// Factor on the auxiliary loss of training.
    pub aux_loss: f64,
    /// Whether experts and router read the residual stream itself, and norms follow the experts and the shared one.
    pub own_norms: bool,
    /// Factor on the router's logits.
    pub logits_scale: f64,
}

pub(super) fn used(config: &ModelConfig) -> bool {
    config.feedforward && config.feed_forward_kind == FeedForwardKind::Experts
}

pub(super) fn shared(config: &ModelConfig) -> bool {
    used(config) && config.shared_expert_intermediate_size.is_some()
}

/// Scores of all experts make the weights.
pub(super) fn weighs(config: &ModelConfig) -> bool {
    used(config) && config.router_score != RouterScore::SparseMixer
}

pub(super) fn mixes(config: &ModelConfig) -> bool {
    used(config) && config.router_score == RouterScore::SparseMixer
}

pub(super) fn grouped(config: &ModelConfig) -> bool {
    weighs(config) && config.router_groups > 1
}

pub(super) const EXPERTS: &str = "feed_forward_type: experts";
pub(super) const SCORES: &str = "feed_forward_type: experts and router_score: softmax or sigmoid";
pub(super) const GROUPS: &str = "feed_forward_type: experts and router_groups: 2 or more";

/// Declares the fields.
macro_rules! experts_fields {
    ($next:ident $($rest:tt)*) => { $next! { $($rest)*
        part "experts" "Experts, of which a router chooses a few for each token" {
            /// Number of experts.
            num_experts: usize = 8, {
                .by_layer().needs(experts::EXPERTS, experts::used).exported(experts::used)
            };
            /// Experts that a token uses.
            num_experts_per_tok: usize = 2, {
                .by_layer().needs(experts::EXPERTS, experts::used).exported(experts::used)
            };
            /// Width inside an expert.
            moe_intermediate_size: usize = 0 => [experts::WIDTH];
            /// What makes scores of the router's logits.
            router_score: RouterScore = RouterScore::Softmax, { .by_layer().needs(experts::EXPERTS, experts::used) };
            /// Whether the softmax is over the logits of the chosen experts only.
            router_softmax_after_topk: bool = false, {
                .by_layer().needs("feed_forward_type: experts and router_score: softmax", |config| {
                    experts::used(config) && config.router_score == RouterScore::Softmax
                })
            };
            /// Whether the weights of the chosen experts are divided by their sum.
            router_norm_topk: bool = false, { .by_layer().needs(experts::SCORES, experts::weighs) };
            /// Factor on the weights of experts.
            router_scaling_factor: f64 = 1.0, {
                .by_layer().needs(experts::SCORES, experts::weighs)
                .exported(|config| experts::weighs(config) && config.router_scaling_factor != 1.0)
            };
            /// Whether weights are factors on what enters an expert, instead of what leaves it.
            router_scales_input: bool = false, { .by_layer().needs(experts::EXPERTS, experts::used) };
            /// Whether the router's logits have a bias.
            router_bias: bool = false, { .by_layer().needs(experts::EXPERTS, experts::used) };
            /// Whether the choice adds a correction to each expert's score; weights are made without it.
            router_correction: bool = false, { .by_layer().needs(experts::SCORES, experts::weighs) };
            /// Groups of consecutive experts.
            router_groups: usize = 1, { .by_layer().needs(experts::SCORES, experts::weighs).exported(experts::grouped) };
            /// Groups of experts that a token may use.
            router_topk_groups: usize = 1, {
                .by_layer().needs(experts::GROUPS, experts::grouped).exported(experts::grouped)
            };
            /// What makes the score of a group of experts.
            router_group_score: GroupScore = GroupScore::Max, { .by_layer().needs(experts::GROUPS, experts::grouped) };
            /// Logits further below the largest one than this share of it do not count.
            router_threshold: f64 = 0.02, {
                .by_layer().needs("feed_forward_type: experts and router_score: sparse_mixer", experts::mixes).exported(experts::mixes)
            };
            /// Whether the router reads norm(x), and its logits are divided by sqrt(hidden_size).
            router_norm: bool = false, { .by_layer().needs(experts::EXPERTS, experts::used) };
            /// Whether the weight of each expert has a trained factor.
            router_expert_scale: bool = false, { .by_layer().needs(experts::SCORES, experts::weighs) };
            /// Whether experts stand beside a dense part of the width intermediate_size, with norms of their own: one before them,
            /// which reads the residual stream as the router does, one after them, and one after the dense part.
            experts_beside_mlp: bool = false, { .by_layer().needs(experts::EXPERTS, experts::used) };
            /// Factor on the loss that spreads tokens over experts, whose gradient training adds to that of routers.
            router_aux_loss_coef: f64 = 0.0, { .by_layer().needs(experts::EXPERTS, experts::used) };
            /// Width inside an expert that every token uses, too; null without one.
            shared_expert_intermediate_size: Option<usize> = None => [experts::SHARED_WIDTH];
            /// Whether what the shared expert returns is multiplied by a logistic function of the token.
            shared_expert_gate: bool = false, {
                .by_layer().needs(
                    "feed_forward_type: experts and shared_expert_intermediate_size: 64 or another width",
                    experts::shared,
                )
            };
        }
    } };
}
pub(super) use experts_fields;

/// That of a feed-forward part where nothing else is said.
pub(super) const WIDTH: Field = Field::new(
    "moe_intermediate_size",
    "Width inside an expert",
    FieldKind::Size,
    |reading, config| {
        // Nothing where there are no experts, so that equal models are equal.
        config.moe_intermediate_size = if used(config) { config.intermediate_size } else { 0 };
        if used(config) { reading.take("moe_intermediate_size", &mut config.moe_intermediate_size) } else { Ok(()) }
    },
    |config| used(config).then(|| json!(config.moe_intermediate_size)),
)
.by_layer()
.otherwise("intermediate_size")
.needs(EXPERTS, used)
.exported(used);

pub(super) const SHARED_WIDTH: Field = Field::new(
    "shared_expert_intermediate_size",
    "Width inside an expert that every token uses, too; null without one",
    FieldKind::OptionalSize,
    |reading, config| reading.take("shared_expert_intermediate_size", &mut config.shared_expert_intermediate_size),
    |config| Some(json!(config.shared_expert_intermediate_size)),
)
.by_layer()
.needs(EXPERTS, used)
.exported(shared);

/// Checks that experts can be chosen.
pub(super) fn validate(config: &ModelConfig, fault: super::Fault<'_>) -> Result<(), ConfigError> {
    if !used(config) {
        return Ok(());
    }
    let (experts, groups) = (config.num_experts, if weighs(config) { config.router_groups } else { 1 });
    if config.num_experts_per_tok > experts {
        let expected = format!("at most num_experts ({experts})");
        return Err(fault("num_experts_per_tok", config.num_experts_per_tok.to_string(), &expected));
    }
    if config.activation == Activation::Xielu {
        return Err(fault(
            "hidden_act",
            "xielu".to_owned(),
            "a function without parameters (feed_forward_type experts)",
        ));
    }
    let before = [NormPlacement::Pre, NormPlacement::Sandwich].contains(&config.placement);
    if config.experts_beside_mlp && (!before || config.parallel_layers) {
        let expected = "pre or sandwich, in layers that are not parallel, where experts_beside_mlp is true";
        return Err(fault("norm_placement", config.placement.name().to_owned(), expected));
    }
    if let Some(width) = config.shared_expert_intermediate_size.filter(|_| config.experts_beside_mlp) {
        let expected = "null where experts_beside_mlp is true: the dense part is the expert that all tokens use";
        return Err(fault("shared_expert_intermediate_size", width.to_string(), expected));
    }
    if experts > 1 << 16 {
        return Err(fault("num_experts", experts.to_string(), "a number from 1 to 65536"));
    }
    if !(config.router_aux_loss_coef.is_finite() && config.router_aux_loss_coef >= 0.0) {
        return Err(fault("router_aux_loss_coef", config.router_aux_loss_coef.to_string(), "a number from 0"));
    }
    if !experts.is_multiple_of(groups) {
        return Err(fault("router_groups", groups.to_string(), &format!("a divisor of num_experts ({experts})")));
    }
    if groups > 1 && config.router_topk_groups > groups {
        let expected = format!("at most router_groups ({groups})");
        return Err(fault("router_topk_groups", config.router_topk_groups.to_string(), &expected));
    }
    if groups > 1 && config.router_topk_groups * (experts / groups) < config.num_experts_per_tok {
        let expected = format!("enough groups for {} experts", config.num_experts_per_tok);
        return Err(fault("router_topk_groups", config.router_topk_groups.to_string(), &expected));
    }
    if groups > 1 && config.router_group_score == GroupScore::TopTwo && experts / groups < 2 {
        return Err(fault("router_groups", groups.to_string(), "groups of two experts or more"));
    }
    Ok(())
}

/// How many roles the projections of a feed-forward part have.
pub(in crate::spec) const EXPERT: [Role; 3] = [Role::ExpertGate, Role::ExpertUp, Role::ExpertDown];
/// As [`EXPERT`], for the expert that every token uses.
pub(in crate::spec) const SHARED: [Role; 3] = [Role::SharedGate, Role::SharedUp, Role::SharedDown];

/// Returns the width inside the expert that every token uses: that of the dense part, where experts stand beside one.
pub(crate) fn shared_width(config: &ModelConfig) -> Option<usize> {
    if config.experts_beside_mlp { Some(config.intermediate_size) } else { config.shared_expert_intermediate_size }
}

pub(super) fn node(config: &ModelConfig, rules: &InitRules) -> Node {
    let (hidden, experts) = (config.hidden_size, config.num_experts);
    let form = RouterForm {
        experts,
        active: config.num_experts_per_tok,
        score: config.router_score,
        softmax_after_topk: config.router_softmax_after_topk && config.router_score == RouterScore::Softmax,
        norm_topk: config.router_norm_topk && weighs(config),
        scaling: if weighs(config) { config.router_scaling_factor } else { 1.0 },
        scales_input: config.router_scales_input,
        groups: if grouped(config) { (config.router_groups, config.router_topk_groups) } else { (1, 1) },
        group_score: config.router_group_score,
        threshold: config.router_threshold,
        aux_loss: config.router_aux_loss_coef,
        own_norms: config.experts_beside_mlp,
        logits_scale: if config.router_norm { (hidden as f64).powf(-0.5) } else { 1.0 },
    };
    let mut children = vec![linear("router", Role::Router, (hidden, experts), config.router_bias, rules)];
    if config.router_correction && weighs(config) {
        // Named by the part itself: the leaf adds no segment of its own.
        children.push(Node::leaf("", Role::RouterCorrection, Leaf::RouterCorrection { experts }));
    }
    if config.router_norm {
        children.push(norm::node("router_norm", Role::RouterNorm, config, hidden));
    }
    if config.router_expert_scale && weighs(config) {
        let scales = Leaf::Tensor { name: "router_expert_scale", shape: vec![experts], init: Init::Ones };
        children.push(Node::leaf("", Role::RouterExpertScale, scales));
    }
    if config.experts_beside_mlp {
        children.push(norm::node("expert_norm", Role::ExpertNorm, config, hidden));
        children.push(norm::node("expert_post_norm", Role::ExpertPostNorm, config, hidden));
        children.push(norm::node("shared_post_norm", Role::SharedPostNorm, config, hidden));
    }
    let expert = feed_forward::mlp("", config, config.moe_intermediate_size, EXPERT, rules);
    let container = Part::Experts { active: form.active };
    children.push(Node { repeat: Some(experts), ..Node::new("experts", container, vec![expert]) });
    if let Some(width) = shared_width(config) {
        children.push(feed_forward::mlp("shared_expert", config, width, SHARED, rules));
        if config.shared_expert_gate {
            children.push(linear("shared_expert_gate", Role::SharedScale, (hidden, 1), false, rules));
        }
    }
    Node::new("feedforward", Part::Mixer(Mixer::Experts(form)), children)
}

/// Adds what the part leaves for backward beside its experts: the scores, and the tokens of each expert before and after
/// they are weighed.
pub(in crate::spec) fn cost(form: &RouterForm, scope: CostScope, cost: &mut Cost) {
    cost.activations += 2 * form.experts as u64 + (2 * form.active as u64 + 1) * scope.hidden;
}
