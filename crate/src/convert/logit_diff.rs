//! How far two sets of logits are from each other: by position, and by layer.

use crate::tokenizer::TokenizerFiles;

/// One position of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct PositionDiff {
    /// The batch row.
    pub row: usize,
    /// The token's index.
    pub position: usize,
    /// The token's text, where a tokenizer was at hand.
    pub token: Option<String>,
    /// Largest absolute difference over the vocabulary.
    pub max_abs: f32,
    /// Mean absolute difference.
    pub mean_abs: f32,
    /// Kullback-Leibler divergence of the first distribution from the second, in nats.
    pub kl: f64,
    /// Most probable next token of each side.
    pub top1: (u32, u32),
}

/// One layer's residual stream on both sides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerDiff {
    /// The layer's number.
    pub layer: usize,
    /// Largest absolute difference.
    pub max_abs: f32,
    /// Largest absolute value of the first side, to judge the difference by.
    pub scale: f32,
}

/// A comparison of logits in float32.
#[derive(Clone, Debug, PartialEq)]
pub struct LogitDiff {
    /// What the two sides are.
    pub names: (String, String),
    /// Every compared position.
    pub positions: Vec<PositionDiff>,
    /// The residual stream after each layer, where both sides showed it.
    pub layers: Vec<LayerDiff>,
    /// Largest difference that passes.
    pub tolerance: f32,
}

/// Largest absolute difference of float32 logits that passes: a hundred times the noise between two correct
/// implementations, a thousandth of what a swapped projection or a wrong rotary base moves.
pub(super) const TOLERANCE: f32 = 1e-3;

impl LogitDiff {
    /// Compares logits `[rows × seq × vocab]`; `compared` says which positions count (all, or those that are not padding).
    pub fn new(
        names: (&str, &str),
        left: &[f32],
        right: &[f32],
        vocab: usize,
        seq: usize,
        compared: impl Fn(usize, usize) -> bool,
    ) -> Self {
        let mut positions = Vec::new();
        for (index, (a, b)) in left.chunks_exact(vocab).zip(right.chunks_exact(vocab)).enumerate() {
            let (row, position) = (index / seq, index % seq);
            if compared(row, position) {
                positions.push(compare(row, position, a, b));
            }
        }
        let names = (names.0.to_owned(), names.1.to_owned());
        Self { names, positions, layers: Vec::new(), tolerance: TOLERANCE }
    }

    /// Writes each position's text into the table; `id` gives the token at (row, position). Without a tokenizer nothing
    /// changes.
    pub(crate) fn name_tokens(&mut self, tokenizer: &TokenizerFiles, id: impl Fn(usize, usize) -> Option<u32>) {
        let Ok(tokenizer) = tokenizer.tokenizer() else { return };
        for position in &mut self.positions {
            let Some(id) = id(position.row, position.position) else { continue };
            let text = tokenizer.decode(&[id], false).ok().filter(|text| !text.contains('\u{fffd}'));
            // A leading space is part of many tokens, and would not be seen.
            position.token =
                text.map(|text| text.replace(' ', "␣").replace('\n', "⏎")).or_else(|| tokenizer.id_to_token(id));
        }
    }

    /// Largest absolute difference; infinite if any logit is not a number.
    pub fn max_abs(&self) -> f32 {
        self.positions.iter().map(|position| position.max_abs).fold(0.0, f32::max)
    }

    /// Mean of the positions' mean absolute differences.
    pub fn mean_abs(&self) -> f32 {
        self.positions.iter().map(|position| position.mean_abs).sum::<f32>() / self.positions.len().max(1) as f32
    }

    /// Mean divergence in nats.
    pub fn mean_kl(&self) -> f64 {
        self.positions.iter().map(|position| position.kl).sum::<f64>() / self.positions.len().max(1) as f64
    }

    /// Share of positions whose most probable token agrees, from 0 to 1.
    pub fn top1_agreement(&self) -> f64 {
        let agreeing = self.positions.iter().filter(|position| position.top1.0 == position.top1.1).count();
        agreeing as f64 / self.positions.len().max(1) as f64
    }

    /// True if every difference is within the tolerance and something was compared.
    pub fn passed(&self) -> bool {
        !self.positions.is_empty() && self.max_abs() <= self.tolerance
    }

    /// The first layer whose residual stream differs by more than a thousandth of its size.
    pub fn first_divergent_layer(&self) -> Option<usize> {
        let diverges = |layer: &&LayerDiff| layer.max_abs > 1e-3 * layer.scale.max(1.0);
        self.layers.iter().find(diverges).map(|layer| layer.layer)
    }
}

impl LayerDiff {
    /// Compares the residual stream of two sides after one layer.
    pub fn new(layer: usize, left: &[f32], right: &[f32]) -> Self {
        let max_abs = left.iter().zip(right).map(|(a, b)| nan_is_infinite((a - b).abs())).fold(0.0, f32::max);
        Self { layer, max_abs, scale: left.iter().map(|value| value.abs()).fold(0.0, f32::max) }
    }
}

fn compare(row: usize, position: usize, a: &[f32], b: &[f32]) -> PositionDiff {
    let differences = a.iter().zip(b).map(|(a, b)| nan_is_infinite((a - b).abs()));
    let max_abs = differences.clone().fold(0.0, f32::max);
    let mean_abs = differences.sum::<f32>() / a.len().max(1) as f32;
    let (log_a, log_b) = (log_softmax(a), log_softmax(b));
    let kl = log_a.iter().zip(&log_b).map(|(a, b)| a.exp() * (a - b)).sum::<f64>().max(0.0);
    PositionDiff { row, position, token: None, max_abs, mean_abs, kl, top1: (argmax(a), argmax(b)) }
}

/// A comparison with NaN is false, which would let broken logits pass a maximum.
fn nan_is_infinite(value: f32) -> f32 {
    if value.is_nan() { f32::INFINITY } else { value }
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total = logits.iter().map(|&logit| f64::from(logit - top).exp()).sum::<f64>().ln();
    logits.iter().map(|&logit| f64::from(logit - top) - total).collect()
}

fn argmax(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(index, _)| index as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_logits_pass_and_nan_never_does() {
        let a = [0.5, 1.5, -2.0, 0.0, 1.0, 2.0];
        let same = LogitDiff::new(("a", "b"), &a, &a, 3, 2, |_, _| true);
        assert!(same.passed());
        assert_eq!((same.max_abs(), same.top1_agreement(), same.positions.len()), (0.0, 1.0, 2));
        let mut broken = a;
        broken[4] = f32::NAN;
        assert!(!LogitDiff::new(("a", "b"), &a, &broken, 3, 2, |_, _| true).passed());
    }

    #[test]
    fn divergence_is_that_of_the_definition() {
        // p = (1/2, 1/2), q = (1/4, 3/4): KL = ½ ln 2 + ½ ln ⅔.
        let diff = LogitDiff::new(("p", "q"), &[0.0, 0.0], &[0.0, 3f32.ln()], 2, 1, |_, _| true);
        assert!((diff.mean_kl() - (0.5 * 2f64.ln() + 0.5 * (2.0 / 3.0f64).ln())).abs() < 1e-6);
    }
}
