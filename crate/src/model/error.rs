//! What can go wrong between weights and logits.

use crate::checkpoint::CheckpointError;
use crate::ops::AttentionError;
use crate::sealed::Sealed;
use crate::spec::DType;

/// Why a model could not be built or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The weights could not be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A parameter whose first values do not fit its type.
    #[error(
        "the initialization draws numbers for `{path}` that are infinite as {dtype}\n  where: the model's `initialization`\n  do: use bfloat16 or float32, or draw smaller ones"
    )]
    InfiniteInitial {
        /// The parameter.
        path: String,
        /// Its type.
        dtype: DType,
    },
    /// A tensor of the checkpoint has another shape than the model's parameter.
    #[error(
        "`{path}` has shape {found:?}, the model needs {expected:?}\n  where: {origin}\n  do: check that config.json belongs to these weights"
    )]
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
    /// A tensor of the checkpoint holds other numbers than its place in the model: those of a quantized part, or floats.
    #[error(
        "`{path}` is {found}, the model needs {expected}\n  where: {origin}\n  do: check that config.json, quantization_config above all, belongs to these weights"
    )]
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
    #[error("{what}\n  where: {origin}\n  do: {advice}")]
    Batch {
        /// What is wrong.
        what: String,
        /// Which batch.
        origin: String,
        /// What to do.
        advice: String,
    },
    /// The system gave no memory for a parameter.
    #[error(
        "there is no memory for `{path}`, which takes {bytes} bytes while it is made\n  where: the model's parameters\n  do: free memory, raise the limit of this process, or use a smaller type or model"
    )]
    NoMemory {
        /// The parameter.
        path: String,
        /// How many bytes were asked for.
        bytes: usize,
    },
    /// A computation failed on the device.
    #[error("{0}\n  where: the model's computation\n  do: check the device's memory and the tensor shapes above")]
    Candle(Sealed<candle_core::Error>),
    /// An attention implementation that cannot serve the model, or was given what does not fit.
    #[error(transparent)]
    Attention(#[from] AttentionError),
    /// The user stopped it.
    #[error(transparent)]
    Interrupted(#[from] crate::interrupt::Interrupted),
}

impl From<candle_core::Error> for ModelError {
    fn from(error: candle_core::Error) -> Self {
        Self::Candle(Sealed::new(error))
    }
}
