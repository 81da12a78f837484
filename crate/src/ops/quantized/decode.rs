//! Decodes rows of numbers into values.

use super::numbers::f8_values;
use crate::spec::{QuantDType, Scheme};

/// The numbers of a row, as float32 and without their scales. Groups start at the beginning of the row.
#[inline(always)]
pub(super) fn numbers(scheme: &Scheme, bytes: &[u8], out: &mut [f32]) {
    match (scheme.packed, scheme.weights) {
        (_, QuantDType::F8E4M3) => {
            let values = f8_values();
            out.iter_mut().zip(bytes).for_each(|(out, byte)| *out = values[usize::from(*byte)]);
        }
        (true, QuantDType::Int4) => {
            let half = bytes.get(out.len() / 2);
            let mut pairs = out.chunks_exact_mut(2);
            for (pair, byte) in (&mut pairs).zip(bytes) {
                pair[0] = (i32::from(byte & 15) - 8) as f32;
                pair[1] = (i32::from(byte >> 4) - 8) as f32;
            }
            if let ([last], Some(byte)) = (pairs.into_remainder(), half) {
                *last = (i32::from(byte & 15) - 8) as f32;
            }
        }
        (true, QuantDType::Int8) => {
            out.iter_mut().zip(bytes).for_each(|(out, byte)| *out = (i32::from(*byte) - 128) as f32);
        }
        (false, QuantDType::Int4 | QuantDType::Int8) => {
            out.iter_mut().zip(bytes).for_each(|(out, byte)| *out = f32::from(byte.cast_signed()));
        }
    }
}

/// The values of a row: numbers times their scales.
pub(crate) fn values(scheme: &Scheme, bytes: &[u8], scales: &[f32], out: &mut [f32]) {
    numbers(scheme, bytes, out);
    let size = scheme.group_size(out.len());
    for (group, scale) in out.chunks_mut(size).zip(scales) {
        group.iter_mut().for_each(|x| *x *= scale);
    }
}

/// Returns the numbers of a row of integers as signed bytes.
pub(super) fn whole_numbers(scheme: &Scheme, bytes: &[u8], out: &mut [i8]) {
    match (scheme.packed, scheme.weights) {
        (true, QuantDType::Int4) => {
            let half = bytes.get(out.len() / 2);
            let mut pairs = out.chunks_exact_mut(2);
            for (pair, byte) in (&mut pairs).zip(bytes) {
                pair[0] = (byte & 15).cast_signed() - 8;
                pair[1] = (byte >> 4).cast_signed() - 8;
            }
            if let ([last], Some(byte)) = (pairs.into_remainder(), half) {
                *last = (byte & 15).cast_signed() - 8;
            }
        }
        (true, _) => out.iter_mut().zip(bytes).for_each(|(out, byte)| *out = (byte ^ 0x80).cast_signed()),
        (false, _) => out.iter_mut().zip(bytes).for_each(|(out, byte)| *out = byte.cast_signed()),
    }
}
