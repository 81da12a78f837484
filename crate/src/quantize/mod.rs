//! Low-bit models: which linear layers a [`Recipe`](crate::spec::Recipe) quantizes, their tensors written as a stream,
//! and what it costs in accuracy and saves in size.
//!
//! The layout is that of compressed-tensors in safetensors files, which transformers loads by itself.

mod effect;
mod error;
mod plan;
mod report;
mod source;

pub use effect::{Effect, logit_effect};
pub use error::QuantizeError;
pub use plan::QuantizePlan;
pub use report::{QuantizationReport, TensorError, WorstGroup};
pub use source::QuantizingSource;
