//! The test run of a model: kick it and see whether it falls over.

mod run;

pub use run::{KickTest, KickTestError, KickTestReport, StepRecord};
