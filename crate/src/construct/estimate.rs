//! What a model will need, computed from its tree before anything is allocated.

use serde_json::{Value, json};

use crate::device::{Device, DeviceMemory};
use crate::spec::{CostScope, DType, ModelSpec, Role, RoleGroup, TensorRow, TensorTable};

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
#[non_exhaustive]
pub struct Estimate {
    /// Rows of a batch.
    pub batch_size: usize,
    /// Tokens of a row.
    pub sequence_length: usize,
    /// Parameters by kind; kinds without parameters are left out.
    pub groups: Vec<ParameterGroup>,
    /// Parameters that one token uses: no table of which it takes a row, and of a mixture the experts that its router chooses.
    pub active_parameters: u64,
    /// Weights, in the model's element type.
    pub weights: u64,
    /// Gradients of what is trained, in the same type.
    pub gradients: u64,
    /// What AdamW keeps: two moments in float32 and, for narrower weights, their float32 copy; 8 or 12 bytes a
    /// parameter (Rajbhandari et al. 2020, ZeRO, section 3.1). Plain SGD keeps nothing.
    pub adamw: u64,
    /// What one forward pass keeps for backward. candle keeps the result of every operation, and this counts them as
    /// Korthikanti et al. (2022, section 4.1) count those of a GPT layer: for each token the results of norms (d wide),
    /// of the query, key and value maps, their exchange of heads and tokens, normalization and rotation, of attention
    /// and its exchange back, of the output map (d), of the maps and the product in the feed-forward part (3 f gated,
    /// else 2 f, and d), of both residual sums (2 d), and the layer's input (d). The loss adds the head's input and its
    /// gradient, and logits in float32 for as many rows as fit 64 MiB, since output map and loss are computed together.
    pub activations: u64,
    /// The same with gradient checkpointing: the input of every layer, and one layer computed again (Chen et al. 2016).
    pub checkpointed_activations: u64,
    /// What eager attention keeps in addition, in one layer and in all: for every head and pair of tokens the scores,
    /// their sum with the mask and the three results of the softmax, in float32, and for narrower models scores and
    /// weights once more in their type.
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
        let scope = CostScope { sequence: sequence_length as u64, context: context as u64, hidden: hidden as u64 };
        let sums = spec.cost(scope);
        let width = dtype.bytes() as u64;
        let tokens = (batch_size * sequence_length) as u64;
        // The embedding's rows, the head's input and its gradient, and a block of logits with its softmax.
        let logits = (tokens * head_rows(table) * MASTER).min(LOGITS);
        let ends = tokens * width * 3 * scope.hidden + 2 * logits;
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
            active_parameters: spec.active_parameters(),
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

    /// Returns the memory to generate one sequence of the longest context: weights and cache.
    pub fn inference(&self) -> u64 {
        self.weights + self.kv_cache_full_context
    }

    /// Returns the memory to train: weights, gradients, AdamW's state if asked for, and activations.
    pub fn training(&self, adamw: bool, checkpointed: bool) -> u64 {
        let state = if adamw { self.adamw } else { 0 };
        let kept = if checkpointed { self.checkpointed_activations } else { self.activations };
        self.weights + self.gradients + state + kept
    }

    /// Returns the memory of common uses: generating, and training in four ways.
    pub fn purposes(&self) -> [(&'static str, u64); 5] {
        [
            ("generating one sequence of the full context", self.inference()),
            ("training with SGD", self.training(false, false)),
            ("training with SGD, gradient checkpointing", self.training(false, true)),
            ("training with AdamW", self.training(true, false)),
            ("training with AdamW, gradient checkpointing", self.training(true, true)),
        ]
    }

    /// Returns the `--json` report.
    pub fn report(&self) -> Value {
        let group = |group: &ParameterGroup| json!({ "name": group.name, "parameters": group.parameters, "bytes": group.bytes });
        json!({
            "batch_size": self.batch_size,
            "sequence_length": self.sequence_length,
            "groups": self.groups.iter().map(group).collect::<Vec<_>>(),
            "active_parameters": self.active_parameters,
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

/// Returns the devices of this machine that report their memory.
pub(crate) fn present() -> Vec<(Device, DeviceMemory)> {
    Device::present().into_iter().filter_map(|device| Some((device, device.memory()?))).collect()
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
