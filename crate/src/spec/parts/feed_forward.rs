//! The feed-forward part of a layer.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::declare::{words, words_or_parts};
use super::field::{Field, FieldKind};
use super::{experts, linear, user};
use crate::spec::config::ModelConfig;
use crate::spec::initialization::InitRules;
use crate::spec::{Cost, CostScope, Init, Leaf, Mixer, MixerKind, Node, Part, Role, UserPart};

/// The elementwise function inside a feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Activation {
    /// x · sigmoid(x) (Elfwing et al. 2018).
    Silu,
    /// max(x, 0).
    Relu,
    /// x · Φ(x) (Hendrycks and Gimpel 2016).
    Gelu,
    /// GELU with Φ approximated by tanh.
    #[serde(rename = "gelu_pytorch_tanh")]
    GeluTanh,
    /// max(x, 0)² (So et al. 2021).
    Relu2,
    /// α_p x² + x / 2 above zero, α_n (eˣ − 1 − x) + x / 2 below (Huang and Schlag 2024, arXiv:2411.13010), with the trained
    /// numbers α_p = softplus(xielu_alpha_p) and α_n = ½ + softplus(xielu_alpha_n).
    Xielu,
}

/// The kinds of feed-forward parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FeedForwardKind {
    /// Linear layers around an elementwise function, gated or not.
    Mlp,
    /// Several of these, of which each token uses a few.
    Experts,
    /// A part that a user wrote.
    #[serde(untagged)]
    User(UserPart),
}

words_or_parts!(FeedForwardKind in MixerKind::FeedForward { Mlp = "mlp", Experts = "experts" });

words!(Activation { Silu = "silu", Relu = "relu", Gelu = "gelu", GeluTanh = "gelu_pytorch_tanh", Relu2 = "relu2", Xielu = "xielu" });

/// GPT-OSS's function of gate and up: g · sigmoid(α g) · (u + 1), of a gate g of at most `limit` and an up u within
/// ± `limit`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClampedSwiglu {
    /// α.
    pub alpha: f64,
    /// The bound.
    pub limit: f64,
}

/// Declares the fields.
macro_rules! feed_forward_fields {
    ($next:ident $($rest:tt)*) => { $next! { $($rest)*
        part "feed_forward" "down(f(gate x) · up x), or linear2(f(linear1 x))" {
            /// Whether layers have a feed-forward part at all.
            feedforward: bool = true, { .by_layer() };
            /// The kind of feed-forward part.
            feed_forward_kind as "feed_forward_type": FeedForwardKind = FeedForwardKind::Mlp, {
                .by_layer().needs("feedforward: true", |config| config.feedforward)
            };
            /// Whether the feed-forward part is gated: down(f(gate x) · up x), else linear2(f(linear1 x)).
            gated as "gated_mlp": bool = true, { .by_layer().needs("feedforward: true", |config| config.feedforward) };
            /// Width inside the feed-forward part.
            intermediate_size: usize = 0 => [feed_forward::WIDTH];
            /// The function inside the feed-forward part.
            activation as "hidden_act": Activation = Activation::Silu, {
                .by_layer().always_written().needs("feedforward: true", |config| config.feedforward)
            };
            /// Whether the feed-forward projections have biases.
            mlp_bias: bool = false, {
                .by_layer().always_written().needs("feedforward: true", |config| config.feedforward)
            };
            /// Factor on what the gate projection makes.
            feed_forward_gate_multiplier: f64 = 1.0, {
                .by_layer().needs("gated_mlp: true and feed_forward_type: mlp", feed_forward::is_gated)
                .exported(|config| feed_forward::is_gated(config) && config.feed_forward_gate_multiplier != 1.0)
            };
            /// Factor on what a gated feed-forward part returns.
            feed_forward_output_multiplier: f64 = 1.0, {
                .by_layer().needs("gated_mlp: true and feed_forward_type: mlp", feed_forward::is_gated)
                .exported(|config| feed_forward::is_gated(config) && config.feed_forward_output_multiplier != 1.0)
            };
            /// Bound of gate and up in g · sigmoid(α g) · (u + 1), which takes the place of silu(g) · u; null without one.
            swiglu_limit: Option<f64> = None, {
                .by_layer().positive().needs("gated_mlp: true and hidden_act: silu", feed_forward::clamps)
                .exported(|config| feed_forward::clamps(config) && config.swiglu_limit.is_some())
            };
            /// α of the clamped function.
            swiglu_alpha: f64 = 1.702, {
                .by_layer().positive()
                .needs("swiglu_limit: 7.0 or another number", |config| feed_forward::clamps(config) && config.swiglu_limit.is_some())
                .exported(|config| feed_forward::clamps(config) && config.swiglu_limit.is_some())
            };
        }
    } };
}
pub(super) use feed_forward_fields;

