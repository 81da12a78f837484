//! How far two sets of logits are from each other: by position, and by layer.

use serde_json::{Value, json};

use crate::checkpoint::CheckpointChoice;
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
#[derive(Clone, Debug, PartialEq)]
pub struct LayerDiff {
    /// The layer's number.
    pub layer: usize,
    /// Largest absolute difference.
    pub max_abs: f32,
    /// The same at each position, row after row.
    pub by_position: Vec<f32>,
    /// Largest absolute value of the first side, to judge the difference by.
    pub scale: f32,
}

/// A comparison of logits in float32.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LogitDiff {
    /// The names of the two sides.
    pub names: (String, String),
    /// Which weights of models that were named by their folders were taken.
    pub checkpoints: Vec<CheckpointChoice>,
    /// Fields of the config.json of either side that nothing reads, with the side's name.
    pub unread_fields: Vec<String>,
    /// Every compared position.
    pub positions: Vec<PositionDiff>,
    /// The residual stream after each layer, where both sides showed it.
    pub layers: Vec<LayerDiff>,
    /// Largest difference that passes.
    pub tolerance: f32,
    /// How many columns of the vocabulary were compared.
    pub columns: usize,
    /// The two vocabularies' rows.
    pub vocabularies: (usize, usize),
}

/// Logits of one side, row-major `[rows × seq × vocab]`.
#[derive(Clone, Copy, Debug)]
pub struct Logits<'a> {
    /// The numbers.
    pub values: &'a [f32],
    /// How many there are for each position.
    pub vocab: usize,
}

/// Largest absolute difference of float32 logits of usual size that passes: a hundred times the noise between two
/// correct implementations, a thousandth of what a swapped projection or a wrong rotary base moves.
pub(crate) const TOLERANCE: f32 = 1e-3;

/// Usual standard deviations of logits. The tolerance follows smaller and larger ones.
const USUAL_SPREAD: std::ops::RangeInclusive<f64> = 0.1..=10.0;

/// The least tolerance, as a share of the largest logit: a hundred times the precision of float32.
const LEAST: f32 = 1e-5;

/// How many times the float32 noise of one implementation two may differ by: they sum in another order, and the noise
/// is a sample.
const NOISE_FACTOR: f32 = 64.0;

/// The share of the logits' spread above which a tolerance hides faults.
const BLUNT: f64 = 0.05;

impl LogitDiff {
    /// Compares logits over the columns that both vocabularies have; `compared` says which positions count (all, or
    /// those that are not padding), by row and place in it.
    pub fn new(
        names: (&str, &str),
        left: Logits<'_>,
        right: Logits<'_>,
        seq: usize,
        compared: impl Fn(usize, usize) -> bool,
    ) -> Self {
        let columns: Vec<u32> = (0..left.vocab.min(right.vocab) as u32).collect();
        Self::over(&columns, names, left, right, seq, compared)
    }

    /// As [`new`](Self::new), over these columns only, which both must have.
    pub(crate) fn over(
        columns: &[u32],
        names: (&str, &str),
        left: Logits<'_>,
        right: Logits<'_>,
        seq: usize,
        compared: impl Fn(usize, usize) -> bool,
    ) -> Self {
        let chosen = |row: &[f32]| columns.iter().map(|&column| row[column as usize]).collect::<Vec<f32>>();
        let sides = left.values.chunks_exact(left.vocab).zip(right.values.chunks_exact(right.vocab));
        let positions = sides.enumerate().filter(|(index, _)| compared(index / seq, index % seq));
        let positions = positions.map(|(index, (a, b))| {
            let mut position = compare(index / seq, index % seq, &chosen(a), &chosen(b));
            let (a, b) = position.top1;
            let id = |place: u32| columns.get(place as usize).copied().unwrap_or_default();
            position.top1 = (id(a), id(b));
            position
        });
        Self {
            names: (names.0.to_owned(), names.1.to_owned()),
            checkpoints: Vec::new(),
            unread_fields: Vec::new(),
            positions: positions.collect(),
            layers: Vec::new(),
            tolerance: (TOLERANCE * scale_of(spread(columns, left))).max(LEAST * largest(left)),
            columns: columns.len(),
            vocabularies: (left.vocab, right.vocab),
        }
    }

    /// Widens the tolerance to what float32 leaves open in models of so many layers, each of which adds twice to the
    /// residual stream: sums of independent roundings grow as the root of their number.
    pub(crate) fn widen_by_depth(&mut self, layers: usize, left: Logits<'_>) {
        let additions = (2 * layers + 1) as f32;
        self.tolerance = self.tolerance.max(NOISE_FACTOR * f32::EPSILON * largest(left) * additions.sqrt());
    }

