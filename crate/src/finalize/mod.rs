//! A clean folder to publish: configuration, tokenizer, sources and exactly one checkpoint, without the rest of a
//! training run.

mod builder;
mod error;
mod plan;
mod run;
mod tensors;
mod tokens;
mod weights;

pub use builder::{Finalize, finalize};
pub use error::FinalizeError;
pub use plan::{Finalization, FinalizePlan, Optimizer, PlannedFile};
