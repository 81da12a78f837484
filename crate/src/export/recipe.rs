//! How a new model's parameters are initialized, as Python statements: the spec's own distributions, with numbers
//! written as the formulas that they come from.

use std::collections::BTreeMap;

use serde::Serialize;

use super::fields::literal;
use super::kinds::Norm;
use crate::spec::{
    Distribution, Init, Initialization, Leaf, ModelConfig, ModelSpec, Node, NormForm, POSITIONS, Part, Role,
};

/// Parts that are initialized alike: the last words of their names, and the statements that initialize a `module`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Group {
    pub(super) roles: Vec<String>,
    pub(super) lines: Vec<String>,
}

/// All linear parts or embeddings of one name: (inputs, outputs, weight, bias) of each.
type Members = Vec<Member>;

/// Inputs and outputs (of a table: rows and columns), and how weight and bias are drawn.
type Member = (usize, usize, Init, Option<Init>);

/// How embeddings are initialized without a rule.
fn usual_table(role: Option<Role>) -> Option<Distribution> {
    match role? {
        Role::TokenEmbedding => Some(Distribution::Normal { std: 1.0 }),
        Role::LayerInputEmbedding => Some(Distribution::Normal { std: 1.0 }),
        Role::PositionEmbedding => Some(POSITIONS),
        Role::Query
        | Role::Key
        | Role::Value
        | Role::Output
        | Role::QueryKey
        | Role::AttentionGate
        | Role::Beta
        | Role::Decay
        | Role::StateSpaceInput
        | Role::Selection
        | Role::SelectionNorm
        | Role::Step
        | Role::Skip
        | Role::ShortConvolution
        | Role::ValueNorm
        | Role::QueryNorm
        | Role::KeyNorm
        | Role::Slopes
        | Role::Sinks
        | Role::Gate
        | Role::Up
        | Role::Down
        | Role::QueryDown
        | Role::QueryLatentNorm
        | Role::QueryUp
        | Role::LatentDown
        | Role::LatentNorm
        | Role::LatentUp
        | Role::Router
        | Role::RouterCorrection
        | Role::ExpertGate
        | Role::ExpertUp
        | Role::ExpertDown
        | Role::SharedGate
        | Role::SharedUp
        | Role::SharedDown
        | Role::SharedScale
        | Role::ActivationShape
        | Role::EmbeddingNorm
        | Role::AttentionNorm
        | Role::AttentionPostNorm
        | Role::FeedForwardNorm
        | Role::FeedForwardPostNorm
        | Role::LayerInputProjection
        | Role::LayerInputProjectionNorm
        | Role::LayerInputGate
        | Role::LayerInputOutput
        | Role::LayerInputNorm
        | Role::LayerScalar
        | Role::RouterNorm
        | Role::RouterExpertScale
        | Role::ExpertNorm
        | Role::ExpertPostNorm
        | Role::SharedPostNorm
        | Role::FinalNorm
        | Role::Head
        | Role::User(_) => None,
    }
}

/// Parts of one name: the name, what they are for, and what they draw.
type Alike = (String, Option<Role>, Members);

fn collect(node: &Node, found: &mut Vec<Alike>, norms: &mut Vec<(String, NormForm)>) {
    let member = match &node.part {
        Part::Leaf(Leaf::Linear { inputs, outputs, init, bias, .. }) => Some((*inputs, *outputs, *init, *bias)),
        Part::Leaf(Leaf::Embedding { vocab, dim, init }) => Some((*vocab, *dim, *init, None)),
        Part::Leaf(Leaf::Norm(form)) => {
            let known = norms.iter().any(|(name, known)| *name == node.name && Norm::draws(known) == Norm::draws(form));
            if !known {
                norms.push((node.name.clone(), *form));
            }
            None
        }
        Part::Leaf(
            Leaf::AlibiSlopes { .. } | Leaf::RouterCorrection { .. } | Leaf::LayerScalar | Leaf::Tensor { .. },
        )
        | Part::CausalLm
        | Part::Decoder
        | Part::InputEncoder { .. }
        | Part::LayerStack
        | Part::Layers
        | Part::Layer(_)
        | Part::Branch(_)
        | Part::Experts { .. }
        | Part::Mixer(_) => None,
    };
    if let Some(member) = member {
        match found.iter_mut().find(|(name, ..)| *name == node.name) {
            Some((.., members)) => members.push(member),
            None => found.push((node.name.clone(), node.role, vec![member])),
        }
    }
    node.children.iter().for_each(|child| collect(child, found, norms));
}

/// Returns the statements for all parts that have weights, except ALiBi's slopes.
pub(super) fn groups_of(config: &ModelConfig) -> Vec<Group> {
    let (mut found, mut norms) = (Vec::new(), Vec::new());
    collect(&ModelSpec::resolve(config).root, &mut found, &mut norms);
    let mut groups: Vec<Group> = Vec::new();
    let mut add = |role: String, lines: Vec<String>| match groups.iter_mut().find(|group| group.lines == lines) {
        Some(group) => group.roles.push(role),
        None => groups.push(Group { roles: vec![role], lines }),
    };
    for (name, role, members) in found {
        let lines = draw(config, role, &members);
        add(name, lines);
    }
    let mut kinds: BTreeMap<String, Vec<NormForm>> = BTreeMap::new();
    for (role, form) in norms {
        kinds.entry(role).or_default().push(form);
    }
    for (role, forms) in kinds {
        let lines = match forms.as_slice() {
            [form] => Norm::draws(form),
            _ => {
                let mut lines = Vec::new();
                for form in &forms {
                    let class = Norm::of(form).class;
                    let drawn = Norm::draws(form).into_iter().map(|line| format!("    {line}"));
                    lines.push(format!("if isinstance(module, {class}):"));
                    lines.extend(drawn);
                }
                lines
            }
        };
        if !lines.is_empty() {
            add(role, lines);
        }
    }
    groups
}