    /// Widens the tolerance to what float32 leaves open: `noise` is how far the first side's own logits are from exact
    /// ones in the first `tokens` of `all` positions. Says so if what is left tells nothing: `spread` is the logits'
    /// own.
    pub(crate) fn widen(&mut self, noise: f32, (tokens, all): (usize, usize), spread: f64) -> Option<String> {
        let longer = (all as f32 / tokens.max(1) as f32).sqrt();
        let open = NOISE_FACTOR * noise * longer;
        if !open.is_finite() {
            return None;
        }
        self.tolerance = self.tolerance.max(open);
        let blunt = f64::from(open) > BLUNT * spread;
        blunt.then(|| {
            format!(
                "float32 is off by {noise:.1e} in these logits, whose standard deviation is {spread:.1e}: smaller faults \
                 would not be seen"
            )
        })
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

    /// Returns true if every difference is within the tolerance and something was compared.
    pub fn passed(&self) -> bool {
        !self.positions.is_empty() && self.max_abs() <= self.tolerance
    }

    /// Returns the tolerance as people write it: widened to float64 as it is, a thousandth would get more digits.
    pub(crate) fn tolerance_report(&self) -> f64 {
        (f64::from(self.tolerance) * 1e9).round() / 1e9
    }

    /// Returns each layer's difference, for `--json` reports.
    pub(crate) fn layer_report(&self) -> Value {
        let layer =
            |layer: &LayerDiff| json!({ "layer": layer.layer, "max_abs_diff": layer.max_abs, "scale": layer.scale });
        self.layers.iter().map(layer).collect()
    }

    /// Returns the first layer whose residual stream differs by more than a thousandth of its size.
    pub fn first_divergent_layer(&self) -> Option<usize> {
        self.layers.iter().find(|layer| layer.diverges()).map(|layer| layer.layer)
    }
}

impl LayerDiff {
    /// Compares the residual stream `[positions × hidden]` of two sides after one layer.
    pub fn new(layer: usize, left: &[f32], right: &[f32], positions: usize) -> Self {
        let hidden = (left.len() / positions.max(1)).max(1);
        let largest =
            |(a, b): (&[f32], &[f32])| a.iter().zip(b).map(|(a, b)| nan_is_infinite((a - b).abs())).fold(0.0, f32::max);
        let by_position: Vec<f32> = left.chunks(hidden).zip(right.chunks(hidden)).map(largest).collect();
        Self {
            layer,
            max_abs: by_position.iter().copied().fold(0.0, f32::max),
            by_position,
            scale: left.iter().map(|value| value.abs()).fold(0.0, f32::max),
        }
    }

    /// Returns true if the difference is more than a thousandth of the stream's own size.
    pub fn diverges(&self) -> bool {
        self.max_abs > 1e-3 * self.scale.max(1.0)
    }
}

/// Returns the mean standard deviation of finite logits over these columns.
pub(crate) fn spread(columns: &[u32], logits: Logits<'_>) -> f64 {
    let rows = logits.values.chunks_exact(logits.vocab.max(1));
    let deviations = rows.map(|row| {
        let chosen = || columns.iter().map(|&column| f64::from(row[column as usize]));
        let mean = chosen().sum::<f64>() / columns.len().max(1) as f64;
        (chosen().map(|value| (value - mean).powi(2)).sum::<f64>() / columns.len().max(1) as f64).sqrt()
    });
    let finite: Vec<f64> = deviations.filter(|deviation| deviation.is_finite()).collect();
    finite.iter().sum::<f64>() / finite.len().max(1) as f64
}

/// Returns the largest absolute value of finite logits.
fn largest(logits: Logits<'_>) -> f32 {
    logits.values.iter().map(|value| value.abs()).filter(|value| value.is_finite()).fold(0.0, f32::max)
}

/// How the tolerance follows logits that are smaller or larger than usual.
fn scale_of(spread: f64) -> f32 {
    let (smallest, largest) = (*USUAL_SPREAD.start(), *USUAL_SPREAD.end());
    if spread < smallest { (spread / smallest) as f32 } else { (spread / largest).max(1.0) as f32 }
}

fn compare(row: usize, position: usize, a: &[f32], b: &[f32]) -> PositionDiff {
    let differences = a.iter().zip(b).map(|(a, b)| nan_is_infinite((a - b).abs()));
    let max_abs = differences.clone().fold(0.0, f32::max);
    let mean_abs = differences.sum::<f32>() / a.len().max(1) as f32;
    let (log_a, log_b) = (log_softmax(a), log_softmax(b));
    let kl = log_a.iter().zip(&log_b).map(|(a, b)| a.exp() * (a - b)).sum::<f64>().max(0.0);
    PositionDiff { row, position, token: None, max_abs, mean_abs, kl, top1: (argmax(a), argmax(b)) }
}

/// Makes NaN infinite: comparisons with NaN are false, so it would not raise a maximum.
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

