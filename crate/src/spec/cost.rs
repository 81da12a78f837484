//! What a model's parts compute and keep for each token: each part's file has the formulas of the part.

use super::{Leaf, Mixer, ModelSpec, Node, Part, parts};

/// What the cost of a part depends on, apart from the part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostScope {
    /// Tokens of a row.
    pub sequence: u64,
    /// The longest sequence.
    pub context: u64,
    /// Width of the residual stream.
    pub hidden: u64,
}

impl CostScope {
    /// Returns how many of the given number of tokens the last one sees.
    pub(super) fn visible(window: Option<usize>, length: u64) -> u64 {
        window.map_or(length, |window| length.min(window as u64))
    }
}

/// Sums over parts, for one token unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Numbers that a token leaves for backward.
    pub activations: u64,
    /// Those of the layer that leaves most.
    pub largest_layer: u64,
    /// Numbers that enter layers.
    pub layer_inputs: u64,
    /// Heads, each of which has a score for every pair of tokens.
    pub scores: u64,
    /// Those of the layer that has most.
    pub largest_scores: u64,
    /// Operations of products with weights.
    pub matmul_flops: u64,
    /// Operations of attention at the mean position of the sequence.
    pub attention_flops: u64,
    /// Numbers that a token adds to a cache.
    pub kv_elements: u64,
    /// Numbers that a cache keeps of a sequence of the longest context.
    pub kv_full_context: u64,
}

impl Cost {
    fn add(&mut self, other: Self, times: u64) {
        self.activations += times * other.activations;
        self.largest_layer = self.largest_layer.max(other.largest_layer);
        self.layer_inputs += times * other.layer_inputs;
        self.scores += times * other.scores;
        self.largest_scores = self.largest_scores.max(other.largest_scores);
        self.matmul_flops += times * other.matmul_flops;
        self.attention_flops += times * other.attention_flops;
        self.kv_elements += times * other.kv_elements;
        self.kv_full_context += times * other.kv_full_context;
    }
}

impl ModelSpec {
    /// Returns the cost of all parts together.
    pub fn cost(&self, scope: CostScope) -> Cost {
        of_node(&self.root, scope)
    }
}

/// Returns a node and what is below it.
fn of_node(node: &Node, scope: CostScope) -> Cost {
    let mut cost = Cost::default();
    for child in &node.children {
        cost.add(of_node(child, scope), 1);
    }
    match &node.part {
        Part::Leaf(leaf) => match leaf {
            Leaf::Linear { inputs, outputs, .. } => cost.matmul_flops += 2 * (inputs * outputs) as u64,
            // Their results are counted where they are computed.
            Leaf::Norm(_)
            | Leaf::Embedding { .. }
            | Leaf::AlibiSlopes { .. }
            | Leaf::RouterCorrection { .. }
            | Leaf::LayerScalar
            | Leaf::Tensor { .. } => {}
        },
        Part::Mixer(mixer) => match mixer {
            Mixer::Attention { .. } | Mixer::SingleHeadAttention { .. } => {
                parts::attention::cost(node, mixer, scope, &mut cost);
            }
            Mixer::GatedFeedForward { .. } | Mixer::FeedForward { .. } => {
                parts::feed_forward::cost(node, scope, &mut cost);
            }
            Mixer::LatentAttention(form) => parts::latent_attention::cost(form, scope, &mut cost),
            Mixer::Experts(form) => parts::experts::cost(form, scope, &mut cost),
            Mixer::GatedDeltaNet(sizes) => parts::gated_delta_net::cost(sizes, scope, &mut cost),
            Mixer::Mamba2(form) => parts::mamba::cost2(form, scope, &mut cost),
            Mixer::Mamba(form) => parts::mamba::cost(form, scope, &mut cost),
            Mixer::ShortConv { kernel, .. } => parts::short_conv::cost(*kernel, scope, &mut cost),
            Mixer::LayerInput { dim, .. } => parts::layer_input::cost(*dim, scope, &mut cost),
            Mixer::User(_) => parts::user::cost(node, scope, &mut cost),
        },
        Part::Branch(_) => parts::layer::branch_cost(node, scope, &mut cost),
        Part::Layer(form) => parts::layer::cost(form, scope, &mut cost),
        Part::Experts { active } => {
            // A token uses some of them, which are all alike.
            let one = node.children.first().map(|expert| of_node(expert, scope)).unwrap_or_default();
            let mut used = Cost::default();
            used.add(one, *active as u64);
            return used;
        }
        Part::CausalLm | Part::Decoder | Part::InputEncoder { .. } | Part::LayerStack | Part::Layers => {}
    }
    match node.repeat {
        None => cost,
        Some(count) => {
            let mut all = Cost::default();
            all.add(cost, count as u64);
            all
        }
    }
}
