//! Why a test run could not be made.

use crate::checkpoint::CheckpointError;
use crate::dataset::DatasetError;
use crate::device::{DeviceError, NotEnoughMemory};
use crate::diagnostic::{Diagnose, Diagnostic};
use crate::interrupt::Interrupted;
use crate::model::ModelError;
use crate::spec::RecipeMisfit;
use crate::tokenizer::TokenizerError;

/// Why a test run could not be made. A run that was made and found faults is a
/// [`SmokeTestReport`](super::SmokeTestReport) that did not pass.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum SmokeTestError {
    /// The model has no tensors, or an option does not fit it.
    Refused {
        /// What is wrong.
        what: String,
        /// The option.
        origin: String,
        /// What to do.
        advice: String,
    },
    /// The recipe to train for does not fit the model.
    #[error(transparent)]
    Recipe(#[from] RecipeMisfit),
    /// The weights could not be saved.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The data.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The model's tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The device of the second setting.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A batch that does not fit into memory.
    #[error(transparent)]
    Memory(#[from] NotEnoughMemory),
    /// The computation.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The user stopped it.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl Diagnose for SmokeTestError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Refused { what, origin, advice } => Diagnostic::new(what).at(origin).advise(advice),
            Self::Recipe(error) => error.diagnostic(),
            Self::Checkpoint(error) => error.diagnostic(),
            Self::Dataset(error) => error.diagnostic(),
            Self::Tokenizer(error) => error.diagnostic(),
            Self::Device(error) => error.diagnostic(),
            Self::Memory(error) => error.diagnostic(),
            Self::Model(error) => error.diagnostic(),
            Self::Interrupted(error) => error.diagnostic(),
        }
    }
}

impl From<candle_core::Error> for SmokeTestError {
    fn from(error: candle_core::Error) -> Self {
        Self::Model(error.into())
    }
}

pub(super) fn refused<T>(
    what: impl Into<String>,
    origin: &str,
    advice: impl Into<String>,
) -> Result<T, SmokeTestError> {
    Err(SmokeTestError::Refused { what: what.into(), origin: origin.to_owned(), advice: advice.into() })
}
