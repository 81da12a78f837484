//! Quantized tensors as a stream: a weight is read, rounded and written a block of rows at a time.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use half::{bf16, f16};
use rayon::prelude::*;

use super::QuantizePlan;
use super::report::{Missed, TensorError};
use crate::checkpoint::{Checkpoint, CheckpointError, TensorSource, cast_floats, read_floats};
use crate::ops::{Quantized, quantize_rows};
use crate::spec::{DType, ParamKind, ParamPath, Scheme, TensorRow};

/// About how many weights a block has.
const BLOCK: usize = 8 << 20;

/// Makes the tensors of a [`QuantizePlan`]; see [`QuantizePlan::source`].
pub struct QuantizingSource<'a> {
    plan: &'a QuantizePlan,
    from: &'a Checkpoint,
    rest: &'a dyn TensorSource,
    progress: &'a dyn Fn(u64),
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    /// Scales that wait for their turn to be written, by weight.
    scales: HashMap<ParamPath, Vec<f32>>,
    errors: Vec<TensorError>,
}

impl<'a> QuantizingSource<'a> {
    pub(super) fn new(
        plan: &'a QuantizePlan,
        from: &'a Checkpoint,
        rest: &'a dyn TensorSource,
        progress: &'a dyn Fn(u64),
    ) -> Self {
        Self { plan, from, rest, progress, made: Mutex::default() }
    }

    /// Returns how far each weight that was written is from what it was, in natural order.
    pub fn into_errors(self) -> Vec<TensorError> {
        let mut errors = self.made.into_inner().unwrap_or_else(PoisonError::into_inner).errors;
        errors.sort_by(|a, b| a.path.cmp(&b.path));
        errors
    }

    /// Writes the numbers of a weight and keeps its scales, which are stored as `stored`.
    fn numbers(
        &self,
        weight: &ParamPath,
        scheme: &Scheme,
        stored: DType,
        out: &mut &File,
        path: &Path,
    ) -> Result<(), CheckpointError> {
        let Some(row) = self.from.table().get(weight) else {
            let (tensor, path) = (weight.to_string(), self.from.path().to_owned());
            return Err(CheckpointError::NoTensor { tensor, path });
        };
        let inputs = row.shape.last().copied().unwrap_or(1).max(1);
        let row_bytes = inputs * row.dtype.bytes();
        let mut blocks = self.from.blocks(weight, row_bytes * (BLOCK / inputs).max(1))?;
        let (mut scales, mut missed) = (Vec::new(), Missed::default());
        let rounding = |scale: f32| rounded_to(stored, scale);
        while let Some(block) = blocks.next_block()? {
            let values = floats(block, row.dtype).ok_or_else(|| CheckpointError::Cast {
                tensor: weight.to_string(),
                dtype: row.dtype.to_string(),
                path: self.from.path().to_owned(),
            })?;
            if values.par_iter().any(|x| !x.is_finite()) {
                return Err(CheckpointError::NotFinite {
                    tensor: weight.to_string(),
                    path: self.from.path().to_owned(),
                });
            }
            let made: Quantized = quantize_rows(scheme, &values, inputs, rounding);
            if made.scales.iter().any(|scale| !scale.is_finite()) {
                return Err(CheckpointError::Scale {
                    tensor: weight.to_string(),
                    dtype: stored.to_string(),
                    path: self.from.path().to_owned(),
                });
            }
            out.write_all(&made.numbers).map_err(CheckpointError::io("writing", path))?;
            missed.add(scheme, &values, inputs, &made);
            scales.extend(made.scales);
            (self.progress)(block.len() as u64);
        }
        // A packed weight's shape is two numbers of eight bytes.
        let shape_bytes = if scheme.packed { 16 } else { 0 };
        let stored_bytes = row.shape[0] * scheme.row_bytes(inputs) + scales.len() * stored.bytes() + shape_bytes;
        let error = missed.of(weight.clone(), row, stored_bytes as u64);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.errors.push(error);
        made.scales.insert(weight.clone(), scales);
        Ok(())
    }
}

impl TensorSource for QuantizingSource<'_> {
    fn append(&self, rows: &[TensorRow], out: &mut &File, path: &Path) -> Result<(), CheckpointError> {
        let mut rows = rows;
        while let Some(row) = rows.first() {
            let Some((weight, scheme, role)) = self.plan.part(&row.path) else {
                let others = rows.iter().take_while(|row| self.plan.part(&row.path).is_none()).count();
                self.rest.append(&rows[..others], out, path)?;
                rows = &rows[others..];
                continue;
            };
            rows = &rows[1..];
            match role {
                // A scheme stores a weight as the three below.
                ParamKind::Weight | ParamKind::Bias | ParamKind::Slopes => {
                    self.rest.append(std::slice::from_ref(row), out, path)?;
                }
                ParamKind::Numbers => {
                    let source = self.from.table().get(&weight).map_or(DType::F32, |row| row.dtype);
                    // The scales' own row says what they are stored in; it may be in another shard.
                    let scales = rows.first().filter(|next| {
                        self.plan.part(&next.path).is_some_and(|(_, _, kind)| kind == ParamKind::Scales)
                    });
                    let stored = scales.map_or(source, |row| row.dtype);
                    self.numbers(&weight, &scheme, stored, out, path)?;
                }
                ParamKind::Scales => {
                    let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
                    let scales = made.scales.remove(&weight).unwrap_or_default();
                    let wide: Vec<u8> = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
                    let mut bytes = Vec::new();
                    let cast = cast_floats(&wide, DType::F32, row.dtype, &mut bytes);
                    cast.map_err(|fault| fault.of(&row.path, (row.dtype, row.dtype), path))?;
                    out.write_all(&bytes).map_err(CheckpointError::io("writing", path))?;
                }
                ParamKind::Shape => {
                    let dims = self.from.table().get(&weight).map(|row| row.shape.clone()).unwrap_or_default();
                    let bytes: Vec<u8> = dims.iter().flat_map(|dim| (*dim as i64).to_le_bytes()).collect();
                    out.write_all(&bytes).map_err(CheckpointError::io("writing", path))?;
                }
            }
        }
        Ok(())
    }
}

/// Little-endian floats as float32, on all cores; `None` for element types that are not floats.
fn floats(bytes: &[u8], dtype: DType) -> Option<Vec<f32>> {
    const SHARE: usize = 1 << 16;
    let mut floats = vec![0f32; bytes.len() / dtype.bytes()];
    let shares = floats.par_chunks_mut(SHARE).zip(bytes.par_chunks(SHARE * dtype.bytes()));
    let read: Option<()> = shares.map(|(floats, bytes)| read_floats(bytes, dtype, floats)).collect();
    read.map(|()| floats)
}

/// Returns a scale as the element type keeps it, infinite if it is too large for that; one too small for the type
/// becomes its smallest number.
fn rounded_to(dtype: DType, scale: f32) -> f32 {
    match dtype {
        DType::BF16 => bf16::from_f32(scale).to_f32(),
        DType::F16 => f16::from_f32(scale.abs()).max(f16::from_bits(1)).to_f32().copysign(scale),
        _ => scale,
    }
}
