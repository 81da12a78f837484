//! Linear layers whose weights are stored as low-bit weights: the numbers, their scales, products with them, and the rounding
//! that trains for it.
//!
//! A value x is stored as the number nearest to x / scale, and stands for number · scale. Scales are symmetric, so zero
//! is always exact.

mod decode;
mod fake;
mod fit;
mod linear;
mod numbers;
mod weight;

pub(crate) use decode::values as decoded_row;
pub use fake::{rounded_activations, rounded_weight};
pub(crate) use fit::{Quantized, quantize_rows};
pub use linear::quantized_linear;
pub use weight::QuantizedWeight;
