//! What each layer is given of each token, from a table of its own (Gemma 3n, 2025).

use super::{linear, norm};
use crate::spec::config::ModelConfig;
use crate::spec::initialization::InitRules;
use crate::spec::{Activation, ConfigError, Cost, CostScope, Leaf, Mixer, Node, Part, Role};

/// Declares the fields.
macro_rules! layer_input_fields {
    ($next:ident $($rest:tt)*) => { $next! { $($rest)*
        part "layer_input" "What each layer is given of each token beside the residual stream" {
            /// Width of the vector that each layer is given of each token; null for none.
            hidden_size_per_layer_input: Option<usize> = None, {
                .exported(|config| config.hidden_size_per_layer_input.is_some())
            };
        }
    } };
}
pub(super) use layer_input_fields;

/// The tables and the projection that make what all layers are given: norm(projection x / sqrt(hidden)) and the token's own
/// row · sqrt(width), added and divided by sqrt(2).
pub(super) fn tables(config: &ModelConfig, rules: &InitRules) -> Vec<Node> {
    let Some(width) = config.hidden_size_per_layer_input else { return Vec::new() };
    let (vocab, all) = (config.vocab_size, config.num_hidden_layers * width);
    let table = Leaf::Embedding { vocab, dim: all, init: rules.embedding(vocab, all, config.pad_token_id) };
    vec![
        Node::leaf("layer_embedding", Role::LayerInputEmbedding, table),
        linear("layer_projection", Role::LayerInputProjection, (config.hidden_size, all), false, rules),
        norm::node("layer_projection_norm", Role::LayerInputProjectionNorm, config, width),
    ]
}

/// The part of a layer that adds it to the residual stream.
pub(super) fn node(config: &ModelConfig, width: usize, rules: &InitRules) -> Node {
    let (hidden, activation) = (config.hidden_size, config.activation);
    let children = vec![
        linear("gate_proj", Role::LayerInputGate, (hidden, width), false, rules),
        linear("down_proj", Role::LayerInputOutput, (width, hidden), false, rules),
    ];
    Node::new("layer_input", Part::Mixer(Mixer::LayerInput { dim: width, activation }), children)
}

/// Checks the width and the function.
pub(super) fn validate(config: &ModelConfig, fault: super::Fault<'_>) -> Result<(), ConfigError> {
    let Some(width) = config.hidden_size_per_layer_input else { return Ok(()) };
    if !(1..=1 << 28).contains(&width) {
        return Err(fault("hidden_size_per_layer_input", width.to_string(), "a number from 1 to 268435456, or null"));
    }
    if config.activation == Activation::Xielu {
        let expected = "a function without parameters where hidden_size_per_layer_input is set";
        return Err(fault("hidden_act", "xielu".to_owned(), expected));
    }
    Ok(())
}

/// Adds what the part leaves for backward: its gate, the product, and its result.
pub(in crate::spec) fn cost(dim: usize, scope: CostScope, cost: &mut Cost) {
    cost.activations += 2 * dim as u64 + scope.hidden;
}
