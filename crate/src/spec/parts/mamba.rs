//! Selective state spaces: Mamba (Gu and Dao 2023, arXiv:2312.00752) and Mamba-2 (Dao and Gu 2024, arXiv:2405.21060).

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::declare::words;
use super::field::{Field, FieldKind};
use super::norm::form;
use super::{NormKind, linear};
use crate::spec::config::{ConfigError, ModelConfig};
use crate::spec::initialization::InitRules;
use crate::spec::{AttentionKind, Cost, CostScope, Init, Leaf, Mixer, Node, NormForm, Part, Role};

/// How the gate z and the norm act on the result y of Mamba-2's scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MambaNorm {
    /// norm(y · silu(z)).
    AfterGate,
    /// norm(y) · silu(z).
    BeforeGate,
    /// y · silu(z).
    None,
}

words!(MambaNorm { AfterGate = "after_gate", BeforeGate = "before_gate", None = "none" });

/// The sizes of a Mamba-2 part, and what scales its inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mamba2Form {
    /// Heads, each with a state of its own.
    pub heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Numbers that a state has for each number of a head.
    pub state: usize,
    /// Groups of heads that share what is written to states and read from them; divides `heads`.
    pub groups: usize,
    /// Tokens that the convolution sees, the current one included.
    pub kernel: usize,
    /// Where the norm stands.
    pub norm: MambaNorm,
    /// The shortest and the longest step.
    pub step_limits: (f64, Option<f64>),
    /// Factors on x, on what the input projection makes of it (gate, values, B, C, steps), and on the output.
    pub factors: Mamba2Factors,
}

/// Factors on the inputs and outputs of a Mamba-2 part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mamba2Factors {
    /// On x.
    pub input: f64,
    /// On the gate, the values, B, C and the steps.
    pub projected: [f64; 5],
    /// On the output.
    pub output: f64,
}

impl Mamba2Form {
    /// Returns the width of all heads.
    pub fn inner(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Returns the width of what passes the convolution: values, and B and C of all groups.
    pub fn mixed(&self) -> usize {
        self.inner() + 2 * self.groups * self.state
    }
}

/// The sizes of a Mamba part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MambaForm {
    /// Channels, each with a state of its own.
    pub inner: usize,
    /// Numbers of a state.
    pub state: usize,
    /// Width of what steps are made of.
    pub rank: usize,
    /// Tokens that the convolution sees, the current one included.
    pub kernel: usize,
}

pub(super) fn is_mamba(config: &ModelConfig) -> bool {
    config.attention == AttentionKind::Mamba
}

/// Mamba-2 in place of attention or beside it.
pub(crate) fn has_mamba2(config: &ModelConfig) -> bool {
    config.attention == AttentionKind::Mamba2 || beside_attention(config)
}

/// Mamba-2 beside attention.
pub(crate) fn beside_attention(config: &ModelConfig) -> bool {
    config.parallel_mamba && config.attention == AttentionKind::MultiHead
}

pub(super) fn has_state_space(config: &ModelConfig) -> bool {
    is_mamba(config) || has_mamba2(config)
}

pub(super) const MAMBA: &str = "attention_type: mamba";
pub(super) const MAMBA2: &str = "attention_type: mamba2 or parallel_mamba: true";
pub(super) const EITHER: &str = "attention_type: mamba or mamba2, or parallel_mamba: true";