fn draw(config: &ModelConfig, role: Option<Role>, members: &Members) -> Vec<String> {
    let table = usual_table(role);
    let rules = config.initialization.rules(config).into_iter().map(|rule| rule.init);
    let usual = table.unwrap_or(Distribution::LinearDefault);
    let candidates: Vec<Distribution> = rules.chain([usual]).collect();
    let find = |of: &dyn Fn(&Member) -> Option<Init>| {
        candidates.iter().copied().find(|candidate| {
            let drawn = |member| of(member).map(without_row);
            members.iter().all(|member| drawn(member).is_none_or(|init| init == candidate.of(member.0, member.1)))
        })
    };
    let mut lines = Vec::new();
    if let Some(weight) = find(&|member| Some(member.2)) {
        lines.extend(statements(config, weight, "module.weight", table.is_some()));
    }
    if table.is_some() && members.iter().any(|member| matches!(member.2, Init::Normal { zero_row: Some(_), .. })) {
        lines.push("module.weight[self.config.pad_token_id] = 0.0".to_owned());
    }
    if members.iter().any(|member| member.3.is_some())
        && let Some(bias) = find(&|member| member.3)
    {
        let drawn = statements(config, bias, "module.bias", false);
        if members.iter().all(|member| member.3.is_some()) {
            // The bound of the weight may be that of the bias.
            lines = drawn.into_iter().fold(lines, |mut lines, line| {
                if !lines.contains(&line) {
                    lines.push(line);
                }
                lines
            });
        } else {
            lines.push("if module.bias is not None:".to_owned());
            lines.extend(drawn.into_iter().map(|line| format!("    {line}")));
        }
    }
    lines
}

fn without_row(init: Init) -> Init {
    match init {
        Init::Normal { std, .. } => Init::Normal { std, zero_row: None },
        other => other,
    }
}

fn statements(config: &ModelConfig, distribution: Distribution, target: &str, table: bool) -> Vec<String> {
    let (inputs, outputs) = if table {
        ("module.num_embeddings", "module.embedding_dim")
    } else {
        ("module.in_features", "module.out_features")
    };
    let number = |value| formula(config, value);
    match distribution {
        Distribution::Zeros => vec![format!("nn.init.zeros_({target})")],
        Distribution::Ones => vec![format!("nn.init.ones_({target})")],
        Distribution::Normal { std: 1.0 } => vec![format!("nn.init.normal_({target})")],
        Distribution::Normal { std } => vec![format!("nn.init.normal_({target}, std={})", number(std))],
        Distribution::TruncatedNormal { std, bound } if bound == 3.0 * std => vec![
            format!("std = {}", number(std)),
            format!("nn.init.trunc_normal_({target}, std=std, a=-3 * std, b=3 * std)"),
        ],
        Distribution::TruncatedNormal { std, bound } => {
            let (std, bound) = (number(std), number(bound));
            vec![format!("nn.init.trunc_normal_({target}, std={std}, a=-{bound}, b={bound})")]
        }
        Distribution::Uniform { bound } => vec![format!("nn.init.uniform_({target}, -{0}, {0})", number(bound))],
        Distribution::XavierUniform { gain } if target.ends_with("weight") => {
            let gain = if gain == 1.0 { String::new() } else { format!(", gain={}", number(gain)) };
            vec![format!("nn.init.xavier_uniform_({target}{gain})")]
        }
        Distribution::XavierUniform { gain } => vec![
            format!("bound = {} * math.sqrt(6 / ({inputs} + {outputs}))", number(gain)),
            format!("nn.init.uniform_({target}, -bound, bound)"),
        ],
        Distribution::LinearDefault => {
            vec![format!("bound = {inputs}**-0.5"), format!("nn.init.uniform_({target}, -bound, bound)")]
        }
    }
}

/// Returns a number of a named recipe as the formula it comes from; numbers of rules stay as they were written.
fn formula(config: &ModelConfig, value: f64) -> String {
    if matches!(config.initialization, Initialization::Rules(_)) {
        return literal(value);
    }
    let (layers, hidden) = (config.num_hidden_layers as f64, config.hidden_size as f64);
    let formulas = [
        (0.02 / (2.0 * layers).sqrt(), "0.02 / math.sqrt(2 * self.config.num_hidden_layers)"),
        (hidden.powf(-0.5), "self.config.hidden_size**-0.5"),
        ((8.0 * layers).powf(-0.25), "(8 * self.config.num_hidden_layers) ** -0.25"),
    ];
    let known = formulas.iter().find(|(result, _)| *result == value);
    known.map_or_else(|| literal(value), |(_, text)| (*text).to_owned())
}
