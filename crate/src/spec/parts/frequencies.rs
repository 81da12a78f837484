//! The frequencies at which rotary position embedding turns pairs of dimensions. The formulas are those of transformers'
//! `modeling_rope_utils.py` (version 5), in float64 until the last step.

use super::position::{LongRopeScaling, RopeConfig, RopeScaling, YarnScaling};

/// How a text's tokens are rotated.
#[derive(Clone, Debug, PartialEq)]
pub struct Frequencies {
    /// Radians per token, one for each pair of the rotated dimensions.
    pub inverse: Vec<f32>,
    /// Factor on cosines and sines.
    pub attention_factor: f64,
}

impl RopeConfig {
    /// Returns the frequencies θ^(−2j/d) of the d rotated dimensions of a head, stretched if the configuration says so,
    /// for a text of `length` tokens.
    pub fn frequencies(&self, head_dim: usize, length: usize) -> Frequencies {
        let dim = self.rotated_dim(head_dim);
        let series = |theta: f64| (0..dim / 2).map(move |pair| theta.powf(-2.0 * pair as f64 / dim as f64));
        let (inverse, attention_factor): (Vec<f64>, f64) = match &self.scaling {
            None => (series(self.theta).collect(), 1.0),
            Some(RopeScaling::Linear { factor }) => (series(self.theta).map(|plain| plain / factor).collect(), 1.0),
            Some(RopeScaling::Dynamic { factor, max_positions }) => {
                (series(dynamic_theta(self.theta, *factor, *max_positions, (dim, length))).collect(), 1.0)
            }
            Some(RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            }) => {
                let original = *original_max_position_embeddings as f64;
                let stretched = series(self.theta).map(|frequency| {
                    let wavelength = 2.0 * std::f64::consts::PI / frequency;
                    if wavelength > original / low_freq_factor {
                        frequency / factor
                    } else if wavelength < original / high_freq_factor {
                        frequency
                    } else {
                        let smooth = (original / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
                        (1.0 - smooth) * frequency / factor + smooth * frequency
                    }
                });
                (stretched.collect(), 1.0)
            }
            Some(RopeScaling::Yarn(yarn)) => {
                let (low, high) = yarn.blend(dim, self.theta);
                let stretched = series(self.theta).enumerate().map(|(pair, frequency)| {
                    let divided = ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0);
                    frequency * (1.0 - divided) + frequency / yarn.factor() * divided
                });
                (stretched.collect(), yarn.attention_factor())
            }
            Some(RopeScaling::Proportional { share, factor }) => {
                let turning = ((head_dim as f64 * share) / 2.0).floor() as usize;
                let stretched = series(self.theta).enumerate();
                (stretched.map(|(pair, plain)| if pair < turning { plain / factor } else { 0.0 }).collect(), 1.0)
            }
            Some(RopeScaling::LongRope(long)) => {
                let stretched = series(self.theta).zip(long.factors(length)).map(|(plain, factor)| plain / factor);
                (stretched.collect(), long.attention_factor())
            }
        };
        Frequencies { inverse: inverse.into_iter().map(|frequency| frequency as f32).collect(), attention_factor }
    }

    /// Returns the frequencies of short texts.
    pub fn inverse_frequencies(&self, head_dim: usize) -> Vec<f32> {
        self.frequencies(head_dim, 0).inverse
    }

    /// Returns whether a text of `length` tokens has other frequencies than its first `known` tokens alone had, so that these
    /// are computed again, as transformers does for LongRoPE. (It keeps what dynamic scaling rotated before.)
    pub fn changes_between(&self, known: usize, length: usize) -> bool {
        match &self.scaling {
            Some(RopeScaling::LongRope(long)) => {
                (known..length).contains(&long.original_max_position_embeddings) && known > 0
            }
            Some(
                RopeScaling::Linear { .. }
                | RopeScaling::Dynamic { .. }
                | RopeScaling::Llama3 { .. }
                | RopeScaling::Proportional { .. }
                | RopeScaling::Yarn(_),
            )
            | None => false,
        }
    }

    /// Returns the factor on the query at a position, where the configuration asks for one.
    pub fn query_scale(&self, position: u32) -> Option<f64> {
        let original = match &self.scaling {
            Some(RopeScaling::Yarn(yarn)) => yarn.original_max_position_embeddings,
            Some(RopeScaling::LongRope(long)) => long.original_max_position_embeddings,
            Some(RopeScaling::Llama3 { original_max_position_embeddings, .. }) => *original_max_position_embeddings,
            Some(RopeScaling::Linear { .. } | RopeScaling::Dynamic { .. } | RopeScaling::Proportional { .. })
            | None => {
                return None;
            }
        };
        let periods = (f64::from(position) / original as f64).floor();
        self.query_scaling_beta.map(|beta| 1.0 + beta * (1.0 + periods).ln())
    }
}

