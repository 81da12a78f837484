//! What a model will need, computed from its tree before anything is allocated.

use serde_json::{Value, json};

use crate::device::{Device, DeviceMemory};
use crate::spec::{DType, Leaf, ModelSpec, Node, Part, PositionEmbedding, Role, RoleGroup, TensorRow, TensorTable};

/// Optimizer state and float32 copies are kept in this many bytes per number.
const MASTER: u64 = 4;

/// The block of logits that the loss works on, as `ops` sizes it.
const LOGITS: u64 = 64 << 20;

/// Parameters of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterGroup {
    /// That of a [`RoleGroup`](crate::spec::RoleGroup).
    pub name: &'static str,
    /// Elements, tied ones counted once.
    pub parameters: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Memory in bytes and work in floating-point operations, for batches of `batch_size` rows of `sequence_length` tokens.
///
/// ```
/// let built = chandlery::project("llama")?.config("llama3.1_70b")?.construct().build()?;
/// let estimate = built.estimate();
/// assert_eq!(estimate.weights, 4 * built.table.parameters());
/// assert!(estimate.training_flops_per_token > 6 * 69_000_000_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Rows of a batch.
    pub batch_size: usize,
    /// Tokens of a row.
    pub sequence_length: usize,
    /// Parameters by kind, those without any left out.
    pub groups: Vec<ParameterGroup>,
    /// Weights, in the model's element type.
    pub weights: u64,
    /// Gradients of what is trained, in the same type.
    pub gradients: u64,
    /// What AdamW keeps: two moments in float32 and, for narrower weights, their float32 copy; 8 or 12 bytes a
    /// parameter (Rajbhandari et al. 2020, ZeRO, section 3.1). Plain SGD keeps nothing.
    pub adamw: u64,
    /// What one forward pass keeps for backward. candle keeps the result of every operation, and this counts them as
    /// Korthikanti et al. (2022, section 4.1) count those of a GPT layer: for each token the results of norms (d wide), of
    /// the query, key and value maps, their exchange of heads and tokens, normalisation and rotation, of attention and
    /// its exchange back, of the output map (d), of the maps and the product in the feed-forward part (3 f gated, else
    /// 2 f, and d), of both residual sums (2 d), and the layer's input (d). The loss adds the head's input and its gradient, and logits in
    /// float32 for as many rows as fit 64 MiB, since output map and loss are computed together.
    pub activations: u64,
    /// The same with gradient checkpointing: the input of every layer, and one layer computed again (Chen et al. 2016).
    pub checkpointed_activations: u64,
    /// What eager attention keeps in addition, in one layer and in all: for every head and pair of tokens the scores, their
    /// sum with the mask and the three results of the softmax, in float32, and for narrower models scores and weights once
    /// more in their type.
    pub eager_attention: (u64, u64),
    /// Operations of a forward pass for one token at the mean position of the sequence: two for each weight of a matrix
    /// product, four for each head dimension and visible token (Kaplan et al. 2020, table 1; here over the tokens that
    /// causality and windows leave visible).
    pub forward_flops_per_token: u64,
    /// Operations of a training step for one token: forward, and twice as much backward.
    pub training_flops_per_token: u64,
    /// Keys and values that one token adds to a cache.
    pub kv_cache_per_token: u64,
    /// The longest context, in tokens.
    pub context: usize,
    /// Keys and values of one sequence of the longest context; a layer with a window keeps no more than its window.
    pub kv_cache_full_context: u64,
}

/// Sums over the tree.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    /// Elements that a token leaves for backward.
    activations: u64,
    largest_layer: u64,
    layer_inputs: u64,
    scores: u64,
    largest_scores: u64,
    matmul_flops: u64,
    attention_flops: u64,
    kv_elements: u64,
    kv_full_context: u64,
}

