//! Which token sees which, as a rule.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use candle_core::{Device, DeviceLocation, Result, Tensor};

use super::blocks::{Cover, Rule, ScoreLine};
use super::flex::BlockMask;
use super::implementation::AttentionError;
use crate::ops::cuda::DeviceMask;
use crate::ops::element::Wide;

/// Finite, so that a query that sees nothing (left padding) averages all keys instead of becoming NaN.
const HIDDEN: f32 = -1e30;

/// Which keys each query of a batch sees: itself and what is before it, within a window, without padding, within its
/// document. Queries are the last tokens of a row; keys are all, those seen before (cached) first.
///
/// A query that sees nothing (left padding) returns the mean of all values, as with an additive mask.
#[derive(Clone, Debug)]
pub struct AttentionMask(Arc<Rules>);

#[derive(Clone, Debug)]
struct Rules {
    rows: usize,
    queries: usize,
    past_len: usize,
    window: Option<usize>,
    /// `[row][key]`: whether the token is real.
    real: Option<Vec<Vec<bool>>>,
    /// `[row][key]`: the number of the token's document.
    documents: Option<Vec<Vec<u32>>>,
    /// `[row][query]`: the first key of the query's document, if there are documents.
    starts: Vec<Vec<usize>>,
    /// `[row][query]`: whether the query sees nothing; empty if none can.
    fully_masked: Vec<Vec<bool>>,
    /// Whether there may be hidden keys between the first and the last visible one of a query.
    holes: bool,
    /// Made when flex attention first needs it.
    blocks: OnceLock<BlockMask>,
    /// Made when a GPU first needs it.
    device_mask: OnceLock<(DeviceLocation, DeviceMask)>,
    /// Made for its device when the reference first needs it.
    matrix: OnceLock<Tensor>,
}

impl AttentionMask {
    /// Causal: query q of `queries` sees the keys up to `past_len` + q, in each of `rows` rows.
    pub fn causal(rows: usize, queries: usize, past_len: usize) -> Self {
        Self(Arc::new(Rules {
            rows,
            queries,
            past_len,
            window: None,
            real: None,
            documents: None,
            starts: Vec::new(),
            fully_masked: Vec::new(),
            holes: false,
            blocks: OnceLock::new(),
            device_mask: OnceLock::new(),
            matrix: OnceLock::new(),
        }))
    }

    /// Keeps only the last `window` visible tokens, including the query's own: q − w < k ≤ q. `None` keeps all.
    #[must_use]
    pub fn with_window(self, window: Option<usize>) -> Self {
        self.changed(|rules| rules.window = window)
    }

    /// Hides padding; `[row][key]` says which keys are real.
    ///
    /// # Errors
    /// [`AttentionError::Shape`] if there is not one entry for each key.
    pub fn with_padding(self, real: Vec<Vec<bool>>) -> std::result::Result<Self, AttentionError> {
        self.check(real.iter().map(Vec::len), "padding")?;
        Ok(self.changed(|rules| rules.real = Some(real)))
    }

    /// Confines attention to tokens of one document, `[row][key]` being each token's document number.
    ///
    /// # Errors
    /// [`AttentionError::Shape`] if there is not one entry for each key.
    pub fn with_documents(self, documents: Vec<Vec<u32>>) -> std::result::Result<Self, AttentionError> {
        self.check(documents.iter().map(Vec::len), "document numbers")?;
        Ok(self.changed(|rules| rules.documents = Some(documents)))
    }

    fn check(&self, lengths: impl Iterator<Item = usize>, what: &str) -> std::result::Result<(), AttentionError> {
        let (lengths, expected) = (lengths.collect::<Vec<_>>(), vec![self.keys(); self.rows()]);
        if lengths == expected {
            return Ok(());
        }
        Err(AttentionError::Shape {
            what: format!("{what} of {lengths:?} tokens for rows of {expected:?} keys"),
            advice: "give one entry for each cached token and each token of the batch",
        })
    }

    fn changed(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        let rules = Arc::make_mut(&mut self.0);
        (rules.blocks, rules.device_mask, rules.matrix) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        change(rules);
        let (queries, past_len) = (rules.queries, rules.past_len);
        let first_alike = |documents: &Vec<u32>| {
            let mut firsts = std::collections::HashMap::new();
            documents.iter().enumerate().for_each(|(key, document)| {
                firsts.entry(*document).or_insert(key);
            });
            (0..queries).map(|query| firsts[&documents[past_len + query]]).collect()
        };
        rules.starts = rules.documents.iter().flatten().map(first_alike).collect();
        let rises = |documents: &Vec<u32>| documents.windows(2).all(|pair| pair[0] <= pair[1]);
        rules.holes = rules.real.is_some() || rules.documents.iter().flatten().any(|documents| !rises(documents));
        rules.fully_masked = Vec::new();
        if self.0.real.is_some() {
            let rows = 0..self.0.rows;
            let fully_masked =
                rows.map(|row| (0..queries).map(|query| self.is_fully_masked(row, query)).collect()).collect();
            Arc::make_mut(&mut self.0).fully_masked = fully_masked;
        }
        self
    }

    /// Returns the number of rows of the batch.
    pub fn rows(&self) -> usize {
        self.0.rows
    }

    /// Returns the number of queries in each row.
    pub fn queries(&self) -> usize {
        self.0.queries
    }

    /// Returns the number of keys in each row, including cached ones.
    pub fn keys(&self) -> usize {
        self.0.past_len + self.0.queries
    }

    /// Returns whether `query` of `row` sees `key`.
    pub fn allows(&self, row: usize, query: usize, key: usize) -> bool {
        let rules = &*self.0;
        let at = rules.past_len + query;
        key <= at
            && rules.window.is_none_or(|window| key + window > at)
            && rules.real.as_ref().is_none_or(|real| real[row][key])
            && rules.documents.as_ref().is_none_or(|documents| documents[row][key] == documents[row][at])
    }

