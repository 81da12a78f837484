//! Why a model could not be constructed.

use super::LoadReport;
use crate::checkpoint::CheckpointError;
use crate::device::{DeviceError, NotEnoughMemory};
use crate::diagnostic::{Diagnose, Diagnostic};
use crate::model::ModelError;
use crate::naming::FamilyError;
use crate::project::ProjectError;
use crate::sealed::Sealed;

/// Why a model could not be constructed.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum ConstructError {
    /// The project.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// The device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A model that does not fit into memory.
    #[error(transparent)]
    Memory(#[from] NotEnoughMemory),
    /// The output folder or its weights.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The sources that go with it.
    #[error(transparent)]
    Export(#[from] crate::export::ExportError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The family that a checkpoint to be loaded is of.
    #[error(transparent)]
    Family(#[from] FamilyError),
    /// A checkpoint whose tensors do not fit the model.
    Misfit {
        /// What fits and what does not.
        report: Sealed<LoadReport>,
        /// What to do.
        advice: String,
    },
    /// Options that contradict each other, or what is there already.
    Refused {
        /// What is wrong.
        what: String,
        /// The option or folder.
        origin: String,
        /// What to do.
        advice: String,
    },
}

impl Diagnose for ConstructError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Project(error) => error.diagnostic(),
            Self::Device(error) => error.diagnostic(),
            Self::Memory(error) => error.diagnostic(),
            Self::Checkpoint(error) => error.diagnostic(),
            Self::Export(error) => error.diagnostic(),
            Self::Model(error) => error.diagnostic(),
            Self::Family(error) => error.diagnostic(),
            Self::Misfit { report, advice } => report.misfit().advise(advice),
            Self::Refused { what, origin, advice } => Diagnostic::new(what).at(origin).advise(advice),
        }
    }
}
