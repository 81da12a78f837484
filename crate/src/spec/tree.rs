//! The tree of parts, and the resolution of a configuration into it.

use super::initialization::InitRules;
use super::parts::{embedding, head, layer, norm};
use super::{DType, Leaf, ModelConfig, ParamPath, Part, Role, Scheme, TensorRow, TensorTable};

/// A model as data: the tree of its parts and which parameters are one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// The root; its name is empty.
    pub root: Node,
    /// Parameters that share another's storage.
    pub ties: Vec<Tie>,
}

/// One node of the tree. `repeat: Some(n)` stands for n children named `0 … n-1`, kept folded.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The name segment under the parent.
    pub name: String,
    /// What it is.
    pub part: Part,
    /// What its parameters are for, if it has some.
    pub role: Option<Role>,
    /// How many times the node's children list is repeated under numbered segments.
    pub repeat: Option<usize>,
    /// The parts inside.
    pub children: Vec<Node>,
}

/// `alias` is the same tensor as `target`; files store `target` alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tie {
    /// The name without storage of its own.
    pub alias: ParamPath,
    /// The name that is stored.
    pub target: ParamPath,
}

/// A linear layer of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearLayer {
    /// Its name: that of its weight without `.weight`.
    pub path: ParamPath,
    /// Width of a row of its weight.
    pub inputs: usize,
    /// Rows of its weight.
    pub outputs: usize,
    /// How it is stored, if it is quantized.
    pub quantized: Option<Scheme>,
    /// What it is for.
    pub role: Option<Role>,
}

impl Node {
    pub(super) fn new(name: &str, part: Part, children: Vec<Node>) -> Self {
        Self { name: name.to_owned(), part, role: None, repeat: None, children }
    }

    pub(super) fn leaf(name: &str, role: Role, leaf: Leaf) -> Self {
        Self { role: Some(role), ..Self::new(name, Part::Leaf(leaf), Vec::new()) }
    }

    pub(super) fn named(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// Returns the child of this role.
    pub fn child(&self, role: Role) -> Option<&Node> {
        self.children.iter().find(|child| child.role == Some(role))
    }
}

impl ModelSpec {
    /// The tree a configuration stands for.
    pub fn resolve(config: &ModelConfig) -> Self {
        let rules = InitRules::of(config);
        let layers = if config.layers.is_empty() {
            let children = vec![layer::node(config, config, None, &rules)];
            Node { repeat: Some(config.num_hidden_layers), ..Node::new("layers", Part::Layers, children) }
        } else {
            let all = (0..config.num_hidden_layers)
                .map(|index| layer::node(config, config.layer(index), Some(index), &rules).named(&index.to_string()));
            Node::new("layers", Part::Layers, all.collect())
        };
        let mut inside =
            vec![embedding::node(config, &rules), Node::new("layer_stack", Part::LayerStack, vec![layers])];
        if config.final_norm {
            inside.push(norm::node("layer_norm", Role::FinalNorm, config, config.hidden_size));
        }
        let head = head::node(config, &rules);
        let mut root = Node::new("", Part::CausalLm, vec![Node::new("causal_lm", Part::Decoder, inside), head]);
        let ties = if config.tie_word_embeddings { ties(&root) } else { Vec::new() };
        if let Some(quantization) = &config.quantization {
            quantization.install(&mut root, &ties);
        }
        Self { root, ties }
    }

    /// Returns every linear layer that has a weight of its own, in the order of a forward pass.
    pub fn linear_layers(&self) -> Vec<LinearLayer> {
        let mut maps = Vec::new();
        walk(&self.root, &ParamPath::from(""), &mut |path, node, leaf| {
            if let Leaf::Linear { inputs, outputs, quantized, .. } = *leaf
                && !self.ties.iter().any(|tie| tie.alias == path.join("weight"))
            {
                maps.push(LinearLayer { path: path.clone(), inputs, outputs, quantized, role: node.role });
            }
        });
        maps
    }

    /// Returns the parameters that a token uses, as published models of experts count them: without the experts that its
    /// router does not choose, and without tables of which it takes a row, unless they are the head as well.
    pub fn active_parameters(&self) -> u64 {
        active(&self.root)
    }

    /// Returns the names of the leaves of this role, without those of their parameters.
    pub fn modules(&self, role: Role) -> Vec<ParamPath> {
        modules(&self.root, role)
    }

    /// Returns every parameter with its shape, in the order a forward pass meets them, all stored as `dtype`.
    pub fn table(&self, dtype: DType) -> TensorTable {
        let mut rows = Vec::new();
        walk(&self.root, &ParamPath::from(""), &mut |path, node, leaf| {
            for param in leaf.params() {
                let path = path.join(param.name);
                let tied_to = self.ties.iter().find(|tie| tie.alias == path).map(|tie| tie.target.clone());
                rows.push(TensorRow {
                    path,
                    shape: param.shape,
                    dtype: param.dtype.unwrap_or(dtype),
                    init: Some(param.init),
                    tied_to,
                    trainable: param.trainable,
                    role: node.role,
                });
            }
        });
        TensorTable::from_rows(rows)
    }
}

/// Returns the parameters of a node that a token uses. A head that is tied to the embedding counts, the embedding does not.
fn active(node: &Node) -> u64 {
    let is_table =
        matches!(node.role, Some(Role::TokenEmbedding | Role::PositionEmbedding | Role::LayerInputEmbedding));
    let own: u64 = match &node.part {
        Part::Leaf(leaf) if !is_table => {
            leaf.params().iter().map(|param| param.shape.iter().map(|&dim| dim as u64).product::<u64>()).sum()
        }
        _ => 0,
    };
    match (&node.part, node.repeat) {
        (Part::Experts { active: count }, _) => node.children.first().map_or(0, active) * *count as u64,
        (_, repeat) => own + node.children.iter().map(active).sum::<u64>() * repeat.unwrap_or(1) as u64,
    }
}

fn modules(root: &Node, role: Role) -> Vec<ParamPath> {
    let mut found = Vec::new();
    walk(root, &ParamPath::from(""), &mut |path, node, _| {
        if node.role == Some(role) {
            found.push(path.clone());
        }
    });
    found
}

/// Returns the tie of the head's weight to the embedding's, if the model has both.
fn ties(root: &Node) -> Vec<Tie> {
    let weight = |role| modules(root, role).into_iter().map(|module| module.join("weight"));
    weight(Role::Head).zip(weight(Role::TokenEmbedding)).map(|(alias, target)| Tie { alias, target }).collect()
}

/// Visits every part that owns parameters, with its path, repeated ones every time.
fn walk(node: &Node, path: &ParamPath, visit: &mut impl FnMut(&ParamPath, &Node, &Leaf)) {
    if let Part::Leaf(leaf) = &node.part {
        visit(path, node, leaf);
    }
    let indices: Vec<Option<usize>> = match node.repeat {
        Some(count) => (0..count).map(Some).collect(),
        None => vec![None],
    };
    for index in indices {
        for child in &node.children {
            let numbered = index.map_or_else(|| path.clone(), |index| path.join(&index.to_string()));
            let inside = if child.name.is_empty() { numbered } else { numbered.join(&child.name) };
            walk(child, &inside, visit);
        }
    }
}
