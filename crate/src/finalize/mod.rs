//! A clean folder to hand on: configuration, tokenizer, sources, exactly one checkpoint, nothing of the training run.

mod error;
mod options;
mod plan;
mod run;
mod tokens;
mod weights;

pub use error::FinalizeError;
pub use options::{Finalize, finalize};
pub use plan::{Finalization, FinalizePlan, Optimizer, PlannedFile};
