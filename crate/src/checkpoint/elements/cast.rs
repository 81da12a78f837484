//! Casts of weights from one element type to another.

use std::path::Path;

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::checkpoint::CheckpointError;
use crate::spec::DType;

/// Elements cast at a time: they and their float32 form stay in the nearest cache.
const LANES: usize = 256;

/// Why numbers cannot be cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CastFault {
    /// Not both types are floats, or the target is not one that weights are cast to.
    NotFloats,
    /// A finite number would become infinite.
    TooLarge,
}

impl CastFault {
    /// Returns the error for a tensor of the checkpoint at `path`.
    pub(crate) fn of(self, tensor: impl ToString, (from, to): (DType, DType), path: &Path) -> CheckpointError {
        let (tensor, path) = (tensor.to_string(), path.to_owned());
        match self {
            Self::NotFloats => CheckpointError::Cast { tensor, dtype: from.to_string(), path },
            Self::TooLarge => CheckpointError::TooLarge { tensor, dtype: to.to_string(), path },
        }
    }
}

/// Appends `bytes`, little-endian floats of type `from`, as type `to`, rounded to nearest even. Values of type float64 are
/// rounded to float32 first. NaN and infinity stay as they are; a finite number that would become infinite is a fault.
pub(crate) fn cast_floats(bytes: &[u8], from: DType, to: DType, out: &mut Vec<u8>) -> Result<(), CastFault> {
    if !from.is_float() || !to.is_weight_float() {
        return Err(CastFault::NotFloats);
    }
    if from == to {
        out.extend_from_slice(bytes);
        return Ok(());
    }
    // The smallest number that is rounded to infinity.
    let limit = match to {
        DType::F16 => 65_520.0,
        DType::BF16 => f32::from_bits(0x7f7f_8000),
        _ => f32::INFINITY,
    };
    let mut too_large = false;
    let start = out.len();
    out.resize(start + bytes.len() / from.bytes() * to.bytes(), 0);
    let mut floats = [0f32; LANES];
    for (source, target) in bytes.chunks(LANES * from.bytes()).zip(out[start..].chunks_mut(LANES * to.bytes())) {
        let floats = &mut floats[..source.len() / from.bytes()];
        widen(source, from, floats);
        // Without a branch in the loop, so that the compiler can use vector registers.
        too_large |= floats.iter().fold(false, |any, value| any | (value.is_finite() & (value.abs() >= limit)));
        if from == DType::F64 && to != DType::F64 {
            let wide = source.as_chunks::<8>().0.iter().map(|raw| f64::from_le_bytes(*raw));
            too_large |= wide.zip(floats.iter()).any(|(wide, value)| wide.is_finite() && !value.is_finite());
        }
        narrow(floats, to, target);
    }
    if too_large { Err(CastFault::TooLarge) } else { Ok(()) }
}

/// `bytes`, little-endian floats of type `from`, as float32. `None` for element types that are not floats.
pub(crate) fn read_floats(bytes: &[u8], from: DType, floats: &mut [f32]) -> Option<()> {
    if !from.is_float() {
        return None;
    }
    for (source, floats) in bytes.chunks(LANES * from.bytes()).zip(floats.chunks_mut(LANES)) {
        widen(source, from, floats);
    }
    Some(())
}

fn widen(source: &[u8], from: DType, floats: &mut [f32]) {
    match from {
        DType::BF16 => each(source, floats, |raw| f32::from_bits(u32::from(u16::from_le_bytes(raw)) << 16)),
        DType::F16 => {
            let mut halves = [f16::ZERO; LANES];
            let halves = &mut halves[..floats.len()];
            each(source, halves, f16::from_le_bytes);
            halves.convert_to_f32_slice(floats);
        }
        DType::F64 => each(source, floats, |raw| f64::from_le_bytes(raw) as f32),
        DType::F8E4M3 => each(source, floats, |[raw]| four_bits_of_exponent(raw)),
        // The upper byte of a float16.
        DType::F8E5M2 => each(source, floats, |[raw]| f16::from_le_bytes([0, raw]).to_f32()),
        _ => each(source, floats, f32::from_le_bytes),
    }
}

fn narrow(floats: &[f32], to: DType, target: &mut [u8]) {
    match to {
        DType::BF16 => each_back(floats, target, |value| bf16_bits(value).to_le_bytes()),
        DType::F16 => {
            let mut halves = [f16::ZERO; LANES];
            let halves = &mut halves[..floats.len()];
            halves.convert_from_f32_slice(floats);
            each_back(halves, target, f16::to_le_bytes);
        }
        DType::F64 => each_back(floats, target, |value| f64::from(value).to_le_bytes()),
        _ => each_back(floats, target, f32::to_le_bytes),
    }
}

/// Returns the number in a byte with four bits of exponent and three of fraction, as OCP's E4M3 has them: no infinities,
/// and one pattern that is not a number.
fn four_bits_of_exponent(raw: u8) -> f32 {
    let (exponent, fraction) = (i32::from(raw >> 3 & 15), f32::from(raw & 7));
    let magnitude = match (exponent, raw & 7) {
        (15, 7) => f32::NAN,
        (0, _) => fraction * 2f32.powi(-9),
        _ => (1.0 + fraction / 8.0) * 2f32.powi(exponent - 7),
    };
    if raw & 0x80 != 0 { -magnitude } else { magnitude }
}

/// Returns the upper half of a float32, rounded to nearest even; what is not a number stays so. Without a branch, so that
/// the compiler can use vector registers.
fn bf16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
    if value.is_nan() { (bits >> 16) as u16 | 0x40 } else { rounded }
}

