//! Attention by blocks on the CPU, which sdpa, flash and flex share.
//!
//! For a block of queries, blocks of keys are taken one after another with a running softmax (maximum m, sum l): one
//! block of all visible keys makes it the plain softmax. m and 1/l are kept for each query (two numbers, because the
//! single number m + ln l has few digits left for l where scores are large); backward computes the weights again from them. With P = softmax(S), O = P V and D = rowsum(dO ∘ O):
//! dV = Pᵀ dO, dS = P ∘ (dO Vᵀ − D), dQ = dS K · scale, dK = dSᵀ Q · scale.

use std::ops::Range;

use candle_core::{CpuStorage, Result};
use rayon::prelude::*;

use crate::ops::element::{Wide, Window, product};
use crate::ops::rows::exponentials;

/// Which pairs of a block are visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cover {
    Empty,
    Partial,
    Full,
}

/// Where a line of scores is: query `query` of row and head, from key `first` on.
#[derive(Clone, Copy)]
pub(super) struct ScoreLine {
    pub(super) row: usize,
    pub(super) head: usize,
    pub(super) query: usize,
    pub(super) first: usize,
}

/// Which pairs of query and key count.
pub(super) trait Rule: Sync {
    /// A range that holds every key which one of the queries sees.
    fn span(&self, row: usize, head: usize, queries: Range<usize>) -> Range<usize>;
    fn cover(&self, row: usize, head: usize, queries: Range<usize>, keys: Range<usize>) -> Cover;
    /// Sets the hidden scores of a line to −∞ (and adds what the rule adds to scores).
    fn apply<T: Wide>(&self, line: ScoreLine, cover: Cover, scores: &mut [T]);
}

/// Sizes of one call: q `[rows, heads, queries, width]`, k and v `[rows, kv_heads, keys, width]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) rows: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) width: usize,
}

/// A contiguous tensor inside a storage of the wide type.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a> {
    pub(super) storage: &'a CpuStorage,
    pub(super) offset: usize,
}

/// One call's operands and constants.
pub(super) struct Call<'a, T, R> {
    pub(super) sizes: Sizes,
    pub(super) q: Operand<'a>,
    pub(super) k: Operand<'a>,
    pub(super) v: Operand<'a>,
    pub(super) rule: &'a R,
    pub(super) scale: T,
    /// One for each head; slope · (key − query) is added to the scaled score.
    pub(super) slopes: Option<&'a [T]>,
    /// One for each head: the score of a further key whose value is zero.
    pub(super) sinks: Option<&'a [T]>,
    /// Scaled scores saturate at ± this number.
    pub(super) softcap: Option<T>,
    /// Queries and keys of one block; without a number of keys, all keys of a block of queries at once.
    pub(super) block: (usize, Option<usize>),
}

/// Gradients of all inputs of a call.
pub(super) struct CallGradients<T> {
    pub(super) q: Vec<T>,
    pub(super) k: Vec<T>,
    pub(super) v: Vec<T>,
    /// Of the slopes for each head, then of the sinks for each head.
    pub(super) per_head: Vec<f64>,
}

/// One query head's block of queries.
struct Tile {
    row: usize,
    head: usize,
    queries: Range<usize>,
}