/// Declares the fields.
macro_rules! mamba_fields {
    ($next:ident $($rest:tt)*) => { $next! { $($rest)*
        part "mamba" "Selective state spaces: Mamba and Mamba-2" {
            /// Whether a Mamba-2 part reads what attention reads, and their results are added together.
            parallel_mamba: bool = false, { .by_layer().needs("attention_type: multi_head", attention::is_multi_head) };
            /// Heads of a Mamba-2 part, each with a state of its own.
            mamba_num_heads: usize = 128, { .by_layer().exported(mamba::has_mamba2).needs(mamba::MAMBA2, mamba::has_mamba2) };
            /// Width of a head of a Mamba-2 part.
            mamba_head_dim: usize = 64, { .by_layer().exported(mamba::has_mamba2).needs(mamba::MAMBA2, mamba::has_mamba2) };
            /// Groups of heads that share what they write to states and read from them; a divisor of mamba_num_heads.
            mamba_num_groups: usize = 1, { .by_layer().exported(mamba::has_mamba2).needs(mamba::MAMBA2, mamba::has_mamba2) };
            /// Channels of a Mamba part.
            mamba_inner_size: usize = 0 => [mamba::INNER_SIZE];
            /// Numbers that a state has for each number of a head (Mamba-2), or for each channel (Mamba).
            mamba_state_size: usize = 128, { .by_layer().exported(mamba::has_state_space).needs(mamba::EITHER, mamba::has_state_space) };
            /// Tokens that the convolution sees, the current one included.
            mamba_conv_kernel: usize = 4, { .by_layer().exported(mamba::has_state_space).needs(mamba::EITHER, mamba::has_state_space) };
            /// Whether the convolution has a bias.
            mamba_conv_bias: bool = true, { .by_layer().needs(mamba::EITHER, mamba::has_state_space) };
            /// Whether the input projection has a bias, and the output projection, unless given.
            mamba_proj_bias: bool = false, { .by_layer().needs(mamba::EITHER, mamba::has_state_space) };
            /// Whether the output projection has a bias; null for mamba_proj_bias.
            mamba_output_bias: Option<bool> = None, { .by_layer().needs(mamba::EITHER, mamba::has_state_space) };
            /// Where the norm of a Mamba-2 part stands: norm(y · silu(z)), norm(y) · silu(z), or none.
            mamba_norm: MambaNorm = MambaNorm::AfterGate, { .by_layer().needs(mamba::MAMBA2, mamba::has_mamba2) };
            /// The shortest step of a Mamba-2 part.
            mamba_step_min: f64 = 0.0, {
                .by_layer().exported(|config| mamba::has_mamba2(config) && config.mamba_step_min != 0.0)
                .needs(mamba::MAMBA2, mamba::has_mamba2)
            };
            /// The longest step of a Mamba-2 part; null without a limit.
            mamba_step_max: Option<f64> = None, {
                .by_layer().exported(|config| mamba::has_mamba2(config) && config.mamba_step_max.is_some())
                .needs(mamba::MAMBA2, mamba::has_mamba2)
            };
            /// Width of what the steps of a Mamba part are made of.
            mamba_step_rank: usize = 0 => [mamba::STEP_RANK];
            /// Whether what the steps of a Mamba part are made of, and what is written to states and read from them, are
            /// normalized.
            mamba_inner_norms: bool = false, { .by_layer().needs(mamba::MAMBA, mamba::is_mamba) };
            /// Factor on what enters a Mamba-2 part.
            mamba_input_multiplier: f64 = 1.0, { .by_layer().exported(mamba::is_scaled).needs(mamba::MAMBA2, mamba::has_mamba2) };
            /// Factor on its gate.
            mamba_gate_multiplier: f64 = 1.0, { .by_layer().exported(mamba::is_scaled).needs(mamba::MAMBA2, mamba::has_mamba2) };
            /// Factor on its values.
            mamba_value_multiplier: f64 = 1.0, { .by_layer().exported(mamba::is_scaled).needs(mamba::MAMBA2, mamba::has_mamba2) };
            /// Factor on what it writes to states.
            mamba_write_multiplier: f64 = 1.0, { .by_layer().exported(mamba::is_scaled).needs(mamba::MAMBA2, mamba::has_mamba2) };
            /// Factor on what it reads from states.
            mamba_read_multiplier: f64 = 1.0, { .by_layer().exported(mamba::is_scaled).needs(mamba::MAMBA2, mamba::has_mamba2) };
            /// Factor on its steps, before their bias is added.
            mamba_step_multiplier: f64 = 1.0, { .by_layer().exported(mamba::is_scaled).needs(mamba::MAMBA2, mamba::has_mamba2) };
            /// Factor on its output.
            mamba_output_multiplier: f64 = 1.0, { .by_layer().exported(mamba::is_scaled).needs(mamba::MAMBA2, mamba::has_mamba2) };
        }
    } };
}
pub(super) use mamba_fields;

/// Twice the model's width where nothing else is said.
pub(super) const INNER_SIZE: Field = Field::new(
    "mamba_inner_size",
    "Channels of a Mamba part",
    FieldKind::Size,
    |reading, config| {
        // Nothing where there is no such part, so that equal models are equal.
        config.mamba_inner_size = if is_mamba(config) { 2 * config.hidden_size } else { 0 };
        if is_mamba(config) { reading.take("mamba_inner_size", &mut config.mamba_inner_size) } else { Ok(()) }
    },
    |config| is_mamba(config).then(|| json!(config.mamba_inner_size)),
)
.by_layer()
.otherwise("2 · hidden_size")
.needs(MAMBA, is_mamba)
.exported(is_mamba);

