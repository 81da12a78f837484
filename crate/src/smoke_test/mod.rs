//! The smoke test of a model: a few training steps that show whether it works.
//!
//! [`SmokeTest`] says what to run, [`SmokeTestReport`] what was found: a run that was made and found faults is a report
//! that did not pass, not an error.

mod batches;
mod builder;
mod ceiling;
mod compare;
mod error;
mod fault;
mod memory;
mod report;
mod run;
mod settings;
mod step;

pub use builder::SmokeTest;
pub use compare::{ComparedParameter, ComparedStep, Comparison, Tolerance};
pub use error::SmokeTestError;
pub use fault::{Fault, FaultKind};
pub use report::{GradientRecord, SmokeTestReport, StepRecord};
pub use settings::{CompareSettings, Settings};
