//! Weights that other tools quantized, as the numbers that they stand for: FP8 with scales of blocks, MXFP4 and NVFP4, GPTQ,
//! AWQ, bitsandbytes, and the formats of compressed-tensors.
//!
//! The tensors that stand for a weight are recognized by their names. The weight takes their place, and is computed when it is
//! read, by the formula of the tool; every number is rounded once, to the type that was asked for.

mod bitsandbytes;
mod formulas;
mod packed;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::derived::{Compute, Stored};
use super::header::Extent;
use super::{Checkpoint, CheckpointError};
use crate::spec::{DType, ParamPath};

/// Endings of tensors that stand next to a quantized weight, and are not needed for its numbers.
const LEFT_OUT: &[&str] = &[
    ".input_scale",
    ".output_scale",
    ".input_zero_point",
    ".output_zero_point",
    ".input_global_scale",
    ".activation_scale",
    ".input_scale_ub",
    ".k_scale",
    ".v_scale",
    ".q_scale",
    ".weight_format",
];

/// A weight to compute, and the tensors that it is computed from.
struct Found {
    name: String,
    shape: Vec<usize>,
    formula: Arc<dyn Compute>,
    /// The tensor whose place it takes.
    place: String,
    /// Tensors that stand for it.
    parts: Vec<String>,
}

/// The tensors of a checkpoint by name, and what its config.json says of their quantization.
struct Source<'a> {
    tensors: BTreeMap<String, Stored>,
    settings: &'a Value,
    dtype: DType,
}

impl Source<'_> {
    fn get(&self, name: &str) -> Option<Stored> {
        self.tensors.get(name).cloned()
    }

    /// A tensor that a weight needs.
    fn need(&self, name: &str, of: &Stored) -> Result<Stored, CheckpointError> {
        self.get(name).ok_or_else(|| CheckpointError::Quantized {
            tensor: of.name().to_owned(),
            what: format!("`{name}` is missing"),
            path: of.path().to_owned(),
        })
    }

    fn setting(&self, name: &str) -> Option<&Value> {
        self.settings.get(name).filter(|value| !value.is_null())
    }
}

/// Returns the error for a quantized weight that cannot be read.
fn fault(of: &Stored, what: impl Into<String>) -> CheckpointError {
    CheckpointError::Quantized { tensor: of.name().to_owned(), what: what.into(), path: of.path().to_owned() }
}

impl Checkpoint {
    /// Replaces quantized weights by the numbers that they stand for, as `dtype`. `settings` is the block
    /// `quantization_config` of config.json, or null. A note says how many there were.
    ///
    /// # Errors
    /// [`CheckpointError::Quantized`] for a weight of a kind that is not known, or whose parts do not fit.
    pub(crate) fn dequantized(mut self, settings: &Value, dtype: DType) -> Result<Self, CheckpointError> {
        let tensors = self
            .shards
            .iter()
            .flat_map(|file| file.tensors.iter().map(|extent| (extent.name.clone(), Stored::new(file, extent))));
        let source = Source { tensors: tensors.collect(), settings, dtype };
        let mut found: BTreeMap<String, Found> = BTreeMap::new();
        for (name, stored) in &source.tensors {
            if let Some(one) = recognized(&source, name, stored)? {
                found.insert(one.place.clone(), one);
            }
        }
        let parts: HashSet<&String> = found.values().flat_map(|one| &one.parts).collect();
        let count = found.len();
        for shard in &mut self.shards {
            shard.tensors.retain_mut(|extent| {
                if let Some(one) = found.get(&extent.name) {
                    let len = one.shape.iter().product::<usize>() * dtype.bytes();
                    *extent = Extent {
                        name: one.name.clone(),
                        dtype,
                        shape: one.shape.clone(),
                        start: extent.start,
                        len: len as u64,
                        derived: Some(Arc::clone(&one.formula)),
                    };
                    return true;
                }
                !parts.contains(&extent.name) && !LEFT_OUT.iter().any(|ending| extent.name.ends_with(ending))
            });
        }
        let mut checkpoint = self.renamed(|name: &ParamPath| Some(name.clone()))?;
        if count > 0 {
            checkpoint.note(format!("{count} quantized weights were dequantized to {dtype}"));
        }
        Ok(checkpoint)
    }
}