/// A sixteenth of the model's width where nothing else is said.
pub(super) const STEP_RANK: Field = Field::new(
    "mamba_step_rank",
    "Width of what the steps of a Mamba part are made of",
    FieldKind::Size,
    |reading, config| {
        // Nothing where there is no such part, so that equal models are equal.
        config.mamba_step_rank = if is_mamba(config) { config.hidden_size.div_ceil(16) } else { 0 };
        if is_mamba(config) { reading.take("mamba_step_rank", &mut config.mamba_step_rank) } else { Ok(()) }
    },
    |config| is_mamba(config).then(|| json!(config.mamba_step_rank)),
)
.by_layer()
.otherwise("hidden_size / 16")
.needs(MAMBA, is_mamba)
.exported(is_mamba);

/// Returns whether some factor on inputs or outputs of a Mamba-2 part is not 1.
pub(crate) fn is_scaled(config: &ModelConfig) -> bool {
    let Mamba2Factors { input, projected, output } = factors(config);
    has_mamba2(config) && [input, output].into_iter().chain(projected).any(|factor| factor != 1.0)
}

fn factors(config: &ModelConfig) -> Mamba2Factors {
    Mamba2Factors {
        input: config.mamba_input_multiplier,
        projected: [
            config.mamba_gate_multiplier,
            config.mamba_value_multiplier,
            config.mamba_write_multiplier,
            config.mamba_read_multiplier,
            config.mamba_step_multiplier,
        ],
        output: config.mamba_output_multiplier,
    }
}

fn form2(config: &ModelConfig) -> Mamba2Form {
    Mamba2Form {
        heads: config.mamba_num_heads,
        head_dim: config.mamba_head_dim,
        state: config.mamba_state_size,
        groups: config.mamba_num_groups,
        kernel: config.mamba_conv_kernel,
        norm: config.mamba_norm,
        step_limits: (config.mamba_step_min, config.mamba_step_max),
        factors: factors(config),
    }
}

/// The norm of the result of Mamba-2's scan, over the width of a group: RMSNorm with factors as they are.
pub(crate) fn norm2(config: &ModelConfig) -> NormForm {
    plain_norm(config, form2(config).inner())
}

/// RMSNorm with factors as they are, whatever the layers' norms add to theirs.
fn plain_norm(config: &ModelConfig, dim: usize) -> NormForm {
    NormForm { kind: NormKind::RmsNorm, weight: true, bias: false, offset: 0.0, ..form(config, dim) }
}

/// The convolution, as PyTorch draws one of one channel each, and its bias.
fn convolution(config: &ModelConfig, channels: usize) -> Vec<Node> {
    let kernel = config.mamba_conv_kernel;
    let init = Init::Uniform { bound: (kernel as f64).powf(-0.5) };
    let leaf = |name, shape| Node::leaf("conv", Role::ShortConvolution, Leaf::Tensor { name, shape, init });
    let bias = config.mamba_conv_bias.then(|| leaf("bias", vec![channels]));
    std::iter::once(leaf("weight", vec![channels, 1, kernel])).chain(bias).collect()
}

/// Steps between 0.001 and 0.1, as both papers begin.
const FIRST_STEPS: Init = Init::InverseSoftplus { low: 0.001, high: 0.1 };

/// A Mamba-2 part.
pub(super) fn node2(config: &ModelConfig, rules: &InitRules) -> Node {
    let (hidden, form) = (config.hidden_size, form2(config));
    let (inner, mixed, heads) = (form.inner(), form.mixed(), form.heads);
    let per_head = |name, role, init| Node::leaf("", role, Leaf::Tensor { name, shape: vec![heads], init });
    let (bias, output_bias) = biases(config);
    let mut children =
        vec![linear("input_linear", Role::StateSpaceInput, (hidden, inner + mixed + heads), bias, rules)];
    children.extend(convolution(config, mixed));
    children.push(per_head("step_bias", Role::Decay, FIRST_STEPS));
    children.push(per_head("decay_log", Role::Decay, Init::LogUniform { low: 1.0, high: 16.0 }));
    children.push(per_head("skip", Role::Skip, Init::Ones));
    if form.norm != MambaNorm::None {
        children.push(Node::leaf("norm", Role::ValueNorm, Leaf::Norm(norm2(config))));
    }
    children.push(linear("output_linear", Role::Output, (inner, hidden), output_bias, rules));
    Node::new("mamba", Part::Mixer(Mixer::Mamba2(form)), children)
}

