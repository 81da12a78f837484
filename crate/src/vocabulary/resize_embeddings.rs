//! Rows old and new.

use std::collections::BTreeMap;

use crate::checkpoint::{Checkpoint, CheckpointError, Piece, cast_floats};
use crate::spec::{DType, ParamPath, Role, TensorRow};
use crate::tokenizer::{RowInit, TokenPlan};

/// Bytes that are read at once for a mean.
const BLOCK: usize = 4 << 20;

/// True for the parameters that have one row for each token: the embedding, the head, the head's bias. A tied head is
/// the embedding and is written once.
pub fn has_row_per_token(native: &ParamPath) -> bool {
    Role::of_native_name(native).is_some_and(Role::has_row_per_token)
}

/// Returns the shape of such a tensor after the plan.
pub fn grown_shape(plan: &TokenPlan, shape: &[usize]) -> Vec<usize> {
    let mut shape = shape.to_vec();
    if let Some(rows) = shape.first_mut() {
        *rows = plan.vocab_size();
    }
    shape
}

/// Returns what the embedding or head `tensor` of `checkpoint` is made of after the plan. Old rows stay bit by bit, but
/// for those that the plan writes; the mean is that of the rows that had a token, summed in float64. It is read only if
/// it is needed, a few megabytes at a time.
///
/// New rows without a token (`pad_to_multiple`) become the mean as well: a zero row would give such a token the logit
/// 0, which may be the largest of all, while the mean of rows gives the mean of logits, which never is.
///
/// # Errors
/// [`CheckpointError`] if the tensor is not there, has another number of rows than the plan is for, or no float
/// elements.
pub fn grown(plan: &TokenPlan, checkpoint: &Checkpoint, tensor: &ParamPath) -> Result<Vec<Piece>, CheckpointError> {
    let path = checkpoint.path().to_owned();
    let row = checkpoint
        .table()
        .get(tensor)
        .ok_or_else(|| CheckpointError::NoTensor { tensor: tensor.to_string(), path: path.clone() })?;
    let rows = row.shape.first().copied().unwrap_or(0);
    if rows != plan.vocab_before() {
        let (tensor, expected) = (tensor.to_string(), plan.vocab_before());
        return Err(CheckpointError::VocabularyRows { tensor, found: rows, expected, path });
    }
    let written: BTreeMap<usize, RowInit> = plan.edits().iter().map(|edit| (edit.id as usize, edit.init)).collect();
    let added = (rows..plan.vocab_size()).map(|id| (id, written.get(&id).copied().unwrap_or(RowInit::Mean)));
    let replaced = written.range(..rows).map(|(&id, &init)| (id, init));
    let changes: Vec<(usize, RowInit)> = replaced.chain(added).collect();
    let width: usize = row.shape.iter().skip(1).product();
    let mean = match changes.iter().any(|(_, init)| *init == RowInit::Mean) {
        true => mean_row(checkpoint, row, plan.known_rows(), width)?,
        false => Vec::new(),
    };
    let mut pieces = Vec::new();
    let kept = |start: usize, end: usize| Piece::Rows { tensor: tensor.clone(), start, count: end - start };
    let mut next = 0;
    for (id, init) in changes {
        if next < id.min(rows) {
            pieces.push(kept(next, id.min(rows)));
        }
        next = (id + 1).min(rows);
        let values = match init {
            RowInit::Copy(source) => {
                pieces.push(kept(source as usize, source as usize + 1));
                continue;
            }
            RowInit::Zero => vec![0.0; width],
            RowInit::Mean => mean.clone(),
        };
        match pieces.last_mut() {
            Some(Piece::Values(before)) => before.extend(values),
            _ => pieces.push(Piece::Values(values)),
        }
    }
    if next < rows {
        pieces.push(kept(next, rows));
    }
    Ok(pieces)
}

/// Returns the mean of the first `known` rows, each of `width` numbers.
fn mean_row(checkpoint: &Checkpoint, row: &TensorRow, known: usize, width: usize) -> Result<Vec<f32>, CheckpointError> {
    let no_floats = || CheckpointError::Cast {
        tensor: row.path.to_string(),
        dtype: row.dtype.to_string(),
        path: checkpoint.path().to_owned(),
    };
    let row_bytes = width * row.dtype.bytes();
    let mut sums = vec![0f64; width];
    if row_bytes == 0 || known == 0 {
        return Ok(vec![0.0; width]);
    }
    let mut blocks = checkpoint.blocks(&row.path, (BLOCK / row_bytes).max(1) * row_bytes)?;
    let mut wide = Vec::new();
    let mut left = known;
    while let Some(block) = blocks.next_block()?.filter(|_| left > 0) {
        let rows = left.min(block.len() / row_bytes);
        wide.clear();
        cast_floats(&block[..rows * row_bytes], row.dtype, DType::F64, &mut wide).map_err(|_| no_floats())?;
        for row in wide.chunks_exact(width * 8) {
            for (sum, number) in sums.iter_mut().zip(row.chunks_exact(8)) {
                let mut raw = [0; 8];
                raw.copy_from_slice(number);
                *sum += f64::from_le_bytes(raw);
            }
        }
        left -= rows;
    }
    Ok(sums.into_iter().map(|sum| (sum / known as f64) as f32).collect())
}
