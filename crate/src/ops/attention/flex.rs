//! A mask as a function, and the table of blocks that follows from it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

use super::blocks::{Cover, Rule, ScoreLine};
use crate::ops::element::Wide;

/// Queries and keys of one block.
pub(super) const BLOCK: usize = 64;

type Visible = dyn Fn(usize, usize, usize, usize) -> bool + Send + Sync;
type Score = dyn Fn(usize, usize, usize, usize) -> f32 + Send + Sync;

/// Which keys a query sees, by any function of (row, head, query, key), with a table of which blocks of 64 by 64 hold
/// none, some or only visible pairs. It is made once and used in every layer.
#[derive(Clone)]
pub struct BlockMask(Arc<Table>);

struct Table {
    /// Rows of the batch, and heads; 1 where the function does not depend on it.
    rows: usize,
    heads: usize,
    queries: usize,
    keys: usize,
    visible: Box<Visible>,
    score: Option<Box<Score>>,
    /// `[row][head][block of queries][block of keys]`.
    covers: Vec<Cover>,
    /// `[row][head][query]`: whether it sees nothing.
    fully_masked: Vec<bool>,
}

impl BlockMask {
    /// Asks `visible(row, head, query, key)` for every pair. `rows` and `heads` are 1 if it does not depend on them.
    pub fn new(
        rows: usize,
        heads: usize,
        queries: usize,
        keys: usize,
        visible: impl Fn(usize, usize, usize, usize) -> bool + Send + Sync + 'static,
    ) -> Self {
        let blocks = (queries.div_ceil(BLOCK), keys.div_ceil(BLOCK));
        let mut covers = Vec::with_capacity(rows * heads * blocks.0 * blocks.1);
        let mut fully_masked = Vec::with_capacity(rows * heads * queries);
        for (row, head) in (0..rows).flat_map(|row| (0..heads).map(move |head| (row, head))) {
            for first in (0..queries).step_by(BLOCK) {
                let mut counts = vec![0; blocks.1];
                let mut is_fully_masked = false;
                let taken = first..(first + BLOCK).min(queries);
                for query in taken.clone() {
                    let before: usize = counts.iter().sum();
                    for (key, count) in (0..keys).map(|key| (key, key / BLOCK)) {
                        counts[count] += usize::from(visible(row, head, query, key));
                    }
                    let nothing = counts.iter().sum::<usize>() == before;
                    fully_masked.push(nothing);
                    is_fully_masked |= nothing;
                }
                covers.extend(counts.iter().enumerate().map(|(block, &count)| {
                    let pairs = taken.len() * BLOCK.min(keys - block * BLOCK);
                    match count {
                        // A query that sees nothing averages all keys.
                        _ if is_fully_masked => Cover::Partial,
                        0 => Cover::Empty,
                        count if count == pairs => Cover::Full,
                        _ => Cover::Partial,
                    }
                }));
            }
        }
        Self(Arc::new(Table {
            rows,
            heads,
            queries,
            keys,
            visible: Box::new(visible),
            score: None,
            covers,
            fully_masked,
        }))
    }

    /// Adds `score(row, head, query, key)` to the scaled score of each pair.
    #[must_use]
    pub fn with_score(self, score: impl Fn(usize, usize, usize, usize) -> f32 + Send + Sync + 'static) -> Self {
        let Self(table) = &self;
        let visible = self.clone();
        let visible = move |row, head, query, key| (visible.0.visible)(row, head, query, key);
        Self(Arc::new(Table {
            visible: Box::new(visible),
            score: Some(Box::new(score)),
            covers: table.covers.clone(),
            fully_masked: table.fully_masked.clone(),
            ..**table
        }))
    }

    /// Returns how many blocks are empty, partial and full.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |cover| self.0.covers.iter().filter(|&&each| each == cover).count();
        (count(Cover::Empty), count(Cover::Partial), count(Cover::Full))
    }

    /// What is added to scores, as a matrix `[rows, heads, queries, keys]` in float32: −1e30 where a pair is hidden.
    pub(super) fn dense(&self, rows: usize, heads: usize, device: &Device) -> Result<Tensor> {
        let (queries, keys) = (self.0.queries, self.0.keys);
        let mut mask = Vec::with_capacity(rows * heads * queries * keys);
        for (row, head) in (0..rows).flat_map(|row| (0..heads).map(move |head| (row, head))) {
            for (query, key) in (0..queries).flat_map(|query| (0..keys).map(move |key| (query, key))) {
                let score = self.0.score.as_ref().map_or(0.0, |score| score(row, head, query, key));
                mask.push(if (self.0.visible)(row, head, query, key) { score } else { -1e30 });
            }
        }
        Tensor::from_vec(mask, (rows, heads, queries, keys), device)
    }

    pub(super) fn fits(&self, rows: usize, heads: usize, queries: usize, keys: usize) -> bool {
        let Table { rows: own_rows, heads: own_heads, .. } = *self.0;
        [1, rows].contains(&own_rows)
            && [1, heads].contains(&own_heads)
            && (self.0.queries, self.0.keys) == (queries, keys)
    }

    /// Returns the line of (row, head) in the tables.
    fn index(&self, row: usize, head: usize) -> usize {
        row.min(self.0.rows - 1) * self.0.heads + head.min(self.0.heads - 1)
    }

    fn line(&self, row: usize, head: usize, queries: &Range<usize>) -> &[Cover] {
        let (lines, width) = (self.0.queries.div_ceil(BLOCK), self.0.keys.div_ceil(BLOCK));
        let line = self.index(row, head) * lines + queries.start / BLOCK;
        &self.0.covers[line * width..][..width]
    }
}

impl fmt::Debug for BlockMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (empty, partial, full) = self.counts();
        write!(f, "BlockMask({empty} empty, {partial} partial, {full} full blocks)")
    }
}

impl Rule for BlockMask {
    fn span(&self, row: usize, head: usize, queries: Range<usize>) -> Range<usize> {
        let line = self.line(row, head, &queries);
        let shown = |cover: &Cover| *cover != Cover::Empty;
        match (line.iter().position(shown), line.iter().rposition(shown)) {
            (Some(first), Some(last)) => first * BLOCK..((last + 1) * BLOCK).min(self.0.keys),
            _ => 0..0,
        }
    }

    fn cover(&self, row: usize, head: usize, queries: Range<usize>, keys: Range<usize>) -> Cover {
        self.line(row, head, &queries)[keys.start / BLOCK]
    }

    fn apply<T: Wide>(&self, line: ScoreLine, cover: Cover, scores: &mut [T]) {
        let ScoreLine { row, head, query, first } = line;
        if let Some(score) = &self.0.score {
            for (key, value) in (first..).zip(scores.iter_mut()) {
                *value += T::of(f64::from(score(row, head, query, key)));
            }
        }
        if cover == Cover::Full {
            return;
        }
        if self.0.fully_masked[self.index(row, head) * self.0.queries + query] {
            scores.fill(T::ZERO);
            return;
        }
        for (key, score) in (first..).zip(scores) {
            if !(self.0.visible)(row, head, query, key) {
                *score = T::LOWEST;
            }
        }
    }
}
