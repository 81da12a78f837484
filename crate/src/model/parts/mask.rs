//! Which token attends to which: causality, padding and document boundaries of a batch.

use crate::model::Batch;
use crate::ops::{AttentionError, AttentionMask};

/// Returns which token attends to which in a batch that follows `past_len` cached tokens.
///
/// A token attends to itself and earlier tokens. With `attention_mask`, nothing attends to padding. With positions but without a
/// mask, a row holds documents: a new one starts wherever a position is not its predecessor plus one, and documents do
/// not attend to each other (the rule of transformers' packed sequences).
pub(in crate::model) fn attention_mask(batch: &Batch, seen: usize) -> Result<AttentionMask, AttentionError> {
    let (rows, seq) = batch.dims();
    let causal = AttentionMask::causal(rows, seq, seen);
    match (&batch.attention_mask, &batch.position_ids) {
        (Some(mask), _) => {
            // Keys from the cache are real tokens: padding is only known for the tokens of this batch.
            let real = |row: &Vec<u8>| std::iter::repeat_n(true, seen).chain(row.iter().map(|&bit| bit != 0)).collect();
            causal.with_padding(mask.iter().map(real).collect())
        }
        (None, Some(positions)) if seen == 0 => {
            let documents: Vec<Vec<u32>> = positions.iter().map(|row| document_of(row)).collect();
            // One document in each row equals causality, which is cheaper.
            let several = documents.iter().any(|row| row.last() != Some(&0));
            if several { causal.with_documents(documents) } else { Ok(causal) }
        }
        _ => Ok(causal),
    }
}

/// Returns the same rule without what is in other chunks of `chunk` tokens, counted by positions, so that padding before a
/// text does not move them.
pub(in crate::model) fn chunked(
    mask: AttentionMask,
    batch: &Batch,
    seen: usize,
    chunk: usize,
) -> Result<AttentionMask, AttentionError> {
    let mut rows = Vec::new();
    for (row, positions) in batch.positions(seen).into_iter().enumerate() {
        // Padding before the first token: positions count from it.
        let padding = match (&batch.attention_mask, &batch.position_ids) {
            (Some(mask), None) if seen == 0 => mask[row].iter().take_while(|&&bit| bit == 0).count(),
            _ => 0,
        };
        let first = positions.first().copied().unwrap_or(0) as usize;
        let before = (0..seen).map(|key| (first + key).saturating_sub(seen));
        let own = positions.iter().map(|&position| (position as usize).saturating_sub(padding));
        let own: Vec<usize> = before.chain(own).collect();
        let mut number = 0;
        let mut parts = vec![0; own.len()];
        for token in 1..own.len() {
            let follows = own[token] == own[token - 1] + 1;
            number += u32::from(!follows || own[token] / chunk != own[token - 1] / chunk);
            parts[token] = number;
        }
        rows.push(parts);
    }
    let one = rows.iter().all(|row| row.last().is_none_or(|last| *last == 0));
    if one { Ok(mask) } else { mask.with_documents(rows) }
}

fn document_of(positions: &[u32]) -> Vec<u32> {
    let mut document = 0;
    let mut previous = None;
    positions
        .iter()
        .map(|&position| {
            if previous.is_some_and(|previous: u32| position != previous.wrapping_add(1)) {
                document += 1;
            }
            previous = Some(position);
            document
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn visible(batch: &Batch) -> Vec<Vec<Vec<bool>>> {
        within(batch, None)
    }

    fn within(batch: &Batch, window: Option<usize>) -> Vec<Vec<Vec<bool>>> {
        let mask = attention_mask(batch, 0).unwrap().with_window(window).dense(&Device::Cpu).unwrap();
        let mask = mask.squeeze(1).unwrap().to_vec3::<f32>().unwrap();
        mask.into_iter()
            .map(|row| row.into_iter().map(|line| line.iter().map(|&x| x == 0.0).collect()).collect())
            .collect()
    }

    #[test]
    fn documents_of_a_packed_row_do_not_see_each_other() {
        let mut batch = Batch::new(vec![vec![1, 2, 3, 4]]).unwrap();
        batch.position_ids = Some(vec![vec![0, 1, 0, 1]]);
        let expected = [
            [true, false, false, false],
            [true, true, false, false],
            [false, false, true, false],
            [false, false, true, true],
        ];
        assert_eq!(visible(&batch)[0], expected);
    }

    #[test]
    fn a_window_counts_the_token_itself() {
        let seen = within(&Batch::new(vec![vec![1; 8]]).unwrap(), Some(4));
        assert_eq!(seen[0][7], [false, false, false, false, true, true, true, true]);
        assert_eq!(seen[0][4], [false, true, true, true, true, false, false, false]);
        assert_eq!(seen[0][2], [true, true, true, false, false, false, false, false]);
    }

    #[test]
    fn padding_is_not_seen() {
        let mut batch = Batch::new(vec![vec![1, 2, 0]]).unwrap();
        batch.attention_mask = Some(vec![vec![1, 1, 0]]);
        assert_eq!(visible(&batch)[0][2], [true, true, false]);
    }
}
