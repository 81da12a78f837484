//! Which token sees which: causality, padding and document boundaries as numbers added to attention scores.

use candle_core::{Device, Result, Tensor};

use super::Batch;

/// Finite, so that a row which sees nothing (left padding) averages instead of becoming NaN.
const HIDDEN: f32 = -1e30;

/// `[batch or 1, 1, seq, seen + seq]` in float32: 0 where query q may see key k, hugely negative elsewhere.
///
/// A token sees itself and earlier tokens. With `attention_mask`, padding is never seen. With positions but without a
/// mask, a row holds documents: a new one starts wherever a position is not its predecessor plus one, and documents do
/// not see each other (the rule of transformers' packed sequences).
/// With a window of w, query q sees the keys k with q − w < k ≤ q.
pub(super) fn additive(batch: &Batch, seen: usize, window: Option<usize>, device: &Device) -> Result<Tensor> {
    let (rows, seq) = batch.dims();
    let keys = seen + seq;
    let documents = match (&batch.attention_mask, &batch.position_ids) {
        (None, Some(positions)) if seen == 0 => Some(positions.iter().map(|row| document_of(row)).collect::<Vec<_>>()),
        _ => None,
    };
    let shared = batch.attention_mask.is_none() && documents.is_none();
    let count = if shared { 1 } else { rows };
    let mut mask = vec![HIDDEN; count * seq * keys];
    for row in 0..count {
        for query in 0..seq {
            let line = &mut mask[(row * seq + query) * keys..][..keys];
            let first = window.map_or(0, |window| (seen + query + 1).saturating_sub(window));
            for (key, cell) in line.iter_mut().enumerate().take(seen + query + 1).skip(first) {
                // Keys from the cache are real tokens: padding is only known for the tokens of this batch.
                let real = key < seen || batch.attention_mask.as_ref().is_none_or(|mask| mask[row][key - seen] != 0);
                let together = documents.as_ref().is_none_or(|documents| documents[row][key] == documents[row][query]);
                if real && together {
                    *cell = 0.0;
                }
            }
        }
    }
    Tensor::from_vec(mask, (count, 1, seq, keys), device)
}

fn document_of(positions: &[u32]) -> Vec<usize> {
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
    use super::*;

    fn visible(batch: &Batch) -> Vec<Vec<Vec<bool>>> {
        within(batch, None)
    }

    fn within(batch: &Batch, window: Option<usize>) -> Vec<Vec<Vec<bool>>> {
        let mask = additive(batch, 0, window, &Device::Cpu).unwrap().squeeze(1).unwrap().to_vec3::<f32>().unwrap();
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
