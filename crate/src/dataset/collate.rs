//! Collates blocks into rectangular batches with labels.

use super::pack::Block;
use crate::model::{Batch, IGNORED_LABEL, ModelError};

/// The input of one training step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabeledBatch {
    /// Token ids, and positions if rows hold several documents.
    pub batch: Batch,
    /// The batch's ids, with -100 where the loss is ignored.
    pub labels: Vec<Vec<i64>>,
}

/// Pads rows on the right to one length, and makes labels and positions.
///
/// Labels are the ids, and -100 on the padding that was added here; a real token equal to the padding token still
/// counts. No attention mask is made: padding follows all real tokens, which causality keeps from seeing it.
///
/// In packed rows positions restart at 0 with each document and with the padding, by which the model keeps documents
/// apart; and the first token of a document after another is labeled -100, because predicting it from the end of an
/// unrelated document teaches nothing. (Upstream's collator trains on that token.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collator {
    /// Tokens per row; longer blocks are cut.
    pub sequence_length: usize,
    /// Whether rows hold several documents: `None` where blocks say where documents start, `Some(true)` always (a
    /// block that does not say has a new document after each `eos`), `Some(false)` never.
    pub packed: Option<bool>,
    /// Fills short rows.
    pub pad: u32,
    /// Ends a document.
    pub eos: Option<u32>,
}

impl Collator {
    /// Returns a batch of these blocks, one row each.
    ///
    /// # Errors
    /// [`ModelError::Batch`] if there are no blocks or rows would be empty.
    pub fn collate(&self, blocks: &[Block]) -> Result<LabeledBatch, ModelError> {
        let starts: Vec<Vec<usize>> = blocks.iter().map(|block| self.starts(block)).collect();
        let row = |block: &Block| {
            let mut ids = block.input_ids.clone();
            ids.resize(self.sequence_length, self.pad);
            ids
        };
        let mut batch = Batch::new(blocks.iter().map(row).collect())?;
        if starts.iter().any(|starts| starts.len() > 1) {
            let positions = blocks.iter().zip(&starts).map(|(block, starts)| self.positions(block, starts));
            batch.position_ids = Some(positions.collect());
        }
        let labels = blocks.iter().zip(&starts).map(|(block, starts)| {
            let real = block.input_ids.iter().take(self.sequence_length);
            let mut labels: Vec<i64> = real.map(|&id| i64::from(id)).collect();
            labels.resize(self.sequence_length, IGNORED_LABEL);
            for &start in starts.iter().filter(|&&start| start > 0) {
                labels[start] = IGNORED_LABEL;
            }
            for &at in block.context.iter().filter(|&&at| (at as usize) < self.sequence_length) {
                labels[at as usize] = IGNORED_LABEL;
            }
            labels
        });
        Ok(LabeledBatch { labels: labels.collect(), batch })
    }

    /// Returns where documents start inside the row, 0 always among them.
    fn starts(&self, block: &Block) -> Vec<usize> {
        let real = block.input_ids.len().min(self.sequence_length);
        let mut starts = vec![0];
        match (&block.document_starts, self.packed) {
            (_, Some(false)) | (None, None) => {}
            (Some(given), _) => starts.extend(given.iter().map(|&start| start as usize)),
            (None, Some(true)) => {
                let ends = block.input_ids.iter().enumerate().filter(|(_, id)| Some(**id) == self.eos);
                starts.extend(ends.map(|(end, _)| end + 1));
            }
        }
        starts.retain(|&start| start < real.max(1));
        starts.sort_unstable();
        starts.dedup();
        starts
    }

    fn positions(&self, block: &Block, starts: &[usize]) -> Vec<u32> {
        let real = block.input_ids.len().min(self.sequence_length);
        let mut position = 0;
        (0..self.sequence_length)
            .map(|column| {
                let restarts = column == real || starts.binary_search(&column).is_ok();
                position = if restarts { 0 } else { position + 1 };
                position
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLLATOR: Collator = Collator { sequence_length: 6, packed: None, pad: 9, eos: Some(2) };

    fn block(ids: &[u32], starts: Option<&[u32]>) -> Block {
        Block { input_ids: ids.to_vec(), document_starts: starts.map(<[u32]>::to_vec), context: Vec::new() }
    }

    #[test]
    fn padding_is_on_the_right_and_not_learned() {
        let made = COLLATOR.collate(&[block(&[5, 9, 7], None), block(&[1, 2, 3, 4, 5, 6, 7, 8], None)]).unwrap();
        assert_eq!(made.batch.input_ids, [[5, 9, 7, 9, 9, 9], [1, 2, 3, 4, 5, 6]]);
        // The second 9 of row 0 is padding, the first is a token.
        assert_eq!(made.labels, [[5, 9, 7, -100, -100, -100], [1, 2, 3, 4, 5, 6]]);
        assert_eq!((made.batch.position_ids, made.batch.attention_mask), (None, None));
    }

    #[test]
    fn context_is_seen_and_not_learned() {
        let given = Block { context: vec![0, 1, 9], ..block(&[1, 2, 3], None) };
        let made = COLLATOR.collate(&[given]).unwrap();
        assert_eq!(made.batch.input_ids[0], [1, 2, 3, 9, 9, 9]);
        assert_eq!(made.labels[0], [-100, -100, 3, -100, -100, -100]);
    }

    #[test]
    fn documents_restart_positions_and_mask_their_first_label() {
        let made = COLLATOR.collate(&[block(&[1, 2, 3, 4, 5], Some(&[0, 3])), block(&[1, 2], Some(&[0]))]).unwrap();
        assert_eq!(made.batch.position_ids.unwrap(), [[0, 1, 2, 0, 1, 0], [0, 1, 0, 1, 2, 3]]);
        assert_eq!(made.labels[0], [1, 2, 3, -100, 5, -100]);
        assert_eq!(made.labels[1], [1, 2, -100, -100, -100, -100]);
    }

    #[test]
    fn packed_rows_without_starts_divide_at_end_of_text() {
        let rows = [block(&[1, 2, 3, 2, 4, 2], None)];
        let packed = Collator { packed: Some(true), ..COLLATOR }.collate(&rows).unwrap();
        assert_eq!(packed.batch.position_ids.unwrap(), [[0, 1, 0, 1, 0, 1]]);
        assert_eq!(packed.labels[0], [1, 2, -100, 2, -100, 2]);
        assert_eq!(COLLATOR.collate(&rows).unwrap().batch.position_ids, None);
    }

    #[test]
    fn starts_are_ignored_when_packing_is_refused() {
        let made = Collator { packed: Some(false), ..COLLATOR }.collate(&[block(&[1, 2, 3], Some(&[0, 2]))]).unwrap();
        assert_eq!((made.batch.position_ids, made.labels[0][2]), (None, 3));
    }
}
