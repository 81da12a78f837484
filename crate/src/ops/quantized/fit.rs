//! Fits numbers and scales to weights.

use rayon::prelude::*;

use super::numbers::{bounds, f8_byte, half_range, round_all, round_whole};
use crate::spec::{Granularity, QuantDType, Scheme};

/// Number of scales that are tried for a group of 4-bit numbers: the one that maps the group's largest magnitude to −8, one
/// slightly larger, and smaller ones in steps of a 32nd, which clip a few weights for finer steps of all others.
pub(super) const TRIED: usize = 9;

/// A low-bit matrix.
pub(crate) struct Quantized {
    /// Rows of numbers, as [`Scheme::row_bytes`] says.
    pub(crate) numbers: Vec<u8>,
    /// Scales, row by row.
    pub(crate) scales: Vec<f32>,
}

/// Returns the largest magnitude; NaN if there is one.
#[inline(always)]
pub(super) fn largest(values: &[f32]) -> f32 {
    let mut strands = [0f32; 8];
    let blocks = values.chunks_exact(8);
    for x in blocks.remainder() {
        strands[0] = if x.abs() > strands[0] { x.abs() } else { strands[0] };
    }
    for block in blocks {
        for (strand, x) in strands.iter_mut().zip(block) {
            *strand = if x.abs() > *strand { x.abs() } else { *strand };
        }
    }
    strands.into_iter().fold(0.0, |most, x| if x > most { x } else { most })
}

/// Returns the scale of a group of weights, rounded to the type that it is stored in by `stored`.
///
/// For 4-bit numbers it is the candidate with the least squared error, and negative where the largest magnitude is a positive
/// weight, so that this weight can be −8, which the numbers reach, while they do not reach 8. Compared with the largest
/// magnitude divided by 7.5 this reduces the error by an eighth. 8-bit numbers would not gain.
pub(super) fn scale_of(numbers: QuantDType, values: &[f32], stored: impl Fn(f32) -> f32) -> f32 {
    let most = largest(values);
    if numbers != QuantDType::Int4 {
        return nonzero(stored(most / half_range(numbers)));
    }
    let whole = if values.contains(&most) { most / -8.0 } else { most / 8.0 };
    let bounds = bounds(numbers);
    let error = |scale: f32| {
        let inverse = 1.0 / scale;
        let mut strands = [0f32; 8];
        let blocks = values.chunks_exact(8);
        let one = |x: f32| {
            let missed = round_whole(x * inverse, bounds) * scale - x;
            missed * missed
        };
        strands[0] = blocks.remainder().iter().map(|x| one(*x)).sum();
        for block in blocks {
            for (strand, x) in strands.iter_mut().zip(block) {
                *strand += one(*x);
            }
        }
        strands.into_iter().sum::<f32>()
    };
    let (mut best, mut least) = (nonzero(stored(whole)), f32::INFINITY);
    for smaller in 0..TRIED {
        let scale = nonzero(stored(whole * ((33 - smaller) as f32 / 32.0)));
        let found = error(scale);
        if found < least {
            (best, least) = (scale, found);
        }
    }
    best
}

/// A group of zeros also has a scale.
pub(super) fn nonzero(scale: f32) -> f32 {
    if scale == 0.0 { f32::EPSILON } else { scale }
}

/// Quantizes a matrix with rows of `inputs` finite values; `stored` rounds scales to the type that they will be stored in.
pub(crate) fn quantize_rows(
    scheme: &Scheme,
    values: &[f32],
    inputs: usize,
    stored: impl Fn(f32) -> f32 + Sync,
) -> Quantized {
    let (groups, size, bytes) = (scheme.groups(inputs), scheme.group_size(inputs), scheme.row_bytes(inputs));
    let rows = values.len() / inputs.max(1);
    let of_all = (scheme.granularity == Granularity::Tensor).then(|| scale_of(scheme.weights, values, &stored));
    let mut numbers = vec![0u8; rows * bytes];
    let mut scales = vec![0f32; rows * groups];
    let each = numbers.par_chunks_mut(bytes.max(1)).zip(scales.par_chunks_mut(groups)).zip(values.par_chunks(inputs));
    each.with_min_len(super::super::rows::per_task(inputs)).for_each_init(
        || vec![0f32; inputs],
        |buffer, ((numbers, scales), values)| {
            let parts = buffer.chunks_mut(size).zip(values.chunks(size)).zip(scales);
            for ((rounded, values), scale) in parts {
                *scale = of_all.unwrap_or_else(|| scale_of(scheme.weights, values, &stored));
                rounded.iter_mut().zip(values).for_each(|(rounded, x)| *rounded = *x / *scale);
                round_all(scheme.weights, rounded);
            }
            encode(scheme, buffer, numbers);
        },
    );
    if let Some(scale) = of_all {
        scales = vec![scale];
    }
    Quantized { numbers, scales }
}

/// Writes integers or 8-bit floats, given as values, into the bytes of a row. Packed numbers are offset by the lowest one, with
/// the first in the lowest bits.
fn encode(scheme: &Scheme, rounded: &[f32], bytes: &mut [u8]) {
    match (scheme.packed, scheme.weights) {
        (_, QuantDType::F8E4M3) => bytes.iter_mut().zip(rounded).for_each(|(byte, x)| *byte = f8_byte(*x)),
        (true, QuantDType::Int4) => {
            let pairs = rounded.chunks(2).map(|pair| {
                let high = pair.get(1).map_or(0, |x| (*x + 8.0) as u8);
                (pair[0] + 8.0) as u8 | high << 4
            });
            bytes.iter_mut().zip(pairs).for_each(|(byte, pair)| *byte = pair);
        }
        (true, QuantDType::Int8) => bytes.iter_mut().zip(rounded).for_each(|(byte, x)| *byte = (*x + 128.0) as u8),
        (false, QuantDType::Int4 | QuantDType::Int8) => {
            bytes.iter_mut().zip(rounded).for_each(|(byte, x)| *byte = (*x as i8).cast_unsigned());
        }
    }
}
