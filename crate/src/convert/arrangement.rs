//! How the elements of a family's tensors lie in the model's: transposes, permutations, parts of a whole.

use super::family::{FamilyError, Marked, size};
use super::remap::Change;
use crate::checkpoint::{Piece, Strand, Walk};
use crate::spec::ParamPath;
use serde_json::{Map, Value};

/// A direction in a tensor: how many, and how many elements from one to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis {
    count: usize,
    step: usize,
}

/// A tensor of the other side as it lies in the matrix that the native tensors are rows of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Arrangement {
    /// Its own shape.
    pub(super) shape: Vec<usize>,
    /// How to walk its elements row by row of the matrix.
    rows: Vec<Axis>,
    columns: Vec<Axis>,
}

/// Some rows of one tensor, which are some rows of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// The first row here.
    pub(super) start: usize,
    /// The first row there.
    pub(super) other: usize,
    pub(super) count: usize,
}

impl Arrangement {
    /// Of a tensor that makes up `rows` rows of a matrix whose rows have the shape `row`, after `changes`. `fields` are
    /// what sizes are computed from; `rule` and `name` are for messages.
    pub(super) fn new(
        rows: usize,
        row: &[usize],
        changes: &[Change],
        fields: &Map<String, Value>,
        rule: &Marked,
        name: &ParamPath,
    ) -> Result<Self, FamilyError> {
        let fault = |what: String, at: &Marked, advice: &str| FamilyError::Operation {
            what,
            place: at.at(),
            advice: advice.to_owned(),
        };
        let width: usize = row.iter().product();
        // A vector has no columns to trade.
        let matrix = !row.is_empty();
        let turns = changes.iter().filter(|change| matrix && **change == Change::Transpose).count();
        if turns > 0 && row.len() > 1 {
            let what = format!("`{name}` has {} dimensions and cannot be transposed", row.len() + 1);
            return Err(fault(what, rule, "transpose matrices only"));
        }
        let shape = match turns % 2 {
            0 => [&[rows], row].concat(),
            _ => vec![width, rows],
        };
        let (height, breadth) = if turns % 2 == 0 { (rows, width) } else { (width, rows) };
        let mut view = Self {
            shape,
            rows: vec![Axis { count: height, step: breadth }],
            columns: vec![Axis { count: breadth, step: 1 }],
        };
        for change in changes {
            match change {
                Change::Transpose if matrix => std::mem::swap(&mut view.rows, &mut view.columns),
                Change::Transpose => {}
                Change::Permute(permute) => {
                    let at = permute.rows.first().unwrap_or(rule);
                    let sizes: Vec<usize> = permute
                        .rows
                        .iter()
                        .map(|text| {
                            let what = |reason| format!("`{name}` cannot be permuted: {reason}");
                            size(&text.text, fields).map_err(|reason| {
                                fault(what(reason), text, "write sizes out of native fields of the configuration")
                            })
                        })
                        .collect::<Result<_, _>>()?;
                    let [Axis { count, step }] = view.rows[..] else {
                        let what = format!("`{name}` would be permuted twice");
                        return Err(fault(what, at, "write the two permutations as one"));
                    };
                    let product = sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
                    if product != Some(count) {
                        let what = format!("`{name}` has {count} rows, which are no box of {sizes:?}");
                        return Err(fault(what, at, "correct the sizes: their product is the number of rows"));
                    }
                    let steps = steps(&sizes);
                    let axis = |side: &usize| Axis { count: sizes[*side], step: steps[*side] * step };
                    view.rows = permute.order.iter().map(axis).collect();
                }
            }
        }
        Ok(view)
    }

    /// True if the tensor is rows of the matrix as they are.
    pub(super) fn is_plain(&self) -> bool {
        let count: usize = self.columns.iter().map(|axis| axis.count).product();
        let row_by_row = matches!(self.rows[..], [Axis { step, count: rows }] if step == count || rows <= 1);
        row_by_row && matches!(self.columns[..], [Axis { step, count }] if step == 1 || count <= 1)
    }