/// θ of a text that is longer than the model's longest.
fn dynamic_theta(theta: f64, factor: f64, max_positions: usize, (dim, length): (usize, usize)) -> f64 {
    let (longest, dim) = (max_positions as f64, dim as f64);
    let growth = factor * (length as f64).max(longest) / longest - (factor - 1.0);
    theta * growth.powf(dim / (dim - 2.0))
}

impl YarnScaling {
    /// Returns the division of the low frequencies.
    pub fn factor(&self) -> f64 {
        self.factor.unwrap_or(self.max_positions as f64 / self.original_max_position_embeddings as f64)
    }

    /// Returns the factor on cosines and sines.
    pub fn attention_factor(&self) -> f64 {
        let factor = self.factor();
        let scale = |mscale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 };
        let given = |value: Option<f64>| value.filter(|value| *value != 0.0);
        self.attention_factor.unwrap_or_else(|| match (given(self.mscale), given(self.mscale_all_dim)) {
            (Some(mscale), Some(all)) => scale(mscale) / scale(all),
            _ => scale(1.0),
        })
    }

    /// Returns the pairs of dimensions between which frequencies are blended.
    fn blend(&self, dim: usize, theta: f64) -> (f64, f64) {
        let original = self.original_max_position_embeddings as f64;
        let at = |rotations: f64| {
            dim as f64 * (original / (rotations * 2.0 * std::f64::consts::PI)).ln() / (2.0 * theta.ln())
        };
        let given = |value: Option<f64>, otherwise| value.filter(|value| *value != 0.0).unwrap_or(otherwise);
        let (mut low, mut high) = (at(given(self.beta_fast, 32.0)), at(given(self.beta_slow, 1.0)));
        if self.truncate.unwrap_or(true) {
            (low, high) = (low.floor(), high.ceil());
        }
        (low, high) = (low.max(0.0), high.min(dim as f64 - 1.0));
        // A blend over nothing would divide by zero.
        (low, if low == high { high + 0.001 } else { high })
    }
}

impl LongRopeScaling {
    /// Returns the divisions of the frequencies of a text of `length` tokens.
    fn factors(&self, length: usize) -> &[f64] {
        if length > self.original_max_position_embeddings { &self.long_factor } else { &self.short_factor }
    }

