//! Weights of bitsandbytes: a table of sixteen values with a scale for each block, or integers of eight bits with one for
//! each row.

use std::sync::Arc;

use serde_json::Value;

use super::{Found, Source, by_rows, fault, floats};
use crate::checkpoint::CheckpointError;
use crate::checkpoint::derived::{Compute, Stored};
use crate::spec::DType;

/// Scales that are quantized themselves: indices into a table, with a scale for each block and an offset.
#[derive(Debug)]
struct Nested {
    table: Stored,
    scales: Stored,
    block: usize,
    offset: f32,
}

#[derive(Debug)]
struct FourBits {
    weights: Stored,
    scales: Stored,
    table: Stored,
    nested: Option<Nested>,
    block: usize,
    shape: (usize, usize),
    dtype: DType,
}

pub(super) fn four_bits(source: &Source<'_>, weight: &str, scales: &Stored) -> Result<Found, CheckpointError> {
    let weights = source.need(weight, scales)?;
    let part = |name: &str| format!("{weight}.{name}");
    let states = source.tensors.range(part("quant_state.bitsandbytes__")..);
    let state =
        states.map(|(_, state)| state).find(|state| state.name().starts_with(&part("quant_state.bitsandbytes__")));
    let Some(state) = state else { return Err(fault(&weights, "its `quant_state` is missing")) };
    let said: Value = serde_json::from_slice(&state.read()?)
        .map_err(|error| fault(state, format!("it is not a description in JSON: {error}")))?;
    let size = |name: &str| said[name].as_u64().and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0);
    let shape: Vec<usize> = said["shape"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|size| usize::try_from(size.as_u64()?).ok())
        .collect();
    let (Some(block), &[rows, columns]) = (size("blocksize"), shape.as_slice()) else {
        return Err(fault(state, "it does not name a shape of two sizes and a `blocksize`"));
    };
    let elements = rows.checked_mul(columns).filter(|elements| *elements <= usize::MAX / 8);
    let bytes: usize = weights.shape().iter().product::<usize>() * weights.dtype().bytes();
    let blocks: usize = scales.shape().iter().product();
    let Some(elements) =
        elements.filter(|elements| elements.div_ceil(2) <= bytes && elements.div_ceil(block) <= blocks)
    else {
        return Err(fault(
            &weights,
            format!("{rows} × {columns} numbers do not fit its {bytes} bytes and {blocks} scales"),
        ));
    };
    let _ = elements;
    let table = source.need(&part("quant_map"), &weights)?;
    if table.shape() != [16] {
        return Err(fault(&table, "it does not have 16 values"));
    }
    let nested = match source.get(&part("nested_absmax")) {
        None => None,
        Some(nested) => {
            let table = source.need(&part("nested_quant_map"), &weights)?;
            let Some(block) = size("nested_blocksize").filter(|block| {
                table.shape() == [256] && blocks.div_ceil(*block) <= nested.shape().iter().product::<usize>()
            }) else {
                return Err(fault(&nested, "it does not fit the scales"));
            };
            let offset = said["nested_offset"].as_f64().unwrap_or(0.0) as f32;
            Some(Nested { table, scales: nested, block, offset })
        }
    };
    let names = ["absmax", "quant_map", "nested_absmax", "nested_quant_map"];
    let mut parts = names.map(part).to_vec();
    parts.push(state.name().to_owned());
    let (scales, shape, dtype) = (scales.clone(), (rows, columns), source.dtype);
    let formula = FourBits { weights, scales, table, nested, block, shape, dtype };
    let name = weight.to_owned();
    Ok(Found { place: name.clone(), name, shape: vec![rows, columns], formula: Arc::new(formula), parts })
}

impl Compute for FourBits {
    fn compute(&self) -> Result<Vec<u8>, CheckpointError> {
        let (bytes, table) = (self.weights.read()?, floats(&self.table)?);
        let scales = match &self.nested {
            None => floats(&self.scales)?,
            Some(nested) => {
                let (indices, values, scales) = (self.scales.read()?, floats(&nested.table)?, floats(&nested.scales)?);
                let one =
                    |(at, index): (usize, &u8)| values[usize::from(*index)] * scales[at / nested.block] + nested.offset;
                indices.iter().enumerate().map(one).collect()
            }
        };
        let (rows, columns) = self.shape;
        by_rows(&self.weights, (rows, columns), self.dtype, |row, out| {
            for (column, value) in out.iter_mut().enumerate() {
                let at = row * columns + column;
                let nibble = if at.is_multiple_of(2) { bytes[at / 2] >> 4 } else { bytes[at / 2] & 15 };
                *value = table[usize::from(nibble)] * scales[at / self.block];
            }
        })
    }
}

#[derive(Debug)]
struct EightBits {
    weights: Stored,
    scales: Stored,
    shape: (usize, usize),
    dtype: DType,
}

pub(super) fn eight_bits(source: &Source<'_>, module: &str, scales: &Stored) -> Result<Found, CheckpointError> {
    let weights = source.need(&format!("{module}.weight"), scales)?;
    let shape = match weights.shape() {
        &[rows, columns] if scales.shape().iter().product::<usize>() == rows && weights.dtype() == DType::I8 => {
            (rows, columns)
        }
        other => return Err(fault(&weights, format!("{} of {other:?} does not fit its scales", weights.dtype()))),
    };
    let name = weights.name().to_owned();
    let formula = EightBits { weights, scales: scales.clone(), shape, dtype: source.dtype };
    let parts = vec![scales.name().to_owned()];
    Ok(Found { place: name.clone(), name, shape: vec![shape.0, shape.1], formula: Arc::new(formula), parts })
}

impl Compute for EightBits {
    fn compute(&self) -> Result<Vec<u8>, CheckpointError> {
        let (numbers, scales) = (floats(&self.weights)?, floats(&self.scales)?);
        let columns = self.shape.1;
        by_rows(&self.weights, self.shape, self.dtype, |row, out| {
            for (value, number) in out.iter_mut().zip(&numbers[row * columns..]) {
                // One over 127, as the tool rounds it.
                *value = number * scales[row] * 7.874_016e-3;
            }
        })
    }
}