    /// The keys between the first and the last that `query` of `row` may see; padding within is still to be left out.
    pub fn range(&self, row: usize, query: usize) -> Range<usize> {
        let rules = &*self.0;
        let end = rules.past_len + query + 1;
        let within = rules.window.map_or(0, |window| end.saturating_sub(window));
        within.max(rules.starts.get(row).map_or(0, |starts| starts[query]))..end
    }

    fn is_fully_masked(&self, row: usize, query: usize) -> bool {
        !self.range(row, query).any(|key| self.allows(row, query, key))
    }

    pub(super) fn fully_masked(&self, row: usize, query: usize) -> bool {
        self.0.fully_masked.get(row).is_some_and(|row| row[query])
    }

    /// Returns whether a query sees nothing.
    pub(super) fn has_fully_masked(&self) -> bool {
        self.0.fully_masked.iter().flatten().any(|&fully_masked| fully_masked)
    }

    /// Returns the rule as a GPU's kernels take it, uploaded once.
    pub(super) fn device_mask(&self, device: &Device) -> Result<DeviceMask> {
        if let Some((_, device_mask)) = self.0.device_mask.get().filter(|(location, _)| *location == device.location())
        {
            return Ok(device_mask.clone());
        }
        let (rules, shape) = (&*self.0, (self.rows(), self.keys()));
        let padded = rules.real.as_ref().map(|real| real.iter().flatten().map(|&real| u8::from(!real)).collect());
        let padded = padded.map(|padded: Vec<u8>| Tensor::from_vec(padded, shape, device)).transpose()?;
        let documents = rules.documents.as_ref().map(|documents| documents.concat());
        let documents = documents.map(|documents| Tensor::from_vec(documents, shape, device)).transpose()?;
        let device_mask = DeviceMask { padded, documents, past_len: rules.past_len, window: rules.window };
        let _ = rules.device_mask.set((device.location(), device_mask.clone()));
        Ok(device_mask)
    }

    /// The rule as a matrix to be added to scores, `[rows or 1, 1, queries, keys]` in float32: 0 where a key is seen,
    /// −1e30 elsewhere.
    ///
    /// # Errors
    /// candle's error, if the device fails.
    pub fn dense(&self, device: &Device) -> Result<Tensor> {
        let (queries, keys) = (self.queries(), self.keys());
        let rows = if self.0.real.is_none() && self.0.documents.is_none() { 1 } else { self.rows() };
        let mut mask = vec![HIDDEN; rows * queries * keys];
        for (line, cells) in mask.chunks_mut(keys.max(1)).enumerate() {
            let (row, query) = (line / queries, line % queries);
            for key in self.range(row, query) {
                if !self.0.holes || self.allows(row, query, key) {
                    cells[key] = 0.0;
                }
            }
        }
        Tensor::from_vec(mask, (rows, 1, queries, keys), device)
    }

    /// Like [`dense`](Self::dense), made once for all layers.
    pub(super) fn matrix(&self, device: &Device) -> Result<Tensor> {
        match self.0.matrix.get() {
            Some(matrix) if matrix.device().same_device(device) => Ok(matrix.clone()),
            _ => {
                let matrix = self.dense(device)?;
                // The mask of another device stays; the one for this device is then made for each layer.
                let _ = self.0.matrix.set(matrix.clone());
                Ok(matrix)
            }
        }
    }

    /// Returns the table of blocks that flex attention uses, made once.
    pub fn blocks(&self) -> &BlockMask {
        self.0.blocks.get_or_init(|| {
            let rule = Self(Arc::new(Rules { blocks: OnceLock::new(), matrix: OnceLock::new(), ..(*self.0).clone() }));
            let rows = self.rows();
            BlockMask::new(rows, 1, self.queries(), self.keys(), move |row, _, query, key| rule.allows(row, query, key))
        })
    }
}

impl Rule for AttentionMask {
    fn span(&self, row: usize, _: usize, queries: Range<usize>) -> Range<usize> {
        if queries.clone().any(|query| self.fully_masked(row, query)) {
            return 0..self.keys();
        }
        let first = queries.clone().map(|query| self.range(row, query).start).min().unwrap_or(0);
        first..queries.end + self.0.past_len
    }

    fn cover(&self, row: usize, _: usize, queries: Range<usize>, keys: Range<usize>) -> Cover {
        if self.0.holes {
            return Cover::Partial;
        }
        let ranges = || queries.clone().map(|query| self.range(row, query));
        if ranges().all(|range| range.start <= keys.start && keys.end <= range.end) {
            Cover::Full
        } else if ranges().all(|range| range.end <= keys.start || keys.end <= range.start) {
            Cover::Empty
        } else {
            Cover::Partial
        }
    }

    fn apply<T: Wide>(&self, line: ScoreLine, cover: Cover, scores: &mut [T]) {
        if cover == Cover::Full {
            return;
        }
        let ScoreLine { row, query, first, .. } = line;
        if self.fully_masked(row, query) {
            scores.fill(T::ZERO);
            return;
        }
        let range = self.range(row, query);
        let start = range.start.saturating_sub(first).min(scores.len());
        let end = range.end.saturating_sub(first).clamp(start, scores.len());
        scores[..start].fill(T::LOWEST);
        scores[end..].fill(T::LOWEST);
        if self.0.holes {
            for (key, score) in (first + start..).zip(&mut scores[start..end]) {
                if !self.allows(row, query, key) {
                    *score = T::LOWEST;
                }
            }
        }
    }
}