impl Sums {
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

/// What the sums depend on beside the tree.
#[derive(Clone, Copy)]
struct Run {
    sequence: u64,
    context: u64,
    hidden: u64,
}

impl Estimate {
    /// The estimate of a model with this tree and table, whose residual stream is `hidden` wide and whose longest
    /// sequence has `context` tokens.
    pub fn new(
        spec: &ModelSpec,
        table: &TensorTable,
        (hidden, context): (usize, usize),
        dtype: DType,
        (batch_size, sequence_length): (usize, usize),
    ) -> Self {
        let run = Run { sequence: sequence_length as u64, context: context as u64, hidden: hidden as u64 };
        let sums = sum(&spec.root, run);
        let width = dtype.bytes() as u64;
        let tokens = (batch_size * sequence_length) as u64;
        // The embedding's rows, the head's input and its gradient, and a block of logits with its softmax.
        let logits = (tokens * head_rows(table) * MASTER).min(LOGITS);
        let ends = tokens * width * 3 * run.hidden + 2 * logits;
        let layers = tokens * width * sums.activations;
        let trained = table.trainable();
        let copies = if width < MASTER { 3 } else { 2 };
        let pair = 5 * MASTER + if width < MASTER { 2 * width } else { 0 };
        let pairs = (batch_size * sequence_length * sequence_length) as u64 * pair;
        let forward = sums.matmul_flops + sums.attention_flops;
        Self {
            batch_size,
            sequence_length,
            groups: groups(table),
            weights: table.bytes(),
            gradients: trained * width,
            adamw: trained * MASTER * copies,
            activations: ends + layers,
            checkpointed_activations: ends + tokens * width * (sums.layer_inputs + sums.largest_layer),
            eager_attention: (sums.largest_scores * pairs, sums.scores * pairs),
            forward_flops_per_token: forward,
            training_flops_per_token: 3 * forward,
            kv_cache_per_token: sums.kv_elements * width,
            context,
            kv_cache_full_context: sums.kv_full_context * width,
        }
    }

    /// Memory to generate one sequence of the longest context: weights and cache.
    pub fn inference(&self) -> u64 {
        self.weights + self.kv_cache_full_context
    }

    /// Memory to train: weights, gradients, AdamW's state if asked for, and activations.
    pub fn training(&self, adamw: bool, checkpointed: bool) -> u64 {
        let state = if adamw { self.adamw } else { 0 };
        let kept = if checkpointed { self.checkpointed_activations } else { self.activations };
        self.weights + self.gradients + state + kept
    }