/// Returns the weight that a tensor stands for, if it is the first of those that do.
fn recognized(source: &Source<'_>, name: &str, stored: &Stored) -> Result<Option<Found>, CheckpointError> {
    if let Some(weight) = name.strip_suffix("_scale_inv") {
        let Some(weights) = source.get(weight) else { return Ok(None) };
        return formulas::scaled(source, &weights, stored, None, vec![name.to_owned()]).map(Some);
    }
    if let Some(weight) = name.strip_suffix("_blocks") {
        let Some(scales) = source.get(&format!("{weight}_scales")) else { return Ok(None) };
        return packed::mxfp4_experts(source, weight, stored, &scales).map(Some);
    }
    if let Some(module) = name.strip_suffix(".qweight") {
        return packed::gptq_or_awq(source, module, stored).map(Some);
    }
    if let Some(weight) = name.strip_suffix(".absmax").filter(|weight| !weight.ends_with(".nested")) {
        return bitsandbytes::four_bits(source, weight, stored).map(Some);
    }
    if let Some(module) = name.strip_suffix(".SCB") {
        return bitsandbytes::eight_bits(source, module, stored).map(Some);
    }
    if let Some(module) = name.strip_suffix(".weight_packed") {
        return packed::compressed(source, module, stored).map(Some);
    }
    if let Some(module) = name.strip_suffix(".weight_scale") {
        let Some(weights) = source.get(&format!("{module}.weight")) else { return Ok(None) };
        // The scales of something else are those of its own kind.
        if !weights.dtype().is_low_bit() {
            return Ok(None);
        }
        let zero = source.get(&format!("{module}.weight_zero_point"));
        let mut parts = vec![name.to_owned()];
        parts.extend(zero.iter().map(|zero| zero.name().to_owned()));
        parts.push(format!("{module}.weight_shape"));
        return formulas::scaled(source, &weights, stored, zero, parts).map(Some);
    }
    Ok(None)
}

/// Reads a tensor as float32.
fn floats(stored: &Stored) -> Result<Vec<f32>, CheckpointError> {
    let bytes = stored.read()?;
    let width = stored.dtype().bytes();
    let mut out = vec![0.0; bytes.len() / width];
    match stored.dtype() {
        DType::I8 => bytes.iter().zip(&mut out).for_each(|(byte, value)| *value = f32::from(byte.cast_signed())),
        DType::U8 => bytes.iter().zip(&mut out).for_each(|(byte, value)| *value = f32::from(*byte)),
        DType::I32 => {
            let words = bytes.as_chunks::<4>().0.iter();
            words.zip(&mut out).for_each(|(word, value)| *value = i32::from_le_bytes(*word) as f32);
        }
        other => super::elements::cast::read_floats(&bytes, other, &mut out)
            .ok_or_else(|| fault(stored, format!("it is {other}, not numbers")))?,
    }
    Ok(out)
}

/// Reads a tensor of 32-bit words.
fn words(stored: &Stored) -> Result<Vec<u32>, CheckpointError> {
    if stored.dtype() != DType::I32 {
        return Err(fault(stored, format!("it is {}, not int32", stored.dtype())));
    }
    Ok(stored.read()?.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect())
}

/// Returns the bytes of a tensor whose rows are computed one by one, on all cores.
fn by_rows(
    of: &Stored,
    (rows, columns): (usize, usize),
    dtype: DType,
    fill: impl Fn(usize, &mut [f32]) + Sync,
) -> Result<Vec<u8>, CheckpointError> {
    use rayon::prelude::*;
    if rows * columns == 0 {
        return Ok(Vec::new());
    }
    let mut out = vec![0u8; rows * columns * dtype.bytes()];
    out.par_chunks_mut(columns * dtype.bytes()).enumerate().try_for_each_init(
        || (vec![0f32; columns], Vec::new(), Vec::new()),
        |(row, raw, cast), (index, target)| {
            fill(index, row);
            raw.clear();
            raw.extend(row.iter().flat_map(|value| value.to_le_bytes()));
            cast.clear();
            super::elements::cast::cast_floats(raw, DType::F32, dtype, cast)
                .map_err(|fault| fault.of(of.name(), (DType::F32, dtype), of.path()))?;
            target.copy_from_slice(cast);
            Ok::<(), CheckpointError>(())
        },
    )?;
    Ok(out)
}