/// A Mamba part.
pub(super) fn node(config: &ModelConfig, rules: &InitRules) -> Node {
    let hidden = config.hidden_size;
    let form = form1(config);
    let MambaForm { inner, state, rank, .. } = form;
    let (bias, output_bias) = biases(config);
    let mut children = vec![linear("input_linear", Role::StateSpaceInput, (hidden, 2 * inner), bias, rules)];
    children.extend(convolution(config, inner));
    children.push(linear("selection_linear", Role::Selection, (inner, rank + 2 * state), false, rules));
    if config.mamba_inner_norms {
        let norm = |name, dim| Node::leaf(name, Role::SelectionNorm, Leaf::Norm(plain_norm(config, dim)));
        children.extend([norm("step_norm", rank), norm("write_norm", state), norm("read_norm", state)]);
    }
    let into_steps = Leaf::Linear {
        inputs: rank,
        outputs: inner,
        init: rules.weight(Role::Step, rank, inner),
        bias: Some(FIRST_STEPS),
        quantized: None,
    };
    children.push(Node::leaf("step_linear", Role::Step, into_steps));
    let tensor = |name, shape, role, init| Node::leaf("", role, Leaf::Tensor { name, shape, init });
    children.push(tensor("decay_log", vec![inner, state], Role::Decay, Init::LogOfColumn));
    children.push(tensor("skip", vec![inner], Role::Skip, Init::Ones));
    children.push(linear("output_linear", Role::Output, (inner, hidden), output_bias, rules));
    Node::new("mamba", Part::Mixer(Mixer::Mamba(form)), children)
}

/// The sizes of a Mamba part.
pub(crate) fn form1(config: &ModelConfig) -> MambaForm {
    MambaForm {
        inner: config.mamba_inner_size,
        state: config.mamba_state_size,
        rank: config.mamba_step_rank,
        kernel: config.mamba_conv_kernel,
    }
}

/// Whether input and output projection have biases.
pub(crate) fn biases(config: &ModelConfig) -> (bool, bool) {
    (config.mamba_proj_bias, config.mamba_output_bias.unwrap_or(config.mamba_proj_bias))
}

/// Checks the sizes against each other.
pub(in crate::spec) fn validate(config: &ModelConfig, fault: super::Fault<'_>) -> Result<(), ConfigError> {
    if !has_mamba2(config) {
        return Ok(());
    }
    let (heads, groups) = (config.mamba_num_heads, config.mamba_num_groups);
    if !heads.is_multiple_of(groups) {
        let expected = format!("a divisor of mamba_num_heads ({heads})");
        return Err(fault("mamba_num_groups", groups.to_string(), &expected));
    }
    let (low, high) = (config.mamba_step_min, config.mamba_step_max);
    if !low.is_finite() || high.is_some_and(|high| !high.is_finite() || high < low) {
        let found = high.map_or_else(|| "null".to_owned(), |high| high.to_string());
        return Err(fault("mamba_step_max", found, &format!("a number from mamba_step_min ({low}), or null")));
    }
    for (field, factor) in [
        ("mamba_input_multiplier", config.mamba_input_multiplier),
        ("mamba_gate_multiplier", config.mamba_gate_multiplier),
        ("mamba_value_multiplier", config.mamba_value_multiplier),
        ("mamba_write_multiplier", config.mamba_write_multiplier),
        ("mamba_read_multiplier", config.mamba_read_multiplier),
        ("mamba_step_multiplier", config.mamba_step_multiplier),
        ("mamba_output_multiplier", config.mamba_output_multiplier),
    ] {
        if !factor.is_finite() {
            return Err(fault(field, factor.to_string(), "a finite number"));
        }
    }
    Ok(())
}

/// Adds writing to states, reading from them and forgetting, and what a cache keeps: the states, and the convolution's
/// last inputs, however long the text is.
pub(in crate::spec) fn cost2(form: &Mamba2Form, scope: CostScope, cost: &mut Cost) {
    let (inner, mixed) = (form.inner() as u64, form.mixed() as u64);
    state_cost((inner * form.state as u64, inner, mixed, form.kernel as u64), scope, cost);
}

/// As [`cost2`], for a Mamba part.
pub(in crate::spec) fn cost(form: &MambaForm, scope: CostScope, cost: &mut Cost) {
    let inner = form.inner as u64;
    state_cost((inner * form.state as u64, inner, inner, form.kernel as u64), scope, cost);
}

fn state_cost((states, inner, mixed, kernel): (u64, u64, u64, u64), scope: CostScope, cost: &mut Cost) {
    // Decay, the outer product that is added, and what is read.
    cost.attention_flops += 5 * states;
    cost.matmul_flops += 2 * kernel * mixed;
    // Projection, convolution, activation; steps, result, gate and norm.
    cost.activations += 3 * mixed + 5 * inner + scope.hidden;
    cost.kv_full_context += states + mixed * (kernel - 1);
}
