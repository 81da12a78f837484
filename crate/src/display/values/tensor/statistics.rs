//! Statistics of numbers.

/// Of the finite numbers: smallest, largest, mean, spread, and their distribution.
pub(super) struct Statistics {
    pub finite: usize,
    pub nan: usize,
    pub infinite: usize,
    pub zero: usize,
    pub min: f64,
    pub max: f64,
    pub mean: f64,
    /// Of all numbers, not of a sample.
    pub std: f64,
    /// How many are in each of equally wide parts from `min` to `max`.
    pub histogram: Vec<usize>,
}

const PARTS: usize = 32;

pub(super) fn statistics(values: &[f64]) -> Statistics {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let count = finite().count();
    let min = finite().fold(f64::INFINITY, f64::min);
    let max = finite().fold(f64::NEG_INFINITY, f64::max);
    // Scaled, so that numbers near the type's limits do not overflow.
    let scale = min.abs().max(max.abs()).max(f64::MIN_POSITIVE);
    let mean = finite().map(|value| value / scale).sum::<f64>() / count as f64;
    let variance = finite().map(|value| (value / scale - mean).powi(2)).sum::<f64>() / count as f64;
    let mut histogram = vec![0; if count > 0 && min < max { PARTS } else { 0 }];
    if !histogram.is_empty() {
        let width = max / scale - min / scale;
        for value in finite() {
            let place = (value / scale - min / scale) / width * PARTS as f64;
            histogram[(place as usize).min(PARTS - 1)] += 1;
        }
    }
    Statistics {
        finite: count,
        nan: values.iter().filter(|value| value.is_nan()).count(),
        infinite: values.iter().filter(|value| value.is_infinite()).count(),
        zero: finite().filter(|value| *value == 0.0).count(),
        min,
        max,
        mean: mean * scale,
        std: variance.sqrt() * scale,
        histogram,
    }
}

/// One bar for each part, in text; a part that holds anything has a bar that is seen.
pub(super) fn bars(histogram: &[usize]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = histogram.iter().copied().max().unwrap_or(0).max(1);
    let bar = |count: &usize| match *count {
        0 => ' ',
        count => BARS[(count * 8).div_ceil(most) - 1],
    };
    histogram.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_are_not_finite_are_counted_apart() {
        let found = statistics(&[1.0, f64::NAN, 3.0, f64::INFINITY, 0.0, f64::NEG_INFINITY]);
        assert_eq!((found.finite, found.nan, found.infinite, found.zero), (3, 1, 2, 1));
        assert_eq!((found.min, found.max), (0.0, 3.0));
        assert!((found.mean - 4.0 / 3.0).abs() < 1e-12 && (found.std - 1.247_219_1).abs() < 1e-6);
        assert_eq!(statistics(&[f64::MAX, -f64::MAX]).std, f64::MAX);
        assert!(statistics(&[2.0, 2.0]).histogram.is_empty() && statistics(&[]).histogram.is_empty());
    }

    #[test]
    fn bars_show_what_is_rare() {
        assert_eq!(bars(&[0, 1, 800, 400]), " ▁█▄");
    }
}
