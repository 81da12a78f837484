//! What can go wrong between weights and logits.

use crate::checkpoint::CheckpointError;
use crate::diagnostic::{Diagnose, Diagnostic};
use crate::ops::AttentionError;
use crate::sealed::Sealed;
use crate::spec::DType;

/// Why a model could not be built or run.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum ModelError {
    /// The weights could not be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A parameter whose first values do not fit its type.
    InfiniteInitial {
        /// The parameter.
        path: String,
        /// Its type.
        dtype: DType,
    },
    /// A tensor of the checkpoint has another shape than the model's parameter.
    Shape {
        /// The parameter.
        path: String,
        /// The model's shape.
        expected: Vec<usize>,
        /// The checkpoint's shape.
        found: Vec<usize>,
        /// The checkpoint.
        origin: String,
    },
    /// A tensor of the checkpoint has quantized numbers where the model needs floats, or the other way around.
    ElementType {
        /// The parameter.
        path: String,
        /// The model's element type.
        expected: String,
        /// The checkpoint's element type.
        found: String,
        /// The checkpoint.
        origin: String,
    },
    /// A batch that is not rectangular, or holds ids beyond the vocabulary.
    Batch {
        /// What is wrong.
        what: String,
        /// Which batch.
        origin: String,
        /// What to do.
        advice: String,
    },
    /// The system did not have memory for a parameter.
    NoMemory {
        /// The parameter.
        path: String,
        /// How many bytes were asked for.
        bytes: usize,
    },
    /// A computation failed on the device.
    Candle(Sealed<candle_core::Error>),
    /// An attention implementation that does not support the model, or operands that do not match.
    #[error(transparent)]
    Attention(#[from] AttentionError),
    /// The user stopped it.
    #[error(transparent)]
    Interrupted(#[from] crate::interrupt::Interrupted),
}

impl Diagnose for ModelError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Checkpoint(error) => error.diagnostic(),
            Self::InfiniteInitial { path, dtype } => {
                Diagnostic::new(format!("the initialization draws numbers for `{path}` that are infinite as {dtype}"))
                    .at("the model's `initialization`")
                    .advise("use bfloat16 or float32, or draw smaller ones")
            }
            Self::Shape { path, found, expected, origin } => {
                Diagnostic::new(format!("`{path}` has shape {found:?}, the model needs {expected:?}"))
                    .at(origin)
                    .advise("check that config.json belongs to these weights")
            }
            Self::ElementType { path, found, expected, origin } => {
                Diagnostic::new(format!("`{path}` is {found}, the model needs {expected}"))
                    .at(origin)
                    .advise("check that config.json, quantization_config above all, belongs to these weights")
            }
            Self::Batch { what, origin, advice } => Diagnostic::new(what).at(origin).advise(advice),
            Self::NoMemory { path, bytes } => {
                Diagnostic::new(format!("there is no memory for `{path}`, which takes {bytes} bytes while it is made"))
                    .at("the model's parameters")
                    .advise("free memory, raise the limit of this process, or use a smaller type or model")
            }
            Self::Candle(error) => Diagnostic::of(&**error)
                .unless_placed("the model's computation", "check the device's memory and the tensor shapes above"),
            Self::Attention(error) => error.diagnostic(),
            Self::Interrupted(error) => error.diagnostic(),
        }
    }
}

impl From<candle_core::Error> for ModelError {
    fn from(error: candle_core::Error) -> Self {
        Self::Candle(Sealed::new(error))
    }
}