    /// What people want memory for, each with its sum: generating, and training in four ways.
    pub fn purposes(&self) -> [(&'static str, u64); 5] {
        [
            ("generating one sequence of the full context", self.inference()),
            ("training with SGD", self.training(false, false)),
            ("training with SGD, gradient checkpointing", self.training(false, true)),
            ("training with AdamW", self.training(true, false)),
            ("training with AdamW, gradient checkpointing", self.training(true, true)),
        ]
    }

    /// The `--json` report.
    pub fn report(&self) -> Value {
        let group = |group: &ParameterGroup| json!({ "name": group.name, "parameters": group.parameters, "bytes": group.bytes });
        json!({
            "batch_size": self.batch_size,
            "sequence_length": self.sequence_length,
            "groups": self.groups.iter().map(group).collect::<Vec<_>>(),
            "weights_bytes": self.weights,
            "gradients_bytes": self.gradients,
            "optimizer_bytes": { "sgd": 0, "adamw": self.adamw },
            "activations_bytes": self.activations,
            "checkpointed_activations_bytes": self.checkpointed_activations,
            "eager_attention_bytes": { "largest_layer": self.eager_attention.0, "all_layers": self.eager_attention.1 },
            "training_bytes": {
                "sgd": self.training(false, false),
                "sgd_checkpointed": self.training(false, true),
                "adamw": self.training(true, false),
                "adamw_checkpointed": self.training(true, true),
            },
            "inference_bytes": self.inference(),
            "purposes": self.purposes().iter()
                .map(|(name, bytes)| json!({ "name": name, "bytes": bytes })).collect::<Vec<_>>(),
            "flops_per_token": { "forward": self.forward_flops_per_token, "training": self.training_flops_per_token },
            "kv_cache_bytes": { "per_token": self.kv_cache_per_token, "full_context": self.kv_cache_full_context },
            "context": self.context,
            "devices": present().iter().map(|(device, memory)| json!({
                "device": device.to_string(),
                "free_bytes": memory.free,
                "total_bytes": memory.total,
                "fits": self.purposes().iter().map(|(_, bytes)| *bytes <= memory.free).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        })
    }
}

/// The devices of this machine that tell their memory.
pub(crate) fn present() -> Vec<(Device, DeviceMemory)> {
    Device::present().into_iter().filter_map(|device| Some((device, device.memory()?))).collect()
}

/// Sums over a node and what is below it.
fn sum(node: &Node, run: Run) -> Sums {
    let mut sums = Sums::default();
    for child in &node.children {
        sums.add(sum(child, run), 1);
    }
    match &node.part {
        Part::Leaf(leaf) => match leaf {
            Leaf::Linear { inputs, outputs, .. } => sums.matmul_flops += 2 * (inputs * outputs) as u64,
            // Their results are counted where they stand.
            Leaf::RmsNorm { .. } | Leaf::LayerNorm { .. } | Leaf::Embedding { .. } | Leaf::AlibiSlopes { .. } => {}
        },
        Part::Attention { heads, kv_heads, head_dim, position, window, .. } => {
            attention(&mut sums, [*heads, *kv_heads, *head_dim], *window, run);
            let (queries, keys) = ((heads * head_dim) as u64, (kv_heads * head_dim) as u64);
            let normed = node.child(Role::QueryNorm).is_some();
            let rotated = matches!(position, PositionEmbedding::Rope(_));
            // Map, exchange, norm, rotation; values are mapped and exchanged only; attention, exchange, output map.
            let times = 2 + u64::from(normed) + u64::from(rotated);
            sums.activations += times * (queries + keys) + 2 * keys + 2 * queries + run.hidden;
        }
        Part::SingleHeadAttention { dim, window, .. } => {
            attention(&mut sums, [1, 1, *dim], *window, run);
            // x W, values, and the result.
            sums.activations += 3 * *dim as u64;
        }
        Part::GatedFeedForward { .. } => sums.activations += 3 * inner(node) + run.hidden,
        Part::FeedForward { .. } => sums.activations += 2 * inner(node) + run.hidden,
        Part::Layer { .. } => {
            // A norm and a residual sum for each of attention and feed-forward, and the input as a leaf of its own graph.
            let parts = node.children.iter().filter(|child| !matches!(child.part, Part::Leaf(_))).count();
            let norms = node.children.iter().filter(|child| matches!(child.part, Part::Leaf(_))).count();
            sums.activations += (parts + norms + 1) as u64 * run.hidden;
            sums.layer_inputs = run.hidden;
            sums.largest_layer = sums.activations;
        }
        Part::CausalLm | Part::Decoder | Part::InputEncoder { .. } | Part::LayerStack | Part::Layers => {}
    }
    match node.repeat {
        None => sums,
        Some(count) => {
            let mut all = Sums::default();
            all.add(sums, count as u64);
            all
        }
    }
}

/// The pairs of tokens, and what a cache keeps.
fn attention(sums: &mut Sums, [heads, kv_heads, head_dim]: [usize; 3], window: Option<usize>, run: Run) {
    let (queries, keys) = ((heads * head_dim) as u64, (kv_heads * head_dim) as u64);
    let visible = |length: u64| window.map_or(length, |window| length.min(window as u64));
    // The sum over the positions i = 1 … sequence of min(i, window), twice.
    let (sequence, seen) = (run.sequence, visible(run.sequence));
    let twice_sum = seen * (seen + 1) + 2 * (sequence - seen) * seen;
    sums.scores += heads as u64;
    sums.largest_scores = sums.largest_scores.max(heads as u64);
    // q·k and weights·v: two operations each for every head dimension.
    sums.attention_flops += 2 * queries * twice_sum / sequence.max(1);
    sums.kv_elements += 2 * keys;
    sums.kv_full_context += 2 * keys * visible(run.context);
}

/// The width inside a feed-forward part: the outputs of the map into it.
fn inner(node: &Node) -> u64 {
    match node.child(Role::Up).map(|up| &up.part) {
        Some(Part::Leaf(Leaf::Linear { outputs, .. })) => *outputs as u64,
        _ => 0,
    }
}

/// Rows of the head, tied or not: the vocabulary.
fn head_rows(table: &TensorTable) -> u64 {
    let head = table.of_role(Role::Head).next();
    head.and_then(|row| row.shape.first()).map_or(0, |rows| *rows as u64)
}

fn groups(table: &TensorTable) -> Vec<ParameterGroup> {
    let sum = |group: &RoleGroup| {
        let rows = || table.rows().iter().filter(|row| row.role.map(Role::group) == Some(*group));
        let parameters = rows().map(TensorRow::parameters).sum();
        ParameterGroup { name: group.name(), parameters, bytes: rows().map(TensorRow::bytes).sum() }
    };
    RoleGroup::ALL.iter().map(sum).filter(|group| group.parameters > 0).collect()
}