pub(super) const WIDTH: Field = Field::new(
    "intermediate_size",
    "Width inside the feed-forward part",
    FieldKind::Size,
    |reading, config| {
        if config.feedforward && reading.fields.get("intermediate_size").is_none() {
            return Err(reading.fields.missing("intermediate_size"));
        }
        reading.take("intermediate_size", &mut config.intermediate_size)
    },
    // A model without feed-forward parts need not say how wide they are.
    |config| (config.feedforward || config.intermediate_size != 0).then(|| json!(config.intermediate_size)),
)
.by_layer()
.always_written()
.otherwise("required where feedforward is true")
.exported(|config| {
    config.feedforward && (config.feed_forward_kind != FeedForwardKind::Experts || config.experts_beside_mlp)
});

/// Returns whether layers have a gated part that is not a mixture.
pub(super) fn is_gated(config: &ModelConfig) -> bool {
    config.feedforward && config.gated && config.feed_forward_kind == FeedForwardKind::Mlp
}

/// Returns the factors on the gate and on the result.
pub(crate) fn factors(config: &ModelConfig) -> (f64, f64) {
    match is_gated(config) {
        true => (config.feed_forward_gate_multiplier, config.feed_forward_output_multiplier),
        false => (1.0, 1.0),
    }
}

pub(super) fn clamps(config: &ModelConfig) -> bool {
    config.feedforward && config.gated && config.activation == Activation::Silu
}

pub(super) fn node(config: &ModelConfig, rules: &InitRules) -> Node {
    match config.feed_forward_kind {
        FeedForwardKind::Mlp => {
            let roles = [Role::Gate, Role::Up, Role::Down];
            mlp("feedforward", config, config.intermediate_size, roles, rules)
        }
        FeedForwardKind::Experts => experts::node(config, rules),
        FeedForwardKind::User(part) => user::node("feedforward", part, config, rules),
    }
}

/// Linear layers around an elementwise function, `inner` wide inside, with the roles of gate, up and down.
pub(super) fn mlp(
    name: &str,
    config: &ModelConfig,
    inner: usize,
    [gate, up, down]: [Role; 3],
    rules: &InitRules,
) -> Node {
    let (hidden, bias) = (config.hidden_size, config.mlp_bias);
    let (activation, dropout) = (config.activation, config.dropout.activation);
    let (into, out) = ((hidden, inner), (inner, hidden));
    // Both α begin at 0.8.
    let alpha = |name, first: f64| {
        let init = Init::Constant(first.exp_m1().ln());
        Node::leaf("", Role::ActivationShape, Leaf::Tensor { name, shape: vec![1], init })
    };
    let shape = match activation {
        Activation::Xielu => vec![alpha("xielu_alpha_p", 0.8), alpha("xielu_alpha_n", 0.3)],
        Activation::Silu | Activation::Relu | Activation::Gelu | Activation::GeluTanh | Activation::Relu2 => Vec::new(),
    };
    if config.gated {
        let mut children = vec![
            linear("gate_proj", gate, into, bias, rules),
            linear("up_proj", up, into, bias, rules),
            linear("down_proj", down, out, bias, rules),
        ];
        children.extend(shape);
        let limit = config.swiglu_limit.filter(|_| clamps(config));
        let clamped = limit.map(|limit| ClampedSwiglu { alpha: config.swiglu_alpha, limit });
        Node::new(
            name,
            Part::Mixer(Mixer::GatedFeedForward { activation, clamped, factors: factors(config), dropout }),
            children,
        )
    } else {
        let mut children = vec![linear("linear1", up, into, bias, rules), linear("linear2", down, out, bias, rules)];
        children.extend(shape);
        Node::new(name, Part::Mixer(Mixer::FeedForward { activation, dropout }), children)
    }
}

/// Adds what the part leaves for backward: the results of its maps, and of the product of a gated one.
pub(in crate::spec) fn cost(node: &Node, scope: CostScope, cost: &mut Cost) {
    // Gate and up, or up alone, before the last.
    let Some((_, into)) = node.children.split_last() else { return };
    cost.activations += scope.hidden;
    if let Some(Part::Leaf(Leaf::Linear { outputs, .. })) = into.last().map(|up| &up.part) {
        cost.activations += (into.len() as u64 + 1) * *outputs as u64;
    }
}
