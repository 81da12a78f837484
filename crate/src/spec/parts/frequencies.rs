//! The frequencies at which rotary position embedding turns pairs of dimensions.

use super::position::{RopeConfig, RopeScaling};

impl RopeConfig {
    /// Frequencies in radians per token, one for each pair of a head's dimensions: θ^(−2j/head_dim), stretched for long
    /// contexts if the configuration says so (Llama 3.1's rule).
    pub fn inverse_frequencies(&self, head_dim: usize) -> Vec<f32> {
        let base = (0..head_dim / 2).map(|pair| self.theta.powf(-2.0 * pair as f64 / head_dim as f64));
        match &self.scaling {
            None => base.map(|frequency| frequency as f32).collect(),
            Some(RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            }) => {
                let original = *original_max_position_embeddings as f64;
                base.map(|frequency| {
                    let wavelength = 2.0 * std::f64::consts::PI / frequency;
                    let scaled = if wavelength > original / low_freq_factor {
                        frequency / factor
                    } else if wavelength < original / high_freq_factor {
                        frequency
                    } else {
                        let smooth = (original / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
                        (1.0 - smooth) * frequency / factor + smooth * frequency
                    };
                    scaled as f32
                })
                .collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_scaling_keeps_high_divides_low_and_blends_between() {
        let plain = RopeConfig { theta: 500_000.0, scaling: None };
        let scaling = RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        let scaled = RopeConfig { theta: 500_000.0, scaling: Some(scaling) };
        let (plain, scaled) = (plain.inverse_frequencies(64), scaled.inverse_frequencies(64));
        assert_eq!(plain[0], 1.0);
        assert_eq!(scaled[0], 1.0);
        assert_eq!(scaled[31], plain[31] / 32.0);
        let blended = plain.iter().zip(&scaled).filter(|&(&a, &b)| b != a && (b - a / 32.0).abs() > a * 1e-6);
        assert!(blended.count() > 0);
    }
}