    /// What is done to the tensor's elements, in words; nothing if they stay as they are.
    pub(super) fn words(&self) -> Option<&'static str> {
        let turned = self.columns.iter().any(|axis| axis.step != 1 && axis.count > 1);
        match (self.is_plain(), turned, self.rows.len() > 1) {
            (true, ..) => None,
            (false, true, false) => Some("transposed"),
            (false, true, true) => Some("transposed, rows permuted"),
            (false, false, _) => Some("rows permuted"),
        }
    }

    /// The elements of some rows of the matrix as (walk through this tensor, walk through a plain one), each with the
    /// sizes of its box. `stretch.start` counts rows of this tensor's part of the matrix, `stretch.other` those there.
    fn walks(&self, stretch: Stretch) -> Vec<(Vec<usize>, Walk, Walk)> {
        let counts: Vec<usize> = self.rows.iter().map(|axis| axis.count).collect();
        let widths: Vec<usize> = self.columns.iter().map(|axis| axis.count).collect();
        let width: usize = widths.iter().product();
        let (row_steps, column_steps) = (steps(&counts), steps(&widths));
        let mut boxes = Vec::new();
        cut(&counts, stretch.start, stretch.count, &mut Vec::new(), &mut boxes);
        let plain_steps = row_steps.iter().map(|step| step * width).chain(column_steps);
        let plain_steps: Vec<usize> = plain_steps.collect();
        boxes
            .into_iter()
            .map(|sides| {
                let sizes = sides.iter().map(|(_, count)| *count).chain(widths.iter().copied()).collect();
                let here = sides.iter().zip(&self.rows).map(|((first, _), axis)| first * axis.step).sum();
                let row: usize = sides.iter().zip(&row_steps).map(|((first, _), step)| first * step).sum();
                let there = (row - stretch.start + stretch.other) * width;
                let own_steps = self.rows.iter().chain(&self.columns).map(|axis| axis.step).collect();
                (sizes, Walk { start: here, steps: own_steps }, Walk { start: there, steps: plain_steps.clone() })
            })
            .collect()
    }

    /// Strands that bring rows of this tensor, `name`, into a plain one.
    pub(super) fn strands_from(&self, name: &ParamPath, stretch: Stretch) -> Vec<Strand> {
        let walks = self.walks(stretch).into_iter();
        walks.map(|(sizes, here, there)| Strand { tensor: name.clone(), sizes, from: here, to: there }).collect()
    }

    /// Strands that bring rows of the plain tensor `name` into this one.
    pub(super) fn strands_to(&self, name: &ParamPath, stretch: Stretch) -> Vec<Strand> {
        let walks = self.walks(stretch).into_iter();
        walks.map(|(sizes, here, there)| Strand { tensor: name.clone(), sizes, from: there, to: here }).collect()
    }
}

/// Rows of a plain tensor, `whole` of them in all, as a piece.
pub(super) fn rows_of(name: &ParamPath, start: usize, count: usize, whole: usize) -> Piece {
    if count == whole {
        return Piece::Tensor(name.clone());
    }
    Piece::Rows { tensor: name.clone(), start, count }
}

/// Elements from one index to the next in each direction of a row-major box.
fn steps(sizes: &[usize]) -> Vec<usize> {
    let mut steps = vec![1; sizes.len()];
    for side in (1..sizes.len()).rev() {
        steps[side - 1] = steps[side] * sizes[side];
    }
    steps
}

/// Cuts `count` rows from `start` on, of a box whose rows are counted row-major, into boxes of (first, count) a side.
fn cut(
    sizes: &[usize],
    mut start: usize,
    mut count: usize,
    outside: &mut Vec<(usize, usize)>,
    boxes: &mut Vec<Vec<(usize, usize)>>,
) {
    let Some((_, inner)) = sizes.split_first() else { return };
    if inner.is_empty() {
        boxes.push(outside.iter().copied().chain([(start, count)]).collect());
        return;
    }
    let block: usize = inner.iter().product();
    while count > 0 {
        let (first, offset) = (start / block, start % block);
        let taken = if offset == 0 && count >= block {
            let full = count / block;
            boxes.push(
                outside.iter().copied().chain([(first, full)]).chain(inner.iter().map(|&size| (0, size))).collect(),
            );
            full * block
        } else {
            let part = count.min(block - offset);
            outside.push((first, 1));
            cut(inner, offset, part, outside, boxes);
            outside.pop();
            part
        };
        start += taken;
        count -= taken;
    }
}
