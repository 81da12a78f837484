//! Gated DeltaNet (Yang et al. 2024, arXiv:2412.06464): linear attention whose state forgets, and is corrected by what a token
//! should have read from it.

use super::norm::form;
use super::{NormKind, linear};
use crate::spec::config::{ConfigError, ModelConfig};
use crate::spec::initialization::InitRules;
use crate::spec::{AttentionKind, Cost, CostScope, Init, Leaf, Mixer, Node, NormForm, Part, Role};

/// The sizes of a gated DeltaNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaNetSizes {
    /// Heads of queries and keys; divides `value_heads`.
    pub key_heads: usize,
    /// Heads of values, each with a state of its own.
    pub value_heads: usize,
    /// Width of a head of queries and keys.
    pub key_dim: usize,
    /// Width of a head of values.
    pub value_dim: usize,
    /// Tokens that the convolution before attention sees, the current one included.
    pub kernel: usize,
}

impl DeltaNetSizes {
    /// Returns the width of all queries, and that of all keys.
    pub fn keys(&self) -> usize {
        self.key_heads * self.key_dim
    }

    /// Returns the width of all values.
    pub fn values(&self) -> usize {
        self.value_heads * self.value_dim
    }
}

pub(super) fn is_delta_net(config: &ModelConfig) -> bool {
    config.attention == AttentionKind::GatedDeltaNet
}

/// Declares the fields.
macro_rules! gated_delta_net_fields {
    ($next:ident $($rest:tt)*) => { $next! { $($rest)*
        part "gated_delta_net" "Gated DeltaNet: linear attention with a state that forgets" {
            /// Heads of queries and keys of a gated DeltaNet.
            linear_num_key_heads: usize = 16, {
                .by_layer().exported(gated_delta_net::is_delta_net)
                .needs("attention_type: gated_delta_net", gated_delta_net::is_delta_net)
            };
            /// Heads of values, each with a state of its own; a multiple of linear_num_key_heads.
            linear_num_value_heads: usize = 32, {
                .by_layer().exported(gated_delta_net::is_delta_net)
                .needs("attention_type: gated_delta_net", gated_delta_net::is_delta_net)
            };
            /// Width of a head of queries and keys.
            linear_key_head_dim: usize = 128, {
                .by_layer().exported(gated_delta_net::is_delta_net)
                .needs("attention_type: gated_delta_net", gated_delta_net::is_delta_net)
            };
            /// Width of a head of values.
            linear_value_head_dim: usize = 128, {
                .by_layer().exported(gated_delta_net::is_delta_net)
                .needs("attention_type: gated_delta_net", gated_delta_net::is_delta_net)
            };
            /// Tokens that the convolution before attention sees, the current one included.
            linear_conv_kernel_dim: usize = 4, {
                .by_layer().exported(gated_delta_net::is_delta_net)
                .needs("attention_type: gated_delta_net", gated_delta_net::is_delta_net)
            };
        }
    } };
}
pub(super) use gated_delta_net_fields;

fn sizes(config: &ModelConfig) -> DeltaNetSizes {
    DeltaNetSizes {
        key_heads: config.linear_num_key_heads,
        value_heads: config.linear_num_value_heads,
        key_dim: config.linear_key_head_dim,
        value_dim: config.linear_value_head_dim,
        kernel: config.linear_conv_kernel_dim,
    }
}

/// The norm of each head's result: RMSNorm with factors as they are, whatever the layers' norms add to theirs.
pub(crate) fn norm(config: &ModelConfig) -> NormForm {
    NormForm {
        kind: NormKind::RmsNorm,
        weight: true,
        bias: false,
        offset: 0.0,
        ..form(config, config.linear_value_head_dim)
    }
}

pub(super) fn node(config: &ModelConfig, rules: &InitRules) -> Node {
    let (hidden, sizes) = (config.hidden_size, sizes(config));
    let (keys, values, heads) = (sizes.keys(), sizes.values(), sizes.value_heads);
    let into = |name, role, width| linear(name, role, (hidden, width), false, rules);
    // As PyTorch draws a convolution of one channel each.
    let bound = (sizes.kernel as f64).powf(-0.5);
    let convolution = |name: &str, width| {
        let shape = vec![width, 1, sizes.kernel];
        Node::leaf(name, Role::ShortConvolution, Leaf::Tensor { name: "weight", shape, init: Init::Uniform { bound } })
    };
    let per_head = |name, init| Node::leaf("", Role::Decay, Leaf::Tensor { name, shape: vec![heads], init });
    let children = vec![
        into("query_linear", Role::Query, keys),
        into("key_linear", Role::Key, keys),
        into("value_linear", Role::Value, values),
        into("gate_linear", Role::AttentionGate, values),
        into("beta_linear", Role::Beta, heads),
        into("decay_linear", Role::Decay, heads),
        convolution("query_conv", keys),
        convolution("key_conv", keys),
        convolution("value_conv", values),
        per_head("decay_bias", Init::Ones),
        per_head("decay_log", Init::LogUniform { low: 0.01, high: 16.0 }),
        Node::leaf("norm", Role::ValueNorm, Leaf::Norm(norm(config))),
        linear("output_linear", Role::Output, (values, hidden), false, rules),
    ];
    // A name of its own, so that families can tell its tensors from those of attention.
    Node::new("linear_attention", Part::Mixer(Mixer::GatedDeltaNet(sizes)), children)
}

/// Checks the heads against each other.
pub(in crate::spec) fn validate(config: &ModelConfig, fault: super::Fault<'_>) -> Result<(), ConfigError> {
    if is_delta_net(config) && !config.linear_num_value_heads.is_multiple_of(config.linear_num_key_heads) {
        let expected = format!("a multiple of linear_num_key_heads ({})", config.linear_num_key_heads);
        return Err(fault("linear_num_value_heads", config.linear_num_value_heads.to_string(), &expected));
    }
    Ok(())
}

/// Adds reading, correcting and forgetting of the states, and what a cache keeps: the states, and the convolution's last
/// inputs, however long the text is.
pub(in crate::spec) fn cost(sizes: &DeltaNetSizes, scope: CostScope, cost: &mut Cost) {
    let (keys, values) = (sizes.keys() as u64, sizes.values() as u64);
    let states = values * sizes.key_dim as u64;
    let mixed = 2 * keys + values;
    // Decay, q S, kᵀ S, and the outer product that is added.
    cost.attention_flops += 7 * states;
    cost.matmul_flops += 2 * sizes.kernel as u64 * mixed;
    // Projections, convolutions, activations, norms; values are read, corrected, mixed, normalized and gated.
    cost.activations += 4 * mixed + 5 * values + scope.hidden;
    cost.kv_full_context += states + mixed * (sizes.kernel as u64 - 1);
}
