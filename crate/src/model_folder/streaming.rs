//! A model folder computed layer by layer, and the memory that it takes.

use super::{ModelFolder, ModelFolderError};
use crate::device::{Device, NotEnoughMemory};
use crate::memory;
use crate::model::{PieceWeights, StreamedLm, streamed_memory};
use crate::spec::{DType, ModelConfig, TensorTable};

impl ModelFolder {
    /// Returns the model, to compute logits in float32 with a layer in memory at a time, after checking that all
    /// tensors fit.
    ///
    /// # Errors
    /// [`ModelFolderError::Incomplete`] listing what does not fit.
    pub fn stream(&self, device: &candle_core::Device) -> Result<StreamedLm<'_>, ModelFolderError> {
        self.stream_rounded(None, device)
    }

    /// As [`stream`](Self::stream), with every weight first rounded to another type.
    pub(crate) fn stream_rounded(
        &self,
        rounding: Option<DType>,
        device: &candle_core::Device,
    ) -> Result<StreamedLm<'_>, ModelFolderError> {
        let plan = self.way_to_native()?;
        self.check_packed_shapes()?;
        let weights = PieceWeights::new(self.checkpoint(), plan.rows(), plan.pieces(), rounding);
        Ok(StreamedLm::new(self.config(), Box::new(weights), device)?)
    }
}

/// Returns the type that the weights of a checkpoint have in memory while they are streamed.
pub(crate) fn streamed_dtype(table: &TensorTable) -> DType {
    let narrow = |dtype: DType| matches!(dtype, DType::BF16 | DType::F16) || dtype.is_few_bits();
    let mut matrices = table.rows().iter().filter(|row| row.shape.len() > 1);
    if matrices.all(|row| narrow(row.dtype)) { DType::BF16 } else { DType::F32 }
}

/// Refuses a streamed forward pass of so many tokens on the CPU, with weights of type `dtype`, if this machine has no
/// memory for it.
///
/// # Errors
/// [`NotEnoughMemory`].
pub(crate) fn require_streamed_memory(
    config: &ModelConfig,
    dtype: DType,
    tokens: usize,
) -> Result<(), NotEnoughMemory> {
    let needed = streamed_memory(config, dtype, tokens);
    let what = format!("two layers of the model and the logits of {tokens} tokens take {}", memory::in_words(needed));
    let advice =
        "free memory, give fewer tokens, or use a machine with more; conversions and quantization have --no-validate";
    Device::Cpu.require(needed, &what, advice)
}
