//! The tensors of a model that nothing describes but the rules: the shapes of one side follow from those of the other.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::TensorMap;
use crate::naming::family::{Family, FamilyError, Spanned, size};
use crate::naming::remap::{Change, Renamed};
use crate::spec::{Naming, ParamPath, TensorRow, TensorTable};

impl TensorMap {
    /// Of the tensors that a checkpoint with the names of `from` has. `fields` are those of its config.json, of which sizes
    /// are expressions.
    ///
    /// # Errors
    /// [`FamilyError`] if a name does not come back, or an operation does not fit a tensor.
    pub(in crate::naming) fn of_layout(
        family: &Family,
        stored: &TensorTable,
        from: Naming,
        fields: &Map<String, Value>,
    ) -> Result<Self, FamilyError> {
        match from {
            Naming::Native => Self::of_table(family, stored, fields),
            Naming::HuggingFace => Self::of_table(family, &native_table(family, stored, fields)?, fields),
        }
    }
}

/// Returns what the rules make of stored tensors.
fn native_table(
    family: &Family,
    stored: &TensorTable,
    fields: &Map<String, Value>,
) -> Result<TensorTable, FamilyError> {
    let (there, back) = (family.rules_to(Naming::Native), family.rules_to(Naming::HuggingFace));
    let mut rows = Vec::new();
    let mut seen = HashSet::new();
    for row in stored.rows() {
        let Some(forth) = there.rename(&row.path) else { continue };
        for (index, native) in forth.to.iter().enumerate() {
            // The first of several that are joined makes it.
            if seen.insert(native.clone()) {
                let joined = back.rename(native).map(|renamed| renamed.to).unwrap_or_default();
                let shape = shape_of(&forth, index, row, &joined, stored, fields)?;
                rows.push(TensorRow::stored(native.clone(), shape, row.dtype));
            }
        }
    }
    Ok(TensorTable::from_rows(rows))
}

/// Returns the shape of the native tensor `index` that `row` becomes, or that all of `joined` become.
fn shape_of(
    forth: &Renamed,
    index: usize,
    row: &TensorRow,
    joined: &[ParamPath],
    stored: &TensorTable,
    fields: &Map<String, Value>,
) -> Result<Vec<usize>, FamilyError> {
    let (mut turned, mut skipped) = (false, 0);
    for change in &forth.changes {
        match change {
            Change::Transpose => turned = !turned,
            Change::SkipRows(count) => skipped += count,
            Change::Permute(_) | Change::Interleave(_) => {}
            Change::Add(_) => {
                return Err(fault(
                    format!("`{}` would be written in another element type, which nothing remembers", row.path),
                    &forth.rule,
                    "leave `add` out: without a description of the model the numbers stay as they are",
                ));
            }
        }
    }
    let matrix = |shape: &[usize]| {
        let mut shape = shape.to_vec();
        if turned && shape.len() == 2 {
            shape.reverse();
        }
        if let Some(rows) = shape.first_mut() {
            *rows = rows.saturating_sub(skipped);
        }
        shape
    };
    let shape_in_file = |path: &ParamPath| stored.get(path).map_or(row.shape.as_slice(), |row| row.shape.as_slice());
    let (stacked_there, stacked_here) = match forth.stacked {
        Some(stacked) if stacked.native => (1, stacked.count),
        Some(stacked) => (stacked.count, 1),
        None => (1, 1),
    };
    let mut shape = match (forth.stacked, row.shape.split_first()) {
        (Some(stacked), Some((_, inner))) if !stacked.native => matrix(inner),
        _ => matrix(&row.shape),
    };
    let parts = forth.to.len() / stacked_there.max(1);
    if let Some(rows) = shape.first_mut() {
        if parts > 1 {
            *rows = rows_of_part(forth, row, index % parts, parts, *rows, fields)?;
        } else if joined.len() > 1 {
            let one = joined.iter().take(joined.len() / stacked_here.max(1));
            *rows = one.map(|path| matrix(shape_in_file(path)).first().copied().unwrap_or(1)).sum();
        }
    }
    if forth.stacked.is_some_and(|stacked| stacked.native) {
        shape.insert(0, stacked_here);
    }
    Ok(shape)
}

/// Returns the rows of one of the parts that a tensor is split into.
fn rows_of_part(
    forth: &Renamed,
    row: &TensorRow,
    part: usize,
    parts: usize,
    rows: usize,
    fields: &Map<String, Value>,
) -> Result<usize, FamilyError> {
    if let Some(text) = forth.sizes.get(part) {
        return size(&text.text, fields).map_err(|reason| {
            let advice = "write sizes out of fields of config.json";
            fault(format!("`{}` cannot be split: {reason}", row.path), text, advice)
        });
    }
    if !rows.is_multiple_of(parts) {
        let what = format!("`{}` has {rows} rows, which are not {parts} equal parts", row.path);
        return Err(fault(what, &forth.rule, "give the rows of each part: `sizes: [ … ]`"));
    }
    Ok(rows / parts)
}

fn fault(what: String, at: &Spanned, advice: &str) -> FamilyError {
    FamilyError::Operation { what, place: at.at(), advice: advice.to_owned() }
}