impl<T: Wide, R: Rule> Call<'_, T, R> {
    /// Returns the output `[rows, heads, queries, width]` and the normalizers, m and 1/l, `[rows, heads, queries, 2]`.
    pub(super) fn forward(&self) -> Result<(Vec<T>, Vec<T>)> {
        let Sizes { rows, heads, kv_heads, queries, width, .. } = self.sizes;
        let group = heads / kv_heads;
        let mut out = vec![T::ZERO; rows * heads * queries * width];
        let mut normalizers = vec![T::ZERO; rows * heads * queries * 2];
        let tasks = out.par_chunks_mut(group * queries * width).zip(normalizers.par_chunks_mut(group * queries * 2));
        tasks.enumerate().try_for_each(|(task, (out, normalizers))| {
            for tile in self.tiles(task) {
                let at = (tile.head % group) * queries + tile.queries.start;
                let lines = tile.queries.len();
                let (mixed, normalizer) = self.attend(&tile)?;
                out[at * width..][..lines * width].copy_from_slice(&mixed);
                normalizers[at * 2..][..lines * 2].copy_from_slice(&normalizer);
            }
            Ok::<_, candle_core::Error>(())
        })?;
        Ok((out, normalizers))
    }

    /// Blocks of queries of the heads that share the keys of task = row · kv_heads + key head.
    fn tiles(&self, task: usize) -> impl Iterator<Item = Tile> {
        let Sizes { heads, kv_heads, queries, .. } = self.sizes;
        let (group, size) = (heads / kv_heads, self.block.0);
        let (row, first) = (task / kv_heads, task % kv_heads * group);
        (first..first + group).flat_map(move |head| {
            let starts = (0..queries).step_by(size);
            starts.map(move |start| Tile { row, head, queries: start..(start + size).min(queries) })
        })
    }

    fn key_blocks(&self, tile: &Tile) -> impl Iterator<Item = (Range<usize>, Cover)> {
        let span = self.rule.span(tile.row, tile.head, tile.queries.clone());
        let size = self.block.1.unwrap_or(span.len()).max(1);
        // Aligned, so that a table of blocks can be looked up.
        let start = if self.block.1.is_some() { span.start / size * size } else { span.start };
        let (row, head, queries) = (tile.row, tile.head, tile.queries.clone());
        (start..span.end).step_by(size).filter_map(move |start| {
            let keys = start..(start + size).min(span.end);
            let cover = self.rule.cover(row, head, queries.clone(), keys.clone());
            (cover != Cover::Empty).then_some((keys, cover))
        })
    }

    /// Returns the offset of a query's (or output's) line.
    fn query_line(&self, tile: &Tile) -> usize {
        ((tile.row * self.sizes.heads + tile.head) * self.sizes.queries + tile.queries.start) * self.sizes.width
    }

    fn key_line(&self, tile: &Tile, key: usize) -> usize {
        let Sizes { heads, kv_heads, keys, width, .. } = self.sizes;
        ((tile.row * kv_heads + tile.head / (heads / kv_heads)) * keys + key) * width
    }

    /// Scaled, biased and masked scores `[queries, keys]` of a block.
    fn scores(&self, tile: &Tile, keys: &Range<usize>, cover: Cover) -> Result<Vec<T>> {
        let width = self.sizes.width;
        let q = Window::new(self.q.storage, self.q.offset + self.query_line(tile), (width, 1));
        let k = Window::new(self.k.storage, self.k.offset + self.key_line(tile, keys.start), (1, width));
        let mut scores: Vec<T> = product((tile.queries.len(), keys.len(), width), q, k)?;
        for (query, line) in tile.queries.clone().zip(scores.chunks_mut(keys.len())) {
            line.iter_mut().for_each(|score| *score *= self.scale);
            if let Some(cap) = self.softcap {
                line.iter_mut().for_each(|score| *score = cap * (*score / cap).tanh());
            }
            if let Some(slopes) = self.slopes {
                let at = query + self.sizes.keys - self.sizes.queries;
                let (slope, first) = (slopes[tile.head], keys.start as f64 - at as f64);
                for (step, score) in line.iter_mut().enumerate() {
                    *score += slope * T::of(first + step as f64);
                }
            }
            let at = ScoreLine { row: tile.row, head: tile.head, query, first: keys.start };
            self.rule.apply(at, cover, line);
        }
        Ok(scores)
    }

    /// Output lines and their normalizers.
    fn attend(&self, tile: &Tile) -> Result<(Vec<T>, Vec<T>)> {
        let (lines, width) = (tile.queries.len(), self.sizes.width);
        let mut mixed = vec![T::ZERO; lines * width];
        // A sink is the first key that the running softmax meets: exp(sink − sink) = 1.
        let (first, sum) = self.sinks.map_or((T::LOWEST, T::ZERO), |sinks| (sinks[tile.head], T::ONE));
        let mut highest = vec![first; lines];
        let mut sums = vec![sum; lines];
        for (keys, cover) in self.key_blocks(tile) {
            let mut weights = self.scores(tile, &keys, cover)?;
            for (line, weights) in weights.chunks_mut(keys.len()).enumerate() {
                let before = highest[line];
                let now = weights.iter().fold(before, |most, &score| score.at_least(most));
                // Nothing is visible in this block. NaN scores are not skipped: they reach the output.
                if now == T::LOWEST && weights.iter().all(|&score| score == T::LOWEST) {
                    weights.fill(T::ZERO);
                    continue;
                }
                let kept = (before - now).exp();
                sums[line] = sums[line] * kept + exponentials(weights, now);
                highest[line] = now;
                if kept != T::ONE {
                    mixed[line * width..][..width].iter_mut().for_each(|x| *x *= kept);
                }
            }
            let weights = T::storage(weights);
            let v = Window::new(self.v.storage, self.v.offset + self.key_line(tile, keys.start), (width, 1));
            let part: Vec<T> = product((lines, width, keys.len()), Window::new(&weights, 0, (keys.len(), 1)), v)?;
            mixed.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        let mut normalizers = Vec::with_capacity(2 * lines);
        for ((line, highest), sum) in mixed.chunks_mut(width).zip(highest).zip(sums) {
            let share = if sum > T::ZERO { T::ONE / sum } else { T::ZERO };
            line.iter_mut().for_each(|x| *x *= share);
            normalizers.extend([highest, share]);
        }
        Ok((mixed, normalizers))
    }

    /// Gradients for `out` and `normalizers` of [`forward`](Self::forward) and the gradient `g` of the output.
    pub(super) fn backward(&self, out: &[T], normalizers: &[T], g: Operand<'_>) -> Result<CallGradients<T>> {
        let Sizes { rows, heads, kv_heads, queries, keys, width } = self.sizes;
        let group = heads / kv_heads;
        let mut of_q = vec![T::ZERO; rows * heads * queries * width];
        let mut of_k = vec![T::ZERO; rows * kv_heads * keys * width];
        let mut of_v = of_k.clone();
        let tasks = of_q.par_chunks_mut(group * queries * width);
        let tasks = tasks.zip(of_k.par_chunks_mut(keys * width)).zip(of_v.par_chunks_mut(keys * width));
        let per_head = tasks.enumerate().map(|(task, ((of_q, of_k), of_v))| {
            let mut per_head = vec![(0.0, 0.0); group];
            for tile in self.tiles(task) {
                let head = tile.head % group;
                let at = head * queries + tile.queries.start;
                let of_q = &mut of_q[at * width..][..tile.queries.len() * width];
                let (slope, sink) = self.attend_backward(&tile, (out, normalizers, g), of_q, of_k, of_v)?;
                per_head[head].0 += slope;
                per_head[head].1 += sink;
            }
            Ok::<_, candle_core::Error>(per_head)
        });
        let per_head: Vec<(f64, f64)> = per_head.collect::<Result<Vec<_>>>()?.concat();
        // Tasks go by row, then by head.
        let of_head = |head: usize| per_head.iter().skip(head).step_by(heads);
        let slopes = (0..heads).map(|head| of_head(head).map(|found| found.0).sum());
        let sinks = (0..heads).map(|head| of_head(head).map(|found| found.1).sum());
        Ok(CallGradients { q: of_q, k: of_k, v: of_v, per_head: slopes.chain(sinks).collect() })
    }

    /// Adds one block of queries' part of the gradients; gives those of the head's slope and sink.
    fn attend_backward(
        &self,
        tile: &Tile,
        (out, normalizers, g): (&[T], &[T], Operand<'_>),
        of_q: &mut [T],
        of_k: &mut [T],
        of_v: &mut [T],
    ) -> Result<(f64, f64)> {
        let (lines, width) = (tile.queries.len(), self.sizes.width);
        let first = self.query_line(tile);
        let normalizers = &normalizers[first / width * 2..][..lines * 2];
        let g_values = T::values(g.storage).unwrap_or_default();
        let dot = |(a, b): (&[T], &[T])| a.iter().zip(b).map(|(&a, &b)| a * b).sum();
        let (out, g_lines) = (&out[first..][..lines * width], &g_values[g.offset + first..][..lines * width]);
        let along: Vec<T> = out.chunks(width).zip(g_lines.chunks(width)).map(dot).collect();
        let g = Window::new(g.storage, g.offset + first, (width, 1));
        let q = Window::new(self.q.storage, self.q.offset + first, (width, 1));
        let mut of_slopes = vec![SlopeGradient::default(); lines];
        for (keys, cover) in self.key_blocks(tile) {
            let count = keys.len();
            let line = self.key_line(tile, keys.start);
            let mut weights = self.scores(tile, &keys, cover)?;
            let capped = self.softcap.map(|cap| (cap, weights.clone()));
            for (weights, normalizer) in weights.chunks_mut(count).zip(normalizers.chunks(2)) {
                weights.iter_mut().for_each(|score| *score = (*score - normalizer[0]).exp() * normalizer[1]);
            }
            let v = Window::new(self.v.storage, self.v.offset + line, (1, width));
            let mut of_scores: Vec<T> = product((lines, count, width), g, v)?;
            for (index, (of_scores, weights)) in of_scores.chunks_mut(count).zip(weights.chunks(count)).enumerate() {
                of_scores.iter_mut().zip(weights).for_each(|(d, &p)| *d = p * (*d - along[index]));
                if self.slopes.is_some() {
                    let at = tile.queries.start + index + self.sizes.keys - self.sizes.queries;
                    let from = keys.start as f64 - at as f64;
                    of_slopes[index].add(from, of_scores, weights);
                }
                of_scores.iter_mut().for_each(|d| *d *= self.scale);
                if let Some((cap, capped)) = &capped {
                    // The derivative of the cap; hidden keys, whose scores are not finite, have no share.
                    let capped = &capped[index * count..][..count];
                    for ((d, &score), &p) in of_scores.iter_mut().zip(capped).zip(weights) {
                        let share = score / *cap;
                        *d = if p == T::ZERO { T::ZERO } else { *d * (T::ONE - share * share) };
                    }
                }
            }
            let own = keys.start * width..keys.end * width;
            let (weights, of_scores) = (T::storage(weights), T::storage(of_scores));
            let turned = |storage| Window::new(storage, 0, (1, count));
            add(&mut of_v[own.clone()], product((count, width, lines), turned(&weights), g)?);
            add(&mut of_k[own], product((count, width, lines), turned(&of_scores), q)?);
            let k = Window::new(self.k.storage, self.k.offset + line, (width, 1));
            add(of_q, product((lines, width, count), Window::new(&of_scores, 0, (count, 1)), k)?);
        }
        // The value of a sink's key is zero, so its dS is −P · D.
        let mut of_sink = 0.0;
        if let Some(sinks) = self.sinks {
            let lines = normalizers.chunks(2).zip(&along);
            for ((normal, &d), of_slope) in lines.zip(&mut of_slopes) {
                let of_score = -((sinks[tile.head] - normal[0]).exp() * normal[1] * d).to_f64();
                of_sink += of_score;
                of_slope.excess += of_score;
            }
        }
        Ok((of_slopes.iter().map(SlopeGradient::value).sum(), of_sink))
    }
}

/// One query's part of its slope's gradient, Σ dS·(k − q). It is the difference of large numbers, in which the rounding error
/// of D is weighted by the distance of the keys; but Σ dS, with that of a sink, is 0, so its computed value gives the error
/// of D.
#[derive(Clone, Copy, Default)]
struct SlopeGradient {
    found: f64,
    excess: f64,
    distance: f64,
}

impl SlopeGradient {
    /// Adds a block's dS and P, the first key being `from` after the query.
    fn add<T: Wide>(&mut self, from: f64, of_scores: &[T], weights: &[T]) {
        for (step, (d, p)) in of_scores.iter().zip(weights).enumerate() {
            let (d, distance) = (d.to_f64(), from + step as f64);
            self.found += d * distance;
            self.excess += d;
            self.distance += p.to_f64() * distance;
        }
    }

    fn value(&self) -> f64 {
        self.found - self.excess * self.distance
    }
}

fn add<T: Wide>(sum: &mut [T], part: Vec<T>) {
    sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
}