    /// Returns the factor on cosines and sines.
    pub fn attention_factor(&self) -> f64 {
        let original = self.original_max_position_embeddings as f64;
        let factor = self.factor.unwrap_or(self.max_positions as f64 / original);
        let own = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() };
        self.attention_factor.unwrap_or(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_scaling_keeps_high_divides_low_and_blends_between() {
        let plain = RopeConfig { theta: 500_000.0, ..RopeConfig::PLAIN };
        let scaling = RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        let scaled = RopeConfig { scaling: Some(scaling), ..plain.clone() };
        let (plain, scaled) = (plain.frequencies(64, 1).inverse, scaled.frequencies(64, 1).inverse);
        assert_eq!(plain[0], 1.0);
        assert_eq!(scaled[0], 1.0);
        assert_eq!(scaled[31], plain[31] / 32.0);
        let blended = plain.iter().zip(&scaled).filter(|&(&a, &b)| b != a && (b - a / 32.0).abs() > a * 1e-6);
        assert!(blended.count() > 0);
    }

    #[test]
    fn partial_rotation_has_the_frequencies_of_the_rotated_part() {
        let half = RopeConfig { partial: 0.5, ..RopeConfig::PLAIN };
        assert_eq!(half.frequencies(32, 1), RopeConfig::PLAIN.frequencies(16, 1));
    }

    #[test]
    fn proportional_frequencies_are_those_of_whole_heads() {
        let scaling = Some(RopeScaling::Proportional { share: 0.5, factor: 2.0 });
        let rope = RopeConfig { scaling, ..RopeConfig::PLAIN };
        // Of heads of eight, two pairs turn, half as fast.
        assert_eq!(rope.frequencies(8, 1).inverse, [0.5, 0.05, 0.0, 0.0]);
    }

    #[test]
    fn dynamic_scaling_starts_beyond_the_longest_text() {
        let scaling = Some(RopeScaling::Dynamic { factor: 2.0, max_positions: 64 });
        let dynamic = RopeConfig { scaling, ..RopeConfig::PLAIN };
        assert_eq!(dynamic.frequencies(16, 64), RopeConfig::PLAIN.frequencies(16, 64));
        // 10,000 · (2 · 128 / 64 − 1)^(16 / 14).
        let raised = RopeConfig { theta: 10_000.0 * 3f64.powf(16.0 / 14.0), ..RopeConfig::PLAIN };
        assert_eq!(dynamic.frequencies(16, 128), raised.frequencies(16, 128));
    }

    #[test]
    fn longrope_divides_by_the_list_of_the_texts_length() {
        let long = LongRopeScaling {
            short_factor: vec![1.0, 2.0],
            long_factor: vec![4.0, 8.0],
            original_max_position_embeddings: 16,
            factor: None,
            attention_factor: None,
            max_positions: 256,
        };
        let rope = RopeConfig { scaling: Some(RopeScaling::LongRope(long)), ..RopeConfig::PLAIN };
        let (short, long) = (rope.frequencies(4, 16), rope.frequencies(4, 17));
        assert_eq!((short.inverse, long.inverse), (vec![1.0, 0.005], vec![0.25, 0.00125]));
        // sqrt(1 + ln 16 / ln 16).
        assert!((long.attention_factor - 2f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn yarn_has_the_values_of_transformers() {
        // transformers 5.23, rope_theta 10000, head_dim 16, factor 4, original 32.
        let yarn = |truncate| {
            let yarn = YarnScaling {
                factor: Some(4.0),
                original_max_position_embeddings: 32,
                beta_fast: None,
                beta_slow: None,
                attention_factor: None,
                mscale: None,
                mscale_all_dim: None,
                truncate,
                max_positions: 128,
            };
            RopeConfig { scaling: Some(RopeScaling::Yarn(yarn)), ..RopeConfig::PLAIN }.frequencies(16, 40)
        };
        let close = |found: &[f32], expected: &[f64]| {
            found.iter().zip(expected).all(|(a, b)| (f64::from(*a) / b - 1.0).abs() < 1e-5)
        };
        let (whole, exact) = (yarn(None), yarn(Some(false)));
        assert!((whole.attention_factor - 1.138_629_436_111_989).abs() < 1e-12);
        assert!(close(&whole.inverse, YARN_WHOLE), "{:?}", whole.inverse);
        assert!(close(&exact.inverse, YARN_EXACT), "{:?}", exact.inverse);
    }

    const YARN_WHOLE: &[f64] =
        &[1.0, 0.19764236, 0.025, 0.0079056947, 0.0024999999, 0.00079056947, 0.00025000001, 7.9056947e-05];
    const YARN_EXACT: &[f64] =
        &[1.0, 0.14849025, 0.025, 0.0079056947, 0.0024999999, 0.00079056947, 0.00025000001, 7.9056947e-05];
}
