//! A gated short convolution in place of attention (LFM2, 2025).

use super::linear;
use crate::spec::config::ModelConfig;
use crate::spec::initialization::InitRules;
use crate::spec::{AttentionKind, Cost, CostScope, Init, Leaf, Mixer, Node, Part, Role};

pub(super) fn is_short_conv(config: &ModelConfig) -> bool {
    config.attention == AttentionKind::ShortConv
}

/// Declares the fields.
macro_rules! short_conv_fields {
    ($next:ident $($rest:tt)*) => { $next! { $($rest)*
        part "short_conv" "A gated convolution over the last tokens" {
            /// Tokens that the convolution of a short_conv layer sees, the current one included.
            conv_kernel_size: usize = 3, {
                .by_layer().exported(short_conv::is_short_conv)
                .needs("attention_type: short_conv", short_conv::is_short_conv)
            };
            /// Whether the projections and the convolution of a short_conv layer have biases.
            conv_bias: bool = false, {
                .by_layer().needs("attention_type: short_conv", short_conv::is_short_conv)
            };
        }
    } };
}
pub(super) use short_conv_fields;

pub(super) fn node(config: &ModelConfig, rules: &InitRules) -> Node {
    let (hidden, kernel, bias) = (config.hidden_size, config.conv_kernel_size, config.conv_bias);
    let map = |name, role| linear(name, role, (hidden, hidden), bias, rules);
    // As PyTorch draws a convolution of one channel each.
    let init = Init::Uniform { bound: (kernel as f64).powf(-0.5) };
    let convolution = |name, shape| Node::leaf("conv", Role::ShortConvolution, Leaf::Tensor { name, shape, init });
    let mut children = vec![
        map("input_gate_linear", Role::Key),
        map("output_gate_linear", Role::Query),
        map("value_linear", Role::Value),
        convolution("weight", vec![hidden, 1, kernel]),
        map("output_linear", Role::Output),
    ];
    if bias {
        children.insert(4, convolution("bias", vec![hidden]));
    }
    // A name of its own, so that families can tell its tensors from those of attention.
    Node::new("short_conv", Part::Mixer(Mixer::ShortConv { dim: hidden, kernel }), children)
}

/// Adds the convolution, and what a cache keeps: its last inputs, however long the text is.
pub(in crate::spec) fn cost(kernel: usize, scope: CostScope, cost: &mut Cost) {
    cost.matmul_flops += 2 * kernel as u64 * scope.hidden;
    // Three projections, two products, and the convolution.
    cost.activations += 6 * scope.hidden;
    cost.kv_full_context += scope.hidden * (kernel as u64 - 1);
}
