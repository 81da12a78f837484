//! Element types of weights, one into another.

use half::{bf16, f16};

use crate::spec::DType;

/// Appends `bytes`, little-endian floats of type `from`, as type `to`, rounded to nearest even.
/// `None` unless both are floats.
pub(crate) fn cast_floats(bytes: &[u8], from: DType, to: DType, out: &mut Vec<u8>) -> Option<()> {
    if !to.is_weight_float() {
        return None;
    }
    // half's conversions from f64 drop bits before they round, so narrow types are rounded from f32: once for every type
    // but float64 itself.
    fn each<const N: usize>(bytes: &[u8], out: &mut Vec<u8>, to: DType, value: impl Fn([u8; N]) -> f64) {
        for chunk in bytes.chunks_exact(N) {
            let mut raw = [0u8; N];
            raw.copy_from_slice(chunk);
            let value = value(raw);
            match to {
                DType::BF16 => out.extend_from_slice(&bf16::from_f32(value as f32).to_le_bytes()),
                DType::F16 => out.extend_from_slice(&f16::from_f32(value as f32).to_le_bytes()),
                DType::F64 => out.extend_from_slice(&value.to_le_bytes()),
                _ => out.extend_from_slice(&(value as f32).to_le_bytes()),
            }
        }
    }
    out.reserve(bytes.len() / from.bytes() * to.bytes());
    match from {
        DType::F32 => each::<4>(bytes, out, to, |raw| f64::from(f32::from_le_bytes(raw))),
        DType::BF16 => each::<2>(bytes, out, to, |raw| f64::from(bf16::from_le_bytes(raw).to_f32())),
        DType::F16 => each::<2>(bytes, out, to, |raw| f64::from(f16::from_le_bytes(raw).to_f32())),
        DType::F64 => each::<8>(bytes, out, to, f64::from_le_bytes),
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_round_to_nearest_even_and_widen_exactly() {
        let mut out = Vec::new();
        cast_floats(&(1.0f32 + 1.0 / 256.0).to_le_bytes(), DType::F32, DType::BF16, &mut out).unwrap();
        assert_eq!(bf16::from_le_bytes([out[0], out[1]]).to_f32(), 1.0); // halfway between 1 and 1.0078125: even wins
        out.clear();
        // One unit of float32 above that tie: upwards.
        cast_floats(&1.003_906_4f32.to_le_bytes(), DType::F32, DType::BF16, &mut out).unwrap();
        assert_eq!(bf16::from_le_bytes([out[0], out[1]]).to_f32(), 1.007_812_5);
        let mut wide = Vec::new();
        cast_floats(&bf16::from_f32(-3.25).to_le_bytes(), DType::BF16, DType::F32, &mut wide).unwrap();
        assert_eq!(wide, (-3.25f32).to_le_bytes());
        assert!(cast_floats(&[0; 8], DType::I64, DType::F32, &mut out).is_none());
    }
}
