//! Models side by side: tables from headers, configurations, logits from forward passes.

mod configs;
mod error;
mod inspect;
mod logits;
mod model;
mod reference_file;

pub use configs::{ChangedField, ConfigDiff, compare_configs};
pub use error::CompareError;
pub use inspect::{Inspection, QuantizedTensors, inspect, inspect_checkpoint};
pub(crate) use logits::write_logits_to;
pub use logits::{Compare, ModelLogits, compare, logits, write_logits};
pub use reference_file::compare_with_reference;
