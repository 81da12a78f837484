//! Parts of users in a layer.

use super::{attention, linear};
use crate::spec::initialization::InitRules;
use crate::spec::{
    Cost, CostScope, Leaf, Mixer, MixerKind, ModelConfig, Node, NormForm, ParameterForm, Part, Role, UserMixer,
    UserPart,
};

/// Returns the part with its parameters. A configuration that the part does not take was refused by `validate`.
pub(super) fn node(name: &str, part: UserPart, config: &ModelConfig, rules: &InitRules) -> Node {
    let role = Role::User(part.mixer_kind());
    let leaf = |parameter: crate::spec::PartParameter| match parameter.form {
        ParameterForm::Linear { inputs, outputs, bias } => {
            let mut node = linear(parameter.name, role, (inputs, outputs), bias, rules);
            if let (Part::Leaf(Leaf::Linear { init, .. }), Some(own)) = (&mut node.part, parameter.init) {
                *init = own;
            }
            node
        }
        ParameterForm::RmsNorm { dim, eps } => Node::leaf(parameter.name, role, Leaf::Norm(NormForm::rms(dim, eps))),
        ParameterForm::Tensor { shape } => {
            let init = parameter.init.unwrap_or(crate::spec::Init::Zeros);
            // Named by the leaf itself: it adds no segment of its own.
            Node::leaf("", role, Leaf::Tensor { name: parameter.name, shape, init })
        }
    };
    let children = part.parameters(config).unwrap_or_default().into_iter().map(leaf).collect();
    // Without the model's runs, which a layer does not know.
    let config = Box::new(ModelConfig { layers: Vec::new(), ..config.clone() });
    Node::new(name, Part::Mixer(Mixer::User(UserMixer { part, config })), children)
}

/// Adds what is known from the parameters alone: the results of linear layers, and for attention the pairs of tokens of as
/// many heads as the configuration has.
pub(in crate::spec) fn cost(node: &Node, scope: CostScope, cost: &mut Cost) {
    let Part::Mixer(Mixer::User(UserMixer { part, config })) = &node.part else { return };
    let outputs = node.children.iter().map(|child| match &child.part {
        Part::Leaf(Leaf::Linear { outputs, .. }) => *outputs as u64,
        _ => 0,
    });
    cost.activations += outputs.sum::<u64>() + scope.hidden;
    if part.mixer_kind() == MixerKind::Attention {
        let heads = [config.num_attention_heads, config.num_key_value_heads, config.head_dim];
        attention::pairs(heads, config.sliding_window, scope, cost);
    }
}
