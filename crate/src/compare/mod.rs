//! Models side by side: tables from headers, configurations, logits from forward passes.

mod builder;
mod configs;
mod error;
mod inspect;
mod logits;
mod model;
mod reference_file;

pub use builder::{Compare, compare};
pub use configs::{ChangedField, ConfigDiff, compare_configs};
pub use error::CompareError;
pub use inspect::{Inspection, QuantizedTensors, inspect, inspect_checkpoint};
pub(crate) use logits::write_logits_to;
pub use logits::{ModelLogits, logits, write_logits};
pub use reference_file::compare_with_reference;
