//! How the elements of a family's tensors lie in the model's: transposes, permutations, parts of a whole, rows that
//! alternate, matrices stacked into one tensor.

use crate::checkpoint::{IndexBox, Piece, Strides};
use crate::naming::family::{FamilyError, Spanned, size};
use crate::naming::remap::Change;
use crate::spec::ParamPath;
use serde_json::{Map, Value};

/// A direction in a tensor: how many, and how many elements from one to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis {
    count: usize,
    step: usize,
}

/// Consecutive rows of the matrix, and where they lie in the tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Band {
    /// The first of the rows.
    start: usize,
    rows: usize,
    /// The first element of the first row.
    offset: usize,
    /// How to walk from row to row.
    axes: Vec<Axis>,
}

/// A tensor of the other side as it lies in the matrix that the native tensors are rows of.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::naming) struct Arrangement {
    /// Its own shape.
    pub(super) shape: Vec<usize>,
    bands: Vec<Band>,
    /// How to walk through a row.
    columns: Vec<Axis>,
    /// Rows at its beginning that the model does not have.
    pub(super) skipped: usize,
    /// What is added to its elements on the way to the model.
    pub(super) added: f64,
}

/// The rows of the matrix that a tensor makes up.
pub(super) struct Layout<'a> {
    pub(super) rows: usize,
    /// The shape of a row.
    pub(super) row: &'a [usize],
    /// How many matrices are stacked in it, along a dimension of their own.
    pub(super) stacked: Option<usize>,
    /// The rows of each part of one of these matrices.
    pub(super) parts: &'a [usize],
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
    /// Of a tensor of this layout after `changes`. `fields` are what sizes are computed from; `rule` and `name` are for
    /// messages.
    pub(super) fn new(
        layout: &Layout<'_>,
        changes: &[Change],
        fields: &Map<String, Value>,
        rule: &Spanned,
        name: &ParamPath,
    ) -> Result<Self, FamilyError> {
        let fault = |what: String, at: &Spanned, advice: &str| FamilyError::Operation {
            what,
            place: at.at(),
            advice: advice.to_owned(),
        };
        let sized = |text: &Spanned, what: &str| {
            let advice = "write sizes out of native fields of the configuration";
            size(&text.text, fields)
                .map_err(|reason| fault(format!("`{name}` cannot be {what}: {reason}"), text, advice))
        };
        let Layout { rows, row, stacked, parts } = *layout;
        let width: usize = row.iter().product();
        let slices = stacked.unwrap_or(1);
        if slices == 0 || !rows.is_multiple_of(slices) {
            let what = format!("`{name}` has {rows} rows, which are not {slices} equal matrices");
            return Err(fault(what, rule, "correct the number of matrices that are stacked"));
        }
        let height = rows / slices;
        // A vector has no columns to trade.
        let turns = changes.iter().filter(|change| !row.is_empty() && **change == Change::Transpose).count();
        if turns > 0 && row.len() > 1 {
            let what = format!("`{name}` has {} dimensions and cannot be transposed", row.len() + 1);
            return Err(fault(what, rule, "transpose matrices only"));
        }
        let turned = turns % 2 == 1;
        let (mut order, mut groups, mut skipped, mut added) = (None, None, 0, 0.0);
        let mut columns_order = None;
        for change in changes {
            match change {
                Change::Transpose if order.is_some() || groups.is_some() || columns_order.is_some() => {
                    let what = format!("`{name}` would be transposed after its rows were moved");
                    return Err(fault(
                        what,
                        rule,
                        "write `transpose` in the rule that moves rows, or in one around it",
                    ));
                }
                Change::Transpose => {}
                Change::Permute(_) | Change::Interleave(_) if order.is_some() || groups.is_some() => {
                    let what = format!("`{name}` would be permuted twice");
                    return Err(fault(what, rule, "write the two permutations as one"));
                }
                Change::Permute(permute) => {
                    let at = permute.sizes().first().unwrap_or(rule);
                    let sizes: Vec<usize> =
                        permute.sizes().iter().map(|text| sized(text, "permuted")).collect::<Result<_, _>>()?;
                    let product = sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
                    let columns = permute.rows.is_empty();
                    let (found, what) = if columns { (width, "columns") } else { (height, "rows") };
                    // Rows beyond the box stay where they are.
                    let each = permute.of.as_ref().map(|text| sized(text, "permuted")).transpose()?;
                    let boxed = match each {
                        None => product == Some(found),
                        Some(each) => {
                            let inner = sizes.iter().skip(1).product::<usize>();
                            inner <= each && sizes.first().and_then(|first| first.checked_mul(each)) == Some(found)
                        }
                    };
                    if !boxed {
                        let of = each.map_or_else(String::new, |each| format!(" of {each}"));
                        let what = format!("`{name}` has {found} {what}, which do not make a box of {sizes:?}{of}");
                        return Err(fault(what, at, "correct the sizes: their product is the number of rows"));
                    }
                    match columns {
                        true => columns_order = Some((sizes, permute.order.clone())),
                        false => order = Some((sizes, permute.order.clone(), each)),
                    }
                }
                Change::Interleave(text) => {
                    let count = sized(text, "interleaved")?;
                    if let Some(part) = parts.iter().find(|part| !part.is_multiple_of(count)) {
                        let what = format!("a part of `{name}` has {part} rows, which are not {count} equal groups");
                        return Err(fault(what, text, "correct the number of groups"));
                    }
                    groups = Some(count);
                }
                Change::SkipRows(count) => skipped += count,
                Change::Add(constant) => added += constant,
            }
        }
        let whole = height + skipped;
        let (step, columns) = match turned {
            false => (width, Axis { count: width, step: 1 }),
            true => (1, Axis { count: width, step: whole }),
        };
        let matrix = if turned { vec![width, whole] } else { [&[whole], row].concat() };
        let shape: Vec<usize> = stacked.into_iter().chain(matrix).collect();
        let mut bands = Vec::new();
        for slice in 0..slices {
            let (start, offset) = (slice * height, slice * whole * width + skipped * step);
            match (&order, groups) {
                (Some((sizes, order, None)), _) => {
                    let steps = steps(sizes);
                    let axis = |side: &usize| Axis { count: sizes[*side], step: steps[*side] * step };
                    bands.push(Band { start, rows: height, offset, axes: order.iter().map(axis).collect() });
                }
                (Some((sizes, order, Some(each))), _) => {
                    let (steps, inner) = (steps(sizes), sizes.iter().skip(1).product::<usize>());
                    let axis = |side: &usize| Axis { count: sizes[*side], step: steps[*side] * step };
                    for first in (0..sizes[0]).map(|index| index * each) {
                        let axes = order.iter().filter(|side| **side != 0).map(axis).collect();
                        bands.push(Band { start: start + first, rows: inner, offset: offset + first * step, axes });
                        let rest = first + inner;
                        let axes = vec![Axis { count: each - inner, step }];
                        let band = Band { start: start + rest, rows: each - inner, offset: offset + rest * step, axes };
                        bands.extend(Some(band).filter(|band| band.rows > 0));
                    }
                }
                (None, Some(groups)) => {
                    let (mut first, mut inside) = (0, 0);
                    for part in parts {
                        let axes = vec![
                            Axis { count: groups, step: height / groups * step },
                            Axis { count: part / groups, step },
                        ];
                        bands.push(Band { start: start + first, rows: *part, offset: offset + inside * step, axes });
                        (first, inside) = (first + part, inside + part / groups);
                    }
                }
                (None, None) => {
                    bands.push(Band { start, rows: height, offset, axes: vec![Axis { count: height, step }] })
                }
            }
        }
        if !turned && order.is_none() && groups.is_none() && skipped == 0 {
            // Matrices one below the other are one matrix.
            bands = vec![Band { start: 0, rows, offset: 0, axes: vec![Axis { count: rows, step }] }];
        }
        let columns = match &columns_order {
            None => vec![columns],
            Some((sizes, order)) => {
                let steps = steps(sizes);
                order.iter().map(|side| Axis { count: sizes[*side], step: steps[*side] * columns.step }).collect()
            }
        };
        Ok(Self { shape, bands, columns, skipped, added })
    }

    /// Returns true if the tensor is rows of the matrix as they are.
    pub(super) fn is_plain(&self) -> bool {
        let count: usize = self.columns.iter().map(|axis| axis.count).product();
        let [Band { offset: 0, axes, .. }] = self.bands.as_slice() else { return false };
        let row_by_row = matches!(axes[..], [Axis { step, count: rows }] if step == count || rows <= 1);
        row_by_row && matches!(self.columns[..], [Axis { step, count }] if step == 1 || count <= 1)
    }

    /// Returns what is done to the tensor's elements, in words; nothing if they stay as they are.
    pub(in crate::naming) fn words(&self) -> Option<String> {
        let turned = matches!(self.columns[..], [axis] if axis.step != 1 && axis.count > 1);
        let moved = self.bands.iter().any(|band| band.axes.len() > 1);
        let words = [
            (self.added != 0.0).then(|| format!("{} added", self.added)),
            (self.skipped > 0).then(|| format!("without its first {} rows", self.skipped)),
            (!self.is_plain() && turned).then(|| "transposed".to_owned()),
            (!self.is_plain() && moved).then(|| "rows permuted".to_owned()),
            (self.columns.len() > 1).then(|| "columns permuted".to_owned()),
        ];
        let words: Vec<String> = words.into_iter().flatten().collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// Returns the elements of some rows of the matrix as (walk through this tensor, walk through a plain one), each
    /// with the sizes of its box. `stretch.start` counts rows of this tensor's part of the matrix, `stretch.other`
    /// those there.
    fn strides(&self, stretch: Stretch) -> Vec<(Vec<usize>, Strides, Strides)> {
        let widths: Vec<usize> = self.columns.iter().map(|axis| axis.count).collect();
        let width: usize = widths.iter().product();
        let column_steps = steps(&widths);
        let mut strides = Vec::new();
        for band in &self.bands {
            let first = stretch.start.max(band.start);
            let end = (stretch.start + stretch.count).min(band.start + band.rows);
            if first >= end {
                continue;
            }
            let counts: Vec<usize> = band.axes.iter().map(|axis| axis.count).collect();
            let row_steps = steps(&counts);
            let mut boxes = Vec::new();
            cut(&counts, first - band.start, end - first, &mut Vec::new(), &mut boxes);
            let plain_steps = row_steps.iter().map(|step| step * width).chain(column_steps.iter().copied());
            let plain_steps: Vec<usize> = plain_steps.collect();
            strides.extend(boxes.into_iter().map(|sides| {
                let sizes = sides.iter().map(|(_, count)| *count).chain(widths.iter().copied()).collect();
                let here: usize = sides.iter().zip(&band.axes).map(|((first, _), axis)| first * axis.step).sum();
                let row: usize = sides.iter().zip(&row_steps).map(|((first, _), step)| first * step).sum();
                let there = (band.start + row - stretch.start + stretch.other) * width;
                let own_steps = band.axes.iter().chain(&self.columns).map(|axis| axis.step).collect();
                let own = Strides { start: band.offset + here, steps: own_steps };
                (sizes, own, Strides { start: there, steps: plain_steps.clone() })
            }));
        }
        strides
    }

    /// Strands that bring rows of this tensor, `name`, into a plain one.
    pub(super) fn boxes_from(&self, name: &ParamPath, stretch: Stretch) -> Vec<IndexBox> {
        let strides = self.strides(stretch).into_iter();
        strides.map(|(sizes, here, there)| IndexBox { tensor: name.clone(), sizes, from: here, to: there }).collect()
    }

    /// Strands that bring rows of the plain tensor `name` into this one.
    pub(super) fn boxes_to(&self, name: &ParamPath, stretch: Stretch) -> Vec<IndexBox> {
        let strides = self.strides(stretch).into_iter();
        strides.map(|(sizes, here, there)| IndexBox { tensor: name.clone(), sizes, from: there, to: here }).collect()
    }
}

/// Rows of a plain tensor, `whole` of them in all, as a piece, if they are whole indices of its first dimension, each
/// of which has `each` rows.
pub(super) fn rows_of(name: &ParamPath, (start, count): (usize, usize), whole: usize, each: usize) -> Option<Piece> {
    if count == whole {
        return Some(Piece::Tensor(name.clone()));
    }
    let whole_indices = start.is_multiple_of(each) && count.is_multiple_of(each);
    whole_indices.then(|| Piece::Rows { tensor: name.clone(), start: start / each, count: count / each })
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
