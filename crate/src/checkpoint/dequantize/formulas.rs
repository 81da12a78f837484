//! Numbers of 8 bits with scales: one for the tensor, for each row, for groups of columns, or for blocks of both.

use std::sync::Arc;

use super::{Found, Source, by_rows, fault, floats};
use crate::checkpoint::CheckpointError;
use crate::checkpoint::derived::{Compute, Stored};
use crate::spec::DType;

/// Values of four bits: a sign, two bits of exponent and one of fraction.
pub(super) const E2M1: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// A weight times its scales. A weight of several dimensions is a stack of matrices, and so are its scales.
#[derive(Debug)]
struct Scaled {
    weights: Stored,
    scales: Stored,
    zero: Option<Stored>,
    /// Whether a byte holds two numbers of four bits.
    nibbles: bool,
    /// Rows and columns of a matrix, and of its scales.
    matrix: (usize, usize),
    grid: (usize, usize),
    /// Rows and columns that one scale is for.
    block: (usize, usize),
    dtype: DType,
}

/// Returns the weight that 8-bit numbers and their scales stand for.
pub(super) fn scaled(
    source: &Source<'_>,
    weights: &Stored,
    scales: &Stored,
    zero: Option<Stored>,
    parts: Vec<String>,
) -> Result<Found, CheckpointError> {
    let mut shape = weights.shape().to_vec();
    let nibbles = weights.dtype() == DType::I8 && scales.name().ends_with("_scale_inv");
    if !weights.dtype().is_low_bit() {
        return Err(fault(weights, format!("it has scales, but is {}", weights.dtype())));
    }
    if let Some(columns) = shape.last_mut().filter(|_| nibbles) {
        *columns *= 2;
    }
    let &[ref stack @ .., rows, columns] = shape.as_slice() else {
        return Err(fault(weights, "it is not a matrix"));
    };
    let matrices: usize = stack.iter().product();
    let elements: usize = scales.shape().iter().product();
    let grid = match scales.shape() {
        _ if elements == matrices && matrices > 0 => (1, 1),
        [.., rows, columns] if elements == matrices * rows * columns => (*rows, *columns),
        [one] if matrices == 1 && *one == rows => (rows, 1),
        other => {
            return Err(fault(scales, format!("its shape {other:?} does not fit a weight of {:?}", weights.shape())));
        }
    };
    let block = match declared_block(source) {
        Some((high, wide)) if (rows.div_ceil(high), columns.div_ceil(wide)) == grid => (high, wide),
        _ => (rows.div_ceil(grid.0.max(1)), columns.div_ceil(grid.1.max(1))),
    };
    if (rows.div_ceil(block.0.max(1)), columns.div_ceil(block.1.max(1))) != grid {
        return Err(fault(scales, format!("its {grid:?} scales do not divide a weight of {rows} × {columns}")));
    }
    if let Some(zero) = zero.as_ref().filter(|zero| zero.shape().iter().product::<usize>() != elements) {
        return Err(fault(zero, "it does not have the shape of the scales"));
    }
    let formula = Scaled {
        weights: weights.clone(),
        scales: scales.clone(),
        zero,
        nibbles,
        matrix: (rows, columns),
        grid,
        block,
        dtype: source.dtype,
    };
    let name = weights.name().to_owned();
    Ok(Found { place: name.clone(), name, shape, formula: Arc::new(formula), parts })
}

/// The block that config.json names, such as `[128, 128]`.
fn declared_block(source: &Source<'_>) -> Option<(usize, usize)> {
    let block = source.setting("weight_block_size")?.as_array()?;
    let size = |at: usize| usize::try_from(block.get(at)?.as_u64()?).ok().filter(|size| *size > 0);
    Some((size(0)?, size(1)?))
}

impl Compute for Scaled {
    fn compute(&self) -> Result<Vec<u8>, CheckpointError> {
        let (rows, columns) = self.matrix;
        let numbers = match self.nibbles {
            true => {
                let bytes = self.weights.read()?;
                bytes.iter().flat_map(|byte| [E2M1[usize::from(byte & 15)], E2M1[usize::from(byte >> 4)]]).collect()
            }
            false => floats(&self.weights)?,
        };
        let scales = floats(&self.scales)?;
        let zeros = self.zero.as_ref().map(floats).transpose()?;
        let all = numbers.len() / columns.max(1);
        by_rows(&self.weights, (all, columns), self.dtype, |row, out| {
            let (matrix, row_in) = (row / rows, row % rows);
            let first = (matrix * self.grid.0 + row_in / self.block.0) * self.grid.1;
            for (column, value) in out.iter_mut().enumerate() {
                let scale = first + column / self.block.1;
                let number = numbers[row * columns + column];
                let zero = zeros.as_ref().map_or(0.0, |zeros| zeros[scale]);
                *value = (number - zero) * scales[scale];
            }
        })
    }
}
