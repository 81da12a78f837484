//! Tensors that are left out of a conversion because models compute them: what they hold is compared with that.

use crate::checkpoint::{Checkpoint, CheckpointError, read_floats};
use crate::spec::{DType, ModelConfig, ParamPath, PositionEmbedding, RopeConfig};

/// Why a tensor may be left out, or must not be.
pub(crate) enum Dropped {
    /// It holds what the model computes, or its content is not known: the reason says which.
    Named(&'static str),
    /// It holds other values than the model computes.
    Contradicts(&'static str),
}

/// Larger tensors are not read, because buffers are smaller.
const LARGEST: u64 = 64 << 20;

/// Largest relative difference from what the model computes. Files hold buffers in bfloat16, too.
const TOLERANCE: f32 = 0.01;

/// Compares a tensor that is to be left out with what a model of `config` computes.
pub(crate) fn dropped(source: &Checkpoint, name: &ParamPath, config: &ModelConfig) -> Result<Dropped, CheckpointError> {
    let unknown = Dropped::Named("left out as the family's file says; what it holds was not compared");
    let Some(row) = source.table().get(name).filter(|row| row.bytes() <= LARGEST) else { return Ok(unknown) };
    let Some(values) = numbers(source, name)? else { return Ok(unknown) };
    let verdict = |same: bool, safe: &'static str, other: &'static str| {
        if same { Dropped::Named(safe) } else { Dropped::Contradicts(other) }
    };
    Ok(match row.shape.as_slice() {
        _ if is_rotary(name) => match rope_of(config) {
            None => Dropped::Contradicts("rotary values, although the configuration has no rotary positions"),
            Some((rope, head_dim)) => verdict(
                rotates_alike(name, &values, rope, head_dim),
                "a rotary buffer that holds what the model computes",
                "rotary values that differ from those of the configuration",
            ),
        },
        [] | [1] if values.iter().all(|value| *value <= -1e3) => Dropped::Named("the value of masked scores"),
        [.., rows, columns]
            if rows == columns && *rows > 1 && values.len() == rows * columns && name.last() != "weight" =>
        {
            verdict(is_causal(&values, *rows), "the causal mask, which the model computes", "a mask that is not causal")
        }
        [.., places]
            if *places == values.len() && values.iter().enumerate().all(|(index, value)| *value == index as f32) =>
        {
            Dropped::Named("the position ids")
        }
        _ => unknown,
    })
}

fn is_rotary(name: &ParamPath) -> bool {
    ["inv_freq", "cos_cached", "sin_cached"].contains(&name.last())
}

fn rope_of(config: &ModelConfig) -> Option<(&RopeConfig, usize)> {
    match &config.position {
        PositionEmbedding::Rope(rope) => Some((rope, config.head_dim)),
        _ => None,
    }
}

/// Frequencies, or cosines or sines of every position for both halves of a head.
fn rotates_alike(name: &ParamPath, values: &[f32], rope: &RopeConfig, head_dim: usize) -> bool {
    let frequencies = rope.inverse_frequencies(head_dim);
    let near = |value: f32, expected: f32, size: f32| (value - expected).abs() <= TOLERANCE * size;
    if name.last() == "inv_freq" {
        let pairs = values.iter().zip(&frequencies);
        return values.len() == frequencies.len()
            && pairs.into_iter().all(|(value, one)| near(*value, *one, one.abs()));
    }
    let angle = if name.last() == "cos_cached" { f64::cos } else { f64::sin };
    let expected = |index: usize| {
        let (position, place) = (index / head_dim, index % head_dim);
        angle(position as f64 * f64::from(frequencies[place % frequencies.len()])) as f32
    };
    // Angles of late positions depend on how frequencies were rounded.
    let first = values.iter().take(64 * head_dim).enumerate();
    values.len().is_multiple_of(head_dim.max(1))
        && first.into_iter().all(|(index, value)| near(*value, expected(index), 1.0))
}

/// Returns true for ones where a token attends to another, or for zeros there and large negative values elsewhere.
fn is_causal(values: &[f32], size: usize) -> bool {
    let seen = |index: usize| index % size <= index / size;
    let ones = values.iter().enumerate().all(|(index, value)| *value == f32::from(u8::from(seen(index))));
    let added = |(index, value): (usize, &f32)| if seen(index) { *value == 0.0 } else { *value <= -1e3 };
    ones || values.iter().enumerate().all(added)
}

/// Returns the elements, if they are numbers.
fn numbers(source: &Checkpoint, name: &ParamPath) -> Result<Option<Vec<f32>>, CheckpointError> {
    let data = source.read(name)?;
    let mut floats = vec![0f32; data.shape.iter().product()];
    if read_floats(&data.bytes, data.dtype, &mut floats).is_some() {
        return Ok(Some(floats));
    }
    Ok(match data.dtype {
        DType::U8 | DType::Bool => Some(data.bytes.iter().map(|byte| f32::from(*byte)).collect()),
        DType::I64 => Some(data.bytes.as_chunks().0.iter().map(|raw| i64::from_le_bytes(*raw) as f32).collect()),
        DType::I32 => Some(data.bytes.as_chunks().0.iter().map(|raw| i32::from_le_bytes(*raw) as f32).collect()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_causal_as_ones_or_as_numbers_that_mask() {
        assert!(is_causal(&[1.0, 0.0, 1.0, 1.0], 2) && is_causal(&[0.0, -1e9, 0.0, 0.0], 2));
        assert!(!is_causal(&[1.0, 1.0, 1.0, 1.0], 2) && !is_causal(&[0.0, -1.0, 0.0, 0.0], 2));
    }

    #[test]
    fn rotary_buffers_are_those_of_the_configuration() {
        let rope = RopeConfig::PLAIN;
        let own = rope.inverse_frequencies(8);
        assert!(rotates_alike(&"inv_freq".into(), &own, &rope, 8));
        let other = RopeConfig { theta: 500_000.0, ..RopeConfig::PLAIN }.inverse_frequencies(8);
        assert!(!rotates_alike(&"inv_freq".into(), &other, &rope, 8));
        assert!(!rotates_alike(&"inv_freq".into(), &own[..3], &rope, 8));
        let cosines = |own: &[f32]| -> Vec<f32> {
            (0..10).flat_map(|at| own.iter().chain(own).map(move |one| (at as f32 * one).cos())).collect()
        };
        assert!(rotates_alike(&"cos_cached".into(), &cosines(&own), &rope, 8));
        assert!(!rotates_alike(&"cos_cached".into(), &cosines(&other), &rope, 8));
        assert!(!rotates_alike(&"sin_cached".into(), &cosines(&own), &rope, 8));
    }
}
