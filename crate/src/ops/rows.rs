//! How rows are shared among threads, and sums over rows that do not depend on how.

use candle_core::{Error, Layout, Result};
use rayon::prelude::*;

use super::element::{Element, Wide};

/// Elements of work below which another task costs more than it saves.
const GRAIN: usize = 16 * 1024;

/// Returns the rows of this width that one task should take at least.
pub(super) fn per_task(width: usize) -> usize {
    (GRAIN / width.max(1)).max(1)
}

/// Returns the number of elements of a weight, if that is the last dimension of `x`.
pub(super) fn width(x: &Layout, weight: &Layout, op: &'static str) -> Result<usize> {
    let width = weight.shape().elem_count();
    if width == 0 || x.dims().last() != Some(&width) {
        return Err(Error::ShapeMismatchBinaryOp { lhs: x.shape().clone(), rhs: weight.shape().clone(), op }.bt());
    }
    Ok(width)
}

/// Runs `row` on each row of (x, g) with its row of `out`, in parallel; each run adds to the `count` sums that it is
/// given. Gives the totals. Rows are grouped by their number alone, so that the result does not depend on the threads.
pub(super) fn summed_rows<T: Element>(
    (x, g): (&[T], &[T]),
    out: &mut [T],
    width: usize,
    count: usize,
    row: impl Fn((&[T], &[T]), &mut [T], &mut [T::Wide]) + Sync,
) -> Vec<T::Wide> {
    let block = width * (x.len() / width).div_ceil(64).max(per_task(width));
    let blocks = out.par_chunks_mut(block).zip(x.par_chunks(block)).zip(g.par_chunks(block));
    let partial: Vec<Vec<T::Wide>> = blocks
        .map(|((out, x), g)| {
            let mut sums = vec![T::Wide::ZERO; count];
            let rows = out.chunks_mut(width).zip(x.chunks(width)).zip(g.chunks(width));
            rows.for_each(|((out, x), g)| row((x, g), out, &mut sums));
            sums
        })
        .collect();
    let mut total = vec![T::Wide::ZERO; count];
    for sums in partial {
        total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
    }
    total
}

const STRANDS: usize = 8;

/// Σ a·b in eight strands, which become vector lanes and lose less to rounding than one.
pub(super) fn dot<T: Element>(a: &[T], b: &[T]) -> T::Wide {
    let mut strands = [T::Wide::ZERO; STRANDS];
    let (a, b) = (a.chunks_exact(STRANDS), b.chunks_exact(STRANDS));
    let rest = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a.wide() * b.wide());
    strands[0] += rest.sum();
    for (a, b) in a.zip(b) {
        for ((strand, a), b) in strands.iter_mut().zip(a).zip(b) {
            *strand += a.wide() * b.wide();
        }
    }
    strands.into_iter().sum()
}

/// Σ a·b·c, as [`dot`].
pub(super) fn dot3<T: Element>(a: &[T], b: &[T], c: &[T]) -> T::Wide {
    let mut strands = [T::Wide::ZERO; STRANDS];
    let (a, b, c) = (a.chunks_exact(STRANDS), b.chunks_exact(STRANDS), c.chunks_exact(STRANDS));
    let rest = a.remainder().iter().zip(b.remainder()).zip(c.remainder());
    strands[0] += rest.map(|((a, b), c)| a.wide() * b.wide() * c.wide()).sum();
    for ((a, b), c) in a.zip(b).zip(c) {
        for (((strand, a), b), c) in strands.iter_mut().zip(a).zip(b).zip(c) {
            *strand += a.wide() * b.wide() * c.wide();
        }
    }
    strands.into_iter().sum()
}

/// Σ a, as [`dot`].
pub(super) fn total<T: Element>(a: &[T]) -> T::Wide {
    let mut strands = [T::Wide::ZERO; STRANDS];
    let a = a.chunks_exact(STRANDS);
    strands[0] += a.remainder().iter().map(|a| a.wide()).sum();
    for a in a {
        for (strand, a) in strands.iter_mut().zip(a) {
            *strand += a.wide();
        }
    }
    strands.into_iter().sum()
}

/// Scores to exp(score − highest); gives their sum, in strands as [`dot`].
pub(super) fn exponentials<T: Wide>(scores: &mut [T], highest: T) -> T {
    let mut strands = [T::ZERO; 16];
    let mut blocks = scores.chunks_exact_mut(16);
    for block in &mut blocks {
        for (score, strand) in block.iter_mut().zip(&mut strands) {
            *score = (*score - highest).exp();
            *strand += *score;
        }
    }
    for (score, strand) in blocks.into_remainder().iter_mut().zip(&mut strands) {
        *score = (*score - highest).exp();
        *strand += *score;
    }
    strands.into_iter().sum()
}
