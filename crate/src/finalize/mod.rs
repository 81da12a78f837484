//! A clean folder to hand on: configuration, tokenizer, sources, exactly one checkpoint, nothing of the training run.

mod config;
mod error;
mod generation;
mod options;
mod plan;
mod run;
mod weights;

pub use error::FinalizeError;
pub use options::{Finalize, finalize};
pub use plan::{Finalization, FinalizePlan, Optimizer, PlannedFile};
