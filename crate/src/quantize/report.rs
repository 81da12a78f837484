//! What quantization costs and saves.

use rayon::prelude::*;
use serde_json::{Value, json};

use crate::ops::{Quantized, decoded_row};
use crate::sealed::Sealed;
use crate::spec::{ParamPath, Recipe, Scheme, TensorRow};
use crate::validation::LogitDiff;

/// The group of weights that lost most.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WorstGroup {
    /// The row of the weight: an output.
    pub row: usize,
    /// The group in the row, counted from 0.
    pub group: usize,
    /// Norm of the difference, relative to the group's own.
    pub relative: f64,
}

/// The error of one quantized weight.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorError {
    /// The weight, by the name it had.
    pub path: ParamPath,
    /// `[outputs, inputs]`.
    pub shape: Vec<usize>,
    /// Norm of the difference, relative to the weight's own.
    pub relative: f64,
    /// Cosine of the angle between the two.
    pub cosine: f64,
    /// The group that lost most.
    pub worst: WorstGroup,
    /// Bytes before and after, scales included.
    pub bytes: (u64, u64),
}

/// What a quantization costs and saves.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizationReport {
    /// The recipe.
    pub recipe: Recipe,
    /// How every quantized weight is stored: the recipe's scheme, or one with smaller groups.
    pub scheme: Scheme,
    /// Every quantized weight, in natural order.
    pub tensors: Sealed<Vec<TensorError>>,
    /// Bytes of all tensors before and after, those that stay as they are included.
    pub bytes: (u64, u64),
    /// Logits before and after, if they were compared.
    pub logits: Option<Sealed<LogitDiff>>,
    /// What a person should know.
    pub notes: Vec<String>,
}

impl QuantizationReport {
    /// Norm of the difference of all quantized weights together, relative to theirs.
    pub fn relative(&self) -> f64 {
        let weighted = |error: &TensorError| error.shape.iter().product::<usize>() as f64;
        let total: f64 = self.tensors.iter().map(weighted).sum();
        let squares: f64 = self.tensors.iter().map(|error| weighted(error) * error.relative * error.relative).sum();
        (squares / total.max(1.0)).sqrt()
    }

    /// Returns the `--json` report.
    pub fn report(&self) -> Value {
        let tensors = self.tensors.iter().map(|error| {
            json!({
                "tensor": error.path,
                "shape": error.shape,
                "relative_error": error.relative,
                "cosine": error.cosine,
                "worst_group": {
                    "row": error.worst.row,
                    "group": error.worst.group,
                    "relative_error": error.worst.relative,
                },
                "bytes_before": error.bytes.0,
                "bytes_after": error.bytes.1,
            })
        });
        json!({
            "recipe": self.recipe.name(),
            "scheme": self.scheme.to_string(),
            "relative_error": self.relative(),
            "bytes_before": self.bytes.0,
            "bytes_after": self.bytes.1,
            "max_abs_diff": self.logits.as_ref().map(|logits| logits.max_abs()),
            "mean_kl": self.logits.as_ref().map(|logits| logits.mean_kl()),
            "top1_agreement": self.logits.as_ref().map(|logits| logits.top1_agreement()),
            "notes": self.notes,
            "tensors": tensors.collect::<Vec<_>>(),
        })
    }
}

/// Sums over the blocks of a weight.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Missed {
    rows: usize,
    squares: f64,
    squares_after: f64,
    product: f64,
    missed: f64,
    worst: WorstGroup,
}

impl Missed {
    /// Adds the rows of a block.
    pub(super) fn add(&mut self, scheme: &Scheme, values: &[f32], inputs: usize, made: &Quantized) {
        let (bytes, groups, size) = (scheme.row_bytes(inputs), scheme.groups(inputs), scheme.group_size(inputs));
        let of_row = |row: usize| {
            let mut after = vec![0f32; inputs];
            let scales = made.scales.get(row * groups..(row + 1) * groups).unwrap_or(&made.scales);
            decoded_row(scheme, &made.numbers[row * bytes..][..bytes], scales, &mut after);
            let before = &values[row * inputs..][..inputs];
            let mut sums = Self { rows: 1, ..Self::default() };
            for (group, (before, after)) in before.chunks(size).zip(after.chunks(size)).enumerate() {
                let (mut squares, mut missed) = (0f64, 0f64);
                for (x, y) in before.iter().zip(after) {
                    let (x, y) = (f64::from(*x), f64::from(*y));
                    squares += x * x;
                    missed += (x - y) * (x - y);
                    sums.squares_after += y * y;
                    sums.product += x * y;
                }
                sums.squares += squares;
                sums.missed += missed;
                let relative = (missed / squares.max(f64::MIN_POSITIVE)).sqrt();
                if relative > sums.worst.relative {
                    sums.worst = WorstGroup { row, group, relative };
                }
            }
            sums
        };
        let rows: Vec<Self> = (0..values.len() / inputs).into_par_iter().map(of_row).collect();
        // In order, so that sums do not depend on threads.
        for row in rows {
            if row.worst.relative > self.worst.relative {
                self.worst = WorstGroup { row: self.rows, ..row.worst };
            }
            self.rows += 1;
            self.squares += row.squares;
            self.squares_after += row.squares_after;
            self.product += row.product;
            self.missed += row.missed;
        }
    }

    pub(super) fn of(self, path: ParamPath, row: &TensorRow, bytes: u64) -> TensorError {
        let ratio = |above: f64, below: f64| if below > 0.0 { above / below } else { 0.0 };
        TensorError {
            path,
            shape: row.shape.clone(),
            relative: ratio(self.missed, self.squares).sqrt(),
            cosine: if self.squares > 0.0 {
                ratio(self.product, (self.squares * self.squares_after).sqrt())
            } else {
                1.0
            },
            worst: self.worst,
            bytes: (row.bytes(), bytes),
        }
    }
}
