//! A clean folder to hand on: configuration, tokenizer, exactly one checkpoint, nothing of the training run.

mod operation;

pub use operation::{Finalization, Finalize, FinalizeError, finalize};
