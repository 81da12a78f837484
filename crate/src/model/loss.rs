//! Next-token cross entropy.

use candle_core::{D, DType, Tensor};

use super::ModelError;

/// Labels of this value are left out of the mean.
pub const IGNORED_LABEL: i64 = -100;

/// Returns the mean cross entropy in float32 of logits `[batch, seq, vocab]` at position t against the label at t + 1.
/// `labels` has the batch's shape; those equal to [`IGNORED_LABEL`] do not count.
///
/// # Errors
/// [`ModelError::Batch`] if no label counts, or an error of the device.
pub fn next_token_loss(logits: &Tensor, labels: &[Vec<i64>]) -> Result<Tensor, ModelError> {
    let (batch, seq, vocab) = logits.dims3()?;
    let targets = targets(labels, (batch, seq), vocab)?;
    let counted = targets.iter().enumerate().filter(|&(_, &target)| target != IGNORED_LABEL);
    let (rows, targets): (Vec<u32>, Vec<u32>) = counted.map(|(row, &target)| (row as u32, target as u32)).unzip();
    let device = logits.device();
    let count = targets.len();
    let rows = Tensor::from_vec(rows, count, device)?;
    let targets = Tensor::from_vec(targets, (count, 1), device)?;
    let flat = logits.reshape((batch * seq, vocab))?;
    let picked = flat.index_select(&rows, 0)?;
    let log_probabilities = candle_nn::ops::log_softmax(&picked.to_dtype(DType::F32)?, D::Minus1)?;
    Ok(log_probabilities.gather(&targets, 1)?.mean_all()?.neg()?)
}

/// For each position of `[batch, seq]`, row after row, the label that follows it; [`IGNORED_LABEL`] where none counts.
///
/// # Errors
/// [`ModelError::Batch`] if no label counts, or one is neither a token id nor [`IGNORED_LABEL`].
pub(super) fn targets(labels: &[Vec<i64>], (batch, seq): (usize, usize), vocab: usize) -> Result<Vec<i64>, ModelError> {
    let mut targets = vec![IGNORED_LABEL; batch * seq];
    for (row, labels) in labels.iter().enumerate().take(batch) {
        for (column, &label) in labels.iter().enumerate().take(seq).skip(1) {
            if label != IGNORED_LABEL && !usize::try_from(label).is_ok_and(|label| label < vocab) {
                return Err(ModelError::Batch {
                    what: format!("label {label} is neither {IGNORED_LABEL} nor a token id below {vocab}"),
                    origin: format!("labels, row {row}, column {column}"),
                    advice: "use token ids, and -100 where nothing shall be learned".to_owned(),
                });
            }
            targets[row * seq + column - 1] = label;
        }
    }
    if targets.iter().all(|&target| target == IGNORED_LABEL) {
        return Err(ModelError::Batch {
            what: "no label counts: the mean loss would be 0/0".to_owned(),
            origin: "labels".to_owned(),
            advice: "give at least one row two real tokens".to_owned(),
        });
    }
    Ok(targets)
}