fn each<const N: usize, T>(source: &[u8], target: &mut [T], value: impl Fn([u8; N]) -> T) {
    for (target, raw) in target.iter_mut().zip(source.as_chunks().0) {
        *target = value(*raw);
    }
}

fn each_back<const N: usize, T: Copy>(source: &[T], target: &mut [u8], bytes: impl Fn(T) -> [u8; N]) {
    for (raw, value) in target.as_chunks_mut().0.iter_mut().zip(source) {
        *raw = bytes(*value);
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    fn cast(bytes: &[u8], from: DType, to: DType) -> Vec<u8> {
        let mut out = Vec::new();
        // What is too large is infinite, as in the half crate.
        assert_ne!(cast_floats(bytes, from, to, &mut out), Err(CastFault::NotFloats));
        out
    }

    #[test]
    fn casts_round_to_nearest_even_and_widen_exactly() {
        let halfway = cast(&(1.0f32 + 1.0 / 256.0).to_le_bytes(), DType::F32, DType::BF16);
        assert_eq!(bf16::from_le_bytes([halfway[0], halfway[1]]).to_f32(), 1.0); // between 1 and 1.0078125: even wins
        // One unit of float32 above that tie: upwards.
        let above = cast(&1.003_906_4f32.to_le_bytes(), DType::F32, DType::BF16);
        assert_eq!(bf16::from_le_bytes([above[0], above[1]]).to_f32(), 1.007_812_5);
        assert_eq!(cast(&bf16::from_f32(-3.25).to_le_bytes(), DType::BF16, DType::F32), (-3.25f32).to_le_bytes());
        assert_eq!(cast_floats(&[0; 8], DType::I64, DType::F32, &mut Vec::new()), Err(CastFault::NotFloats));
    }

    #[test]
    fn numbers_that_would_become_infinite_are_a_fault() {
        let of = |bytes: &[u8], from, to| cast_floats(bytes, from, to, &mut Vec::new());
        for (largest, beyond, to) in [
            (65_519.9f32, 65_520.0f32, DType::F16),
            (3.389e38, 3.4e38, DType::BF16),
            (f32::MAX, f32::INFINITY, DType::F64),
        ] {
            assert_eq!(of(&(-largest).to_le_bytes(), DType::F32, to), Ok(()));
            let fault = if beyond.is_finite() { Err(CastFault::TooLarge) } else { Ok(()) };
            assert_eq!(of(&beyond.to_le_bytes(), DType::F32, to), fault);
            for already in [f32::INFINITY, f32::NAN] {
                assert_eq!(of(&already.to_le_bytes(), DType::F32, to), Ok(()));
            }
        }
        assert_eq!(of(&1e39f64.to_le_bytes(), DType::F64, DType::F32), Err(CastFault::TooLarge));
        assert_eq!(of(&1e39f64.to_le_bytes(), DType::F64, DType::BF16), Err(CastFault::TooLarge));
    }

    #[test]
    fn floats_of_one_byte_are_those_of_the_published_tables() {
        let wide = |raw: u8, dtype| f32::from_le_bytes(cast(&[raw], dtype, DType::F32).try_into().unwrap());
        for (raw, number) in
            [(0x00, 0.0), (0x01, 0.001_953_125), (0x08, 0.015_625), (0x38, 1.0), (0xb9, -1.125), (0x7e, 448.0)]
        {
            assert_eq!(wide(raw, DType::F8E4M3), number, "{raw:#x}");
        }
        assert!(wide(0x7f, DType::F8E4M3).is_nan() && wide(0x7c, DType::F8E5M2).is_infinite());
        assert_eq!((wide(0x3c, DType::F8E5M2), wide(0x7b, DType::F8E5M2)), (1.0, 57_344.0));
    }

    #[test]
    fn halves_survive_and_rounding_agrees_with_the_half_crate() {
        let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        for dtype in [DType::BF16, DType::F16] {
            let wide = cast(&all, dtype, DType::F32);
            for (raw, back) in all.as_chunks::<2>().0.iter().zip(cast(&wide, DType::F32, dtype).as_chunks::<2>().0) {
                let not_a_number = match dtype {
                    DType::BF16 => bf16::from_le_bytes(*raw).is_nan() && bf16::from_le_bytes(*back).is_nan(),
                    _ => f16::from_le_bytes(*raw).is_nan() && f16::from_le_bytes(*back).is_nan(),
                };
                assert!(raw == back || not_a_number, "{dtype} {raw:?} {back:?}");
            }
        }
        // Bit patterns from all over float32, in a length that is not a multiple of the lanes.
        let floats: Vec<f32> = (0..100_003u32).map(|n| f32::from_bits(n.wrapping_mul(2_654_435_761))).collect();
        let bytes: Vec<u8> = floats.iter().flat_map(|value| value.to_le_bytes()).collect();
        let (brains, halves) = (cast(&bytes, DType::F32, DType::BF16), cast(&bytes, DType::F32, DType::F16));
        for ((value, brain), half) in floats.iter().zip(brains.as_chunks::<2>().0).zip(halves.as_chunks::<2>().0) {
            assert_eq!(bf16::from_le_bytes(*brain).to_bits(), bf16::from_f32(*value).to_bits(), "{value}");
            assert_eq!(f16::from_le_bytes(*half).to_bits(), f16::from_f32(*value).to_bits(), "{value}");
        }
    }
}
