//! Numbers quantized in blocks: candle's conversions, by the types that files name.

use std::borrow::Cow;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Result, Tensor};

use crate::spec::BlockType;

/// candle's type of the same name, if it has one.
fn ggml_type(block: BlockType) -> Option<GgmlDType> {
    Some(match block {
        BlockType::Q4_0 => GgmlDType::Q4_0,
        BlockType::Q4_1 => GgmlDType::Q4_1,
        BlockType::Q5_0 => GgmlDType::Q5_0,
        BlockType::Q5_1 => GgmlDType::Q5_1,
        BlockType::Q8_0 => GgmlDType::Q8_0,
        BlockType::Q2K => GgmlDType::Q2K,
        BlockType::Q3K => GgmlDType::Q3K,
        BlockType::Q4K => GgmlDType::Q4K,
        BlockType::Q5K => GgmlDType::Q5K,
        BlockType::Q6K => GgmlDType::Q6K,
        BlockType::Q8K => GgmlDType::Q8K,
        _ => return None,
    })
}

/// Returns the numbers of blocks, in float32 on the CPU.
///
/// # Errors
/// candle's error, or one for a type that it does not know.
pub(in crate::model) fn dequantized(bytes: &[u8], shape: &[usize], block: BlockType) -> Result<Tensor> {
    let Some(dtype) = ggml_type(block) else {
        candle_core::bail!("numbers quantized as {} cannot be computed with", block.name())
    };
    if bytes.is_empty() {
        return Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu);
    }
    let storage = QStorage::from_data(Cow::Borrowed(bytes), &Device::Cpu, dtype)?;
    QTensor::new(storage, shape)?.dequantize(&Device::Cpu)
}

/// Appends the blocks that `values`, whole blocks of finite numbers, quantize to.
///
/// # Errors
/// candle's error, or one for a type that it does not know.
pub fn quantize_blocks(values: &[f32], block: BlockType, out: &mut Vec<u8>) -> Result<()> {
    let Some(dtype) = ggml_type(block) else { candle_core::bail!("numbers cannot be quantized as {}", block.name()) };
    if !values.is_empty() {
        let values = Tensor::from_slice(values, values.len(), &Device::Cpu)?;
        out.extend_from_slice(&QTensor::quantize(&values, dtype)?.data()?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_read_back_to_within_a_step() {
        let values: Vec<f32> = (0..512).map(|place| ((place * 37 % 101) as f32 - 50.0) / 50.0).collect();
        // The largest number is 1: a step is 1/127 of it, or 2/15, 2/31, 2/63 (offsets included).
        for (block, step) in [
            (BlockType::Q8_0, 1.0 / 127.0),
            (BlockType::Q4_0, 1.0 / 7.0),
            (BlockType::Q5_0, 1.0 / 15.0),
            (BlockType::Q4K, 2.0 / 14.0),
            (BlockType::Q6K, 1.0 / 30.0),
        ] {
            let mut bytes = Vec::new();
            quantize_blocks(&values, block, &mut bytes).unwrap();
            assert_eq!(bytes.len(), 512 / block.numbers() * block.bytes());
            let back = dequantized(&bytes, &[2, 256], block).unwrap();
            assert_eq!(back.dims(), [2, 256]);
            let back = back.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let worst = back.iter().zip(&values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst > 0.0 && worst <= step, "{}: {worst}", block.name());
        }
    }

    #[test]
    fn types_that_candle_lacks_are_refused_by_name() {
        let error = dequantized(&[0; 18], &[32], BlockType::Iq4Nl).unwrap_err().to_string();
        assert!(error.contains("iq4_nl"), "{error}");
    }
}
