//! A clean folder to hand on: configuration, tokenizer, sources, exactly one checkpoint, nothing of the training run.

mod builder;
mod error;
mod plan;
mod run;
mod tokens;
mod weights;

pub use builder::{Finalize, finalize};
pub use error::FinalizeError;
pub use plan::{Finalization, FinalizePlan, Optimizer, PlannedFile};
