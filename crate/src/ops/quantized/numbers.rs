//! Rounding to the numbers of a scheme, and 8-bit floats as bytes.

use crate::spec::QuantDType;

/// Adding and subtracting it rounds to integers, halves to even.
const WHOLE: f32 = 12_582_912.0;
/// The same for steps of 2⁻⁹, which the smallest 8-bit floats have.
const SMALLEST_STEPS: f32 = 24_576.0;
/// Below this, 8-bit floats have equal steps.
const SMALLEST_NORMAL: f32 = 0.015_625;

/// What the largest magnitude of a group is mapped to: half the range of the numbers, as compressed-tensors and torchao
/// define it. Integers range from −2ⁿ⁻¹ to 2ⁿ⁻¹ − 1.
pub(super) fn half_range(numbers: QuantDType) -> f32 {
    match numbers {
        QuantDType::Int4 => 7.5,
        QuantDType::Int8 => 127.5,
        QuantDType::F8E4M3 => 448.0,
    }
}

/// Returns the smallest and the largest number.
pub(super) fn bounds(numbers: QuantDType) -> (f32, f32) {
    match numbers {
        QuantDType::Int4 => (-8.0, 7.0),
        QuantDType::Int8 => (-128.0, 127.0),
        QuantDType::F8E4M3 => (-448.0, 448.0),
    }
}

/// Returns the nearest integer within bounds, halves to even.
#[inline(always)]
pub(super) fn round_whole(x: f32, (least, most): (f32, f32)) -> f32 {
    (x.clamp(least, most) + WHOLE) - WHOLE
}

/// Returns the nearest 8-bit float within bounds, halves to even.
#[inline(always)]
pub(super) fn round_f8(x: f32) -> f32 {
    let x = x.clamp(-448.0, 448.0);
    let bits = x.to_bits();
    // Three of the 23 fraction bits are kept.
    let normal = f32::from_bits((bits + 0x7_ffff + ((bits >> 20) & 1)) & !0xf_ffff);
    let small = (x + SMALLEST_STEPS) - SMALLEST_STEPS;
    if x.abs() < SMALLEST_NORMAL { small } else { normal }
}

/// Rounds every value, in place.
pub(super) fn round_all(numbers: QuantDType, values: &mut [f32]) {
    match numbers {
        QuantDType::F8E4M3 => values.iter_mut().for_each(|x| *x = round_f8(*x)),
        QuantDType::Int4 | QuantDType::Int8 => {
            let bounds = bounds(numbers);
            values.iter_mut().for_each(|x| *x = round_whole(*x, bounds));
        }
    }
}

/// Returns the byte of a value that is an 8-bit float.
pub(super) fn f8_byte(x: f32) -> u8 {
    let sign = if x.is_sign_negative() { 0x80 } else { 0 };
    let x = x.abs();
    if x < SMALLEST_NORMAL {
        return sign | (x * 512.0) as u8;
    }
    // The exponent's bias is 7 instead of 127.
    sign | ((x.to_bits() >> 20) - (120 << 3)) as u8
}

/// Returns the value of each byte; two of them are NaN.
pub(super) fn f8_values() -> &'static [f32; 256] {
    static VALUES: std::sync::OnceLock<[f32; 256]> = std::sync::OnceLock::new();
    VALUES.get_or_init(|| {
        std::array::from_fn(|byte| {
            let (sign, exponent, fraction) = (byte >> 7, (byte >> 3) & 15, (byte & 7) as f32);
            let magnitude = match (exponent, byte & 7) {
                (15, 7) => f32::NAN,
                (0, _) => fraction / 512.0,
                _ => (1.0 + fraction / 8.0) * 2f32.powi(exponent as i32 - 7),
            };
            if sign == 1 { -magnitude } else { magnitude }
        })
    })
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;

    #[test]
    fn eight_bit_floats_are_those_of_the_library() {
        let values: Vec<f32> =
            (-46_000..46_000).map(|x| x as f32 / 100.0).chain((-999..999).map(|x| x as f32 / 3e4)).collect();
        let tensor = Tensor::new(values.as_slice(), &Device::Cpu).unwrap();
        let theirs = tensor.clamp(-448f32, 448f32).unwrap().to_dtype(DType::F8E4M3).unwrap();
        let theirs = theirs.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
        for (x, theirs) in values.into_iter().zip(theirs) {
            let ours = round_f8(x);
            assert_eq!(ours, theirs, "{x}");
            assert_eq!(f8_values()[usize::from(f8_byte(ours))], ours, "{x}");
        }
    }

    #[test]
    fn every_byte_stands_for_what_it_is_made_of() {
        for (byte, &value) in f8_values().iter().enumerate().filter(|(byte, _)| byte & 0x7f != 0x7f) {
            assert_eq!(usize::from(f8_byte(value)), byte);
        }
        assert_eq!((f8_values()[0x7e], f8_values()[0xfe], f8_values()[1]), (448.0, -448.0, 1.0 / 512.0));
    }

    #[test]
    fn halves_go_to_even_numbers_and_nothing_leaves_the_bounds() {
        let mut values = [0.5, 1.5, 2.5, -0.5, -1.5, 7.4, 7.6, -8.6, 1e9, -1e9];
        round_all(QuantDType::Int4, &mut values);
        assert_eq!(values, [0.0, 2.0, 2.0, 0.0, -2.0, 7.0, 7.0, -8.0, 7.0, -8.0]);
    }
}
