//! Attention of the reference forward: plain loops over queries.

use rayon::prelude::*;

use super::arithmetic::{Activations, Real, dot};

/// What attention computes scores by.
#[derive(Clone, Debug)]
pub(super) struct Scores {
    /// Query heads, key heads, and the width of a head.
    pub(super) heads: (usize, usize, usize),
    /// How many tokens a query sees, itself included.
    pub(super) window: usize,
    /// Whether it sees tokens of its own part of this many instead.
    pub(super) chunks: bool,
    pub(super) factor: f64,
    /// The bound of scores.
    pub(super) softcap: Option<f64>,
    /// How fast scores fall with distance, for each head.
    pub(super) slopes: Option<Vec<f64>>,
    /// One more logit for each head.
    pub(super) sinks: Option<Vec<f32>>,
}

/// Causal attention of one sequence: query head h reads key head h / (heads / groups).
pub(super) fn attend<F: Real>(
    q: &Activations<F>,
    k: &Activations<F>,
    v: &Activations<F>,
    scores: &Scores,
) -> Activations<F> {
    let (heads, groups, head) = scores.heads;
    let tokens = q.data.len() / q.width;
    let mut data = vec![F::default(); tokens * heads * head];
    data.par_chunks_exact_mut(heads * head).enumerate().for_each(|(token, out)| {
        for (index, out) in out.chunks_exact_mut(head).enumerate() {
            let query = &q.data[token * q.width + index * head..][..head];
            let offset = index / (heads / groups) * head;
            let first = match scores.chunks {
                true => token - token % scores.window,
                false => (token + 1).saturating_sub(scores.window),
            };
            let logits: Vec<f64> = (first..=token)
                .map(|past| {
                    let key = &k.data[past * k.width + offset..][..head];
                    let product: f64 = dot(query, key, |number| number).into();
                    let score = product * scores.factor;
                    let score = scores.softcap.map_or(score, |cap| cap * (score / cap).tanh());
                    let slope = scores.slopes.as_ref().map_or(0.0, |slopes| slopes[index]);
                    score - slope * (token - past) as f64
                })
                .collect();
            let sink = scores.sinks.as_ref().map(|sinks| f64::from(sinks[index]));
            let top = logits.iter().copied().chain(sink).fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = logits.iter().copied().chain(sink).map(|logit| (logit - top).exp()).sum();
            for (past, logit) in (first..).zip(&logits) {
                let weight = F::nearest((logit - top).exp() / total);
                for (out, value) in out.iter_mut().zip(&v.data[past * v.width + offset..][..head]) {
                    *out += weight * *value;
                }
            }
        }
    });
    Activations { data, width: heads * head }
}

/// Slopes of ALiBi (Press et al. 2022): 2^(−8/n), 2^(−16/n) … for n heads, n a power of two. Other numbers of heads take
/// those of the power of two below, and then every other one of twice that power.
pub(super) fn slopes(heads: usize) -> Vec<f64> {
    let below = 1 << heads.max(1).ilog2();
    let slope = |index: usize, of: usize| (-8.0 * index as f64 / of as f64).exp2();
    let between = (0..heads - below).map(|index| slope(2 * index + 1, 2 * below));
    (1..=below).map(|index| slope(index, below)).chain(between).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_those_of_the_paper() {
        let powers = |heads| slopes(heads).into_iter().map(|slope| -slope.log2()).collect::<Vec<_>>();
        assert_eq!(powers(8), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        assert_eq!(powers(6), [2.0, 4.0, 6.0, 8.0, 1.0, 3.0]);
    }
}