    fn logits(values: &[f32], vocab: usize) -> Logits<'_> {
        Logits { values, vocab }
    }

    #[test]
    fn equal_logits_pass_and_nan_never_does() {
        let a = [0.5, 1.5, -2.0, 0.0, 1.0, 2.0];
        let same = LogitDiff::new(("a", "b"), logits(&a, 3), logits(&a, 3), 2, |_, _| true);
        assert!(same.passed());
        assert_eq!((same.max_abs(), same.top1_agreement(), same.positions.len()), (0.0, 1.0, 2));
        let mut broken = a;
        broken[4] = f32::NAN;
        assert!(!LogitDiff::new(("a", "b"), logits(&a, 3), logits(&broken, 3), 2, |_, _| true).passed());
    }

    #[test]
    fn the_tolerance_follows_the_size_of_the_logits() {
        let of = |scale: f32| {
            let a: Vec<f32> = [0.5, 1.5, -2.0, 0.0].iter().map(|value| value * scale).collect();
            LogitDiff::new(("a", "b"), logits(&a, 4), logits(&a, 4), 1, |_, _| true).tolerance
        };
        assert_eq!((of(1.0), of(0.5)), (TOLERANCE, TOLERANCE));
        assert!(of(1e-4) < 2e-6 && of(100.0) > 10.0 * TOLERANCE);
        let flat = LogitDiff::new(("a", "b"), logits(&[1.0; 3], 3), logits(&[1.0; 3], 3), 1, |_, _| true);
        assert!(flat.passed());
    }

    #[test]
    fn depth_widens_the_tolerance_as_the_root_of_the_layers() {
        let a = [0.5, 50.0, -2.0, 0.0];
        let of = |layers: usize| {
            let mut diff = LogitDiff::new(("a", "b"), logits(&a, 4), logits(&a, 4), 1, |_, _| true);
            diff.widen_by_depth(layers, logits(&a, 4));
            diff.tolerance
        };
        assert!(of(80) > of(2) && of(80) < 0.02, "{} {}", of(80), of(2));
    }

    #[test]
    fn noise_widens_the_tolerance_until_it_tells_nothing() {
        let a = [0.5, 1.5, -2.0, 0.0];
        let mut diff = LogitDiff::new(("a", "b"), logits(&a, 4), logits(&a, 4), 1, |_, _| true);
        assert_eq!((diff.widen(1e-6, (1, 4), 1.0), diff.tolerance), (None, TOLERANCE));
        assert_eq!((diff.widen(1e-4, (1, 4), 1.0), diff.tolerance), (None, 2.0 * NOISE_FACTOR * 1e-4));
        assert!(diff.widen(1e-2, (1, 1), 1.0).unwrap().contains("float32"));
    }

    #[test]
    fn divergence_is_that_of_the_definition() {
        // p = (1/2, 1/2), q = (1/4, 3/4): KL = ½ ln 2 + ½ ln ⅔.
        let (p, q) = ([0.0, 0.0], [0.0, 3f32.ln()]);
        let diff = LogitDiff::new(("p", "q"), logits(&p, 2), logits(&q, 2), 1, |_, _| true);
        assert!((diff.mean_kl() - (0.5 * 2f64.ln() + 0.5 * (2.0 / 3.0f64).ln())).abs() < 1e-6);
    }

    #[test]
    fn grown_vocabularies_are_compared_over_common_columns() {
        let (old, grown) = ([1.0, 2.0, 3.0, 1.0], [1.0, 2.0, 9.0, 3.0, 1.0, 9.0]);
        let diff = LogitDiff::new(("old", "grown"), logits(&old, 2), logits(&grown, 3), 2, |_, _| true);
        assert_eq!((diff.max_abs(), diff.columns, diff.vocabularies), (0.0, 2, (2, 3)));
        // Column 0 was rewritten: what is most probable is looked for among the others, under its own number.
        let edited = [7.0, 2.0, 7.0, 1.0];
        let diff = LogitDiff::over(&[1], ("old", "edited"), logits(&old, 2), logits(&edited, 2), 2, |_, _| true);
        assert!(diff.passed() && diff.positions.iter().all(|position| position.top1 == (1, 1)));
    }
}
