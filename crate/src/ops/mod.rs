//! Differentiable fused operators: forward and backward in one pass over memory, on CPU and CUDA.
//!
//! Each is a candle custom operation whose backward is another one. Where a device does not have a kernel, the same function is
//! composed of candle's own operations. candle's fused operations of the same names have no backward and drop gradients
//! silently; these are checked against composed autograd and finite differences, for every input's gradient.

mod attention;
#[cfg(test)]
mod check;
mod checkpoint;
mod chunk_scan;
mod collect;
mod cross_entropy;
pub(crate) mod cuda;
mod delta_rule;
mod dots;
mod element;
mod embedding;
mod gate;
mod gated_linear;
mod grouped;
mod layer_norm;
mod linear;
mod matrix;
mod mixed_linear;
mod precomputed_op;
mod quantized;
mod rms_norm;
mod rotation;
mod router;
mod routing;
mod row_parts;
mod rows;
mod selective_scan;
mod sgd;
mod softcap;
mod state_space;

pub use attention::{
    AttentionError, AttentionImplementation, AttentionMask, AttentionOptions, BlockMask, Dropout, attention,
    flex_attention,
};
pub use checkpoint::{backward_from, checkpointed};
pub use collect::{Gradients, collected};
pub use cross_entropy::{LossAndGradients, linear_cross_entropy, linear_cross_entropy_gradients};
pub use delta_rule::{causal_convolution, gated_delta_rule, softplus, unit_triangular_inverse};
pub use embedding::embedding;
pub use gate::{GateActivation, gated};
pub use gated_linear::{gated_linear, linear_heads};
pub use grouped::{GatedMatrices, combine_rows, grouped_gated};
pub use layer_norm::layer_norm;
pub use linear::linear;
pub(crate) use matrix::{Matrix, Numbers};
pub(crate) use mixed_linear::Widened;
pub use mixed_linear::mixed_linear;
pub(crate) use quantized::{Quantized, decoded_row, quantize_rows};
pub use quantized::{QuantizedWeight, quantized_linear, rounded_activations, rounded_weight};
pub use rms_norm::{rms_norm, rms_norm_offset};
pub use rotation::{rotate, transpose_heads};
pub use router::Routes;
pub use routing::{Choice, Grouping, choose, split_rows};
pub use row_parts::by_parts;
pub use selective_scan::selective_scan;
pub use sgd::sgd_in_place;
pub use softcap::softcap;
pub use state_space::state_space_scan;
