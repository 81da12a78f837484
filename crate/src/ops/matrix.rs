//! Matrices in the narrow type that they are stored in, for code that computes without tensors.

use std::ops::Range;

use half::{bf16, f16};

use super::mixed_linear::{Narrow, Widened};

/// Numbers, row-major.
pub(crate) enum Numbers {
    F32(Vec<f32>),
    BF16(Vec<bf16>),
    F16(Vec<f16>),
}

/// A matrix W `[outputs, inputs]`.
pub(crate) struct Matrix {
    numbers: Numbers,
    inputs: usize,
}

impl Matrix {
    /// Rows of `inputs` numbers each.
    pub(crate) fn new(numbers: Numbers, inputs: usize) -> Self {
        Self { numbers, inputs }
    }

    /// Returns the number of rows.
    pub(crate) fn outputs(&self) -> usize {
        let elements = match &self.numbers {
            Numbers::F32(values) => values.len(),
            Numbers::BF16(values) => values.len(),
            Numbers::F16(values) => values.len(),
        };
        elements / self.inputs.max(1)
    }

    /// Returns the same numbers in rows of `inputs` each.
    pub(crate) fn with_inputs(self, inputs: usize) -> Self {
        Self { inputs, ..self }
    }

    /// Returns the transpose.
    pub(crate) fn transposed(self) -> Self {
        fn turned<T: Copy>(values: &[T], width: usize) -> Vec<T> {
            let height = values.len() / width.max(1);
            (0..width).flat_map(|column| (0..height).map(move |row| values[row * width + column])).collect()
        }
        let (inputs, width) = (self.outputs(), self.inputs);
        let numbers = match self.numbers {
            Numbers::F32(values) => Numbers::F32(turned(&values, width)),
            Numbers::BF16(values) => Numbers::BF16(turned(&values, width)),
            Numbers::F16(values) => Numbers::F16(turned(&values, width)),
        };
        Self { numbers, inputs }
    }

    /// x Wᵀ for x `[rows, inputs]` and some rows of W: `[rows, rows of W]`. `None` if the sizes do not match.
    pub(crate) fn product<T: Widened>(&self, x: &[T], outputs: Range<usize>) -> Option<Vec<T>> {
        if self.inputs == 0 || !x.len().is_multiple_of(self.inputs) || outputs.end > self.outputs() {
            return None;
        }
        let elements = outputs.start * self.inputs..outputs.end * self.inputs;
        let part = match &self.numbers {
            Numbers::F32(values) => Narrow::Float(&values[elements]),
            Numbers::BF16(values) => Narrow::BFloat(&values[elements]),
            Numbers::F16(values) => Narrow::Half(&values[elements]),
        };
        part.product((x.len() / self.inputs, outputs.len(), self.inputs), x).ok()
    }

    /// One row, in float32.
    pub(crate) fn row(&self, index: usize) -> Option<Vec<f32>> {
        let elements = index * self.inputs..(index + 1) * self.inputs;
        match &self.numbers {
            Numbers::F32(values) => Some(values.get(elements)?.to_vec()),
            Numbers::BF16(values) => Some(values.get(elements)?.iter().map(|value| value.to_f32()).collect()),
            Numbers::F16(values) => Some(values.get(elements)?.iter().map(|value| value.to_f32()).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_transposes_multiply_as_written() {
        // W = (1 2 / 3 4 / 5 6)
        let numbers = || (1..=6).map(|value| bf16::from_f32(value as f32)).collect();
        let matrix = Matrix::new(Numbers::BF16(numbers()), 2);
        assert_eq!(matrix.product(&[1.0f32, 10.0], 1..3), Some(vec![43.0, 65.0]));
        assert_eq!(matrix.product(&[1.0f64, 10.0, 0.0, 1.0], 0..1), Some(vec![21.0, 2.0]));
        assert_eq!((matrix.row(2), matrix.row(3)), (Some(vec![5.0, 6.0]), None));
        assert_eq!((matrix.product(&[1.0f32], 0..1), matrix.product(&[1.0f32, 1.0], 2..4)), (None, None));
        let turned = matrix.transposed();
        assert_eq!((turned.outputs(), turned.row(1)), (2, Some(vec![2.0, 4.0, 6.0])));
    }
}
