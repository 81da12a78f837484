//! Tensors read block by block, without a copy of their bytes.

use candle_core::{DType as CandleType, Device, Tensor};
use half::{bf16, f16};

use crate::checkpoint::CheckpointError;
use crate::spec::DType;

/// The elements of a tensor, gathered block by block from the bytes of a file.
pub(in crate::model) enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
    BF16(Vec<bf16>),
    F16(Vec<f16>),
}

impl Values {
    /// Makes an empty one of `dtype`, with room for `elements`.
    pub(in crate::model) fn new(dtype: DType, elements: usize) -> Self {
        match dtype {
            DType::BF16 => Self::BF16(Vec::with_capacity(elements)),
            DType::F16 => Self::F16(Vec::with_capacity(elements)),
            DType::F64 => Self::F64(Vec::with_capacity(elements)),
            _ => Self::F32(Vec::with_capacity(elements)),
        }
    }

    /// Adds whole elements; says that more may come.
    pub(in crate::model) fn extend(&mut self, bytes: &[u8]) -> Result<bool, CheckpointError> {
        match self {
            Self::F32(values) => values.extend(bytes.as_chunks().0.iter().map(|raw| f32::from_le_bytes(*raw))),
            Self::F64(values) => values.extend(bytes.as_chunks().0.iter().map(|raw| f64::from_le_bytes(*raw))),
            Self::BF16(values) => values.extend(bytes.as_chunks().0.iter().map(|raw| bf16::from_le_bytes(*raw))),
            Self::F16(values) => values.extend(bytes.as_chunks().0.iter().map(|raw| f16::from_le_bytes(*raw))),
        }
        Ok(true)
    }

    pub(in crate::model) fn tensor(self, shape: &[usize], device: &Device) -> candle_core::Result<Tensor> {
        match self {
            Self::F32(values) => Tensor::from_vec(values, shape, device),
            Self::F64(values) => Tensor::from_vec(values, shape, device),
            Self::BF16(values) => Tensor::from_vec(values, shape, device),
            Self::F16(values) => Tensor::from_vec(values, shape, device),
        }
    }
}

/// Returns the type of weights that is candle's `dtype`, if there is one.
pub(crate) fn weight_dtype(dtype: CandleType) -> Option<DType> {
    match dtype {
        CandleType::F32 => Some(DType::F32),
        CandleType::BF16 => Some(DType::BF16),
        CandleType::F16 => Some(DType::F16),
        CandleType::F64 => Some(DType::F64),
        _ => None,
    }
}
