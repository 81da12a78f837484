//! The choices a configuration makes among parts: norms, positions, attention, dropouts.

use serde::{Deserialize, Serialize};

/// Which normalisation the layers and the final norm use, and its ε.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NormConfig {
    /// The kind.
    pub kind: NormKind,
    /// Added to the mean square (RMSNorm) or the variance (LayerNorm).
    pub eps: f64,
}

/// Kinds of normalisation over the last dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NormKind {
    /// x / sqrt(mean(x²) + ε) · w (Zhang and Sennrich 2019).
    RmsNorm,
    /// (x − mean(x)) / sqrt(var(x) + ε) · w + b (Ba et al. 2016).
    LayerNorm,
}

impl NormKind {
    /// The name in config.json.
    pub fn name(self) -> &'static str {
        match self {
            NormKind::RmsNorm => "rms_norm",
            NormKind::LayerNorm => "layer_norm",
        }
    }

    /// The field of config.json that holds its ε.
    pub fn eps_field(self) -> &'static str {
        match self {
            NormKind::RmsNorm => "rms_norm_eps",
            NormKind::LayerNorm => "layer_norm_eps",
        }
    }
}

/// Where the norms of a layer stand relative to its residual additions. r is the residual dropout, D the layer dropout.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NormPlacement {
    /// r(x) + D(f(norm(x))) (Xiong et al. 2020).
    Pre,
    /// norm(r(x) + D(f(x))) (Vaswani et al. 2017).
    Post,
    /// norm(α·r(x) + D(f(x))) (DeepNet, Wang et al. 2022).
    DeepNet {
        /// α; (2 L)^¼ for a decoder of L layers unless given.
        alpha: Option<f64>,
    },
}

impl NormPlacement {
    /// The name in config.json.
    pub fn name(self) -> &'static str {
        match self {
            NormPlacement::Pre => "pre",
            NormPlacement::Post => "post",
            NormPlacement::DeepNet { .. } => "deepnet",
        }
    }

    /// α in a model of this many layers; 1 for the placements without it.
    pub fn residual_scale(self, layers: usize) -> f64 {
        match self {
            NormPlacement::Pre | NormPlacement::Post => 1.0,
            NormPlacement::DeepNet { alpha } => alpha.unwrap_or_else(|| deepnet_alpha(layers)),
        }
    }
}

/// α of a DeepNet decoder of this many layers: (2 L)^¼ (Wang et al. 2022, table 1).
pub(super) fn deepnet_alpha(layers: usize) -> f64 {
    (2.0 * layers as f64).powf(0.25)
}

/// β, the gain of a DeepNet decoder's initialisation: (8 L)^−¼ (Wang et al. 2022, table 1).
pub(super) fn deepnet_beta(layers: usize) -> f64 {
    (8.0 * layers as f64).powf(-0.25)
}

/// Shapes of self-attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttentionKind {
    /// Query, key, value and output projections; keys and values may be shared by groups of query heads.
    MultiHead,
    /// One head over the whole width: scores x W xᵀ / sqrt(d), and values that are not projected again.
    SingleHead,
}

impl AttentionKind {
    /// The name in config.json.
    pub fn name(self) -> &'static str {
        match self {
            AttentionKind::MultiHead => "multi_head",
            AttentionKind::SingleHead => "single_head",
        }
    }
}

/// How a model knows where tokens stand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PositionEmbedding {
    /// Queries and keys are rotated by their position.
    Rope(RopeConfig),
    /// Scores fall linearly with distance.
    Alibi(AlibiConfig),
    /// sin and cos of the position are added to the embeddings: W[p, 2j] = sin(p ω_j), W[p, 2j+1] = cos(p ω_j),
    /// ω_j = 10000^(−2j/d) (Vaswani et al. 2017).
    Sinusoidal,
    /// A trained row for each of the `max_position_embeddings` positions is added to the embeddings (Gehring et al. 2017).
    Learned,
    /// Order is known from causality alone.
    None,
}

impl PositionEmbedding {
    /// The name in config.json.
    pub fn name(&self) -> &'static str {
        match self {
            PositionEmbedding::Rope(_) => "rope",
            PositionEmbedding::Alibi(_) => "alibi",
            PositionEmbedding::Sinusoidal => "sinusoidal",
            PositionEmbedding::Learned => "learned",
            PositionEmbedding::None => "none",
        }
    }
}

/// Rotary position embedding (Su et al. 2021), halves rotated as in Hugging Face models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RopeConfig {
    /// Base θ of the geometric frequency series.
    pub theta: f64,
    /// Stretching of low frequencies for long contexts.
    pub scaling: Option<RopeScaling>,
}

/// Ways to stretch rotary frequencies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RopeScaling {
    /// Llama 3.1's rule: wavelengths beyond `original / low` are divided by `factor`, those within
    /// `original / high` stay, and those between are blended linearly in original/wavelength.
    Llama3 {
        /// Division of the low frequencies.
        factor: f64,
        /// Lower bound of the blend.
        low_freq_factor: f64,
        /// Upper bound of the blend.
        high_freq_factor: f64,
        /// Context length of the original training, in tokens.
        original_max_position_embeddings: usize,
    },
}

/// Attention with linear biases (Press et al. 2022): slope_h · (k − q) is added to the scaled score of query q and key k.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlibiConfig {
    /// First values of the slopes.
    pub slopes: AlibiSlopes,
    /// Whether the slopes are trained.
    pub trainable: bool,
}

/// First values of ALiBi slopes for heads i = 0 … H−1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AlibiSlopes {
    /// 2^(−7i/(H−1)): from 1 to 1/128.
    Standard,
    /// 2^(−(1 + 7i/(H−1))), and 0 for the second half of the heads, which see all distances alike.
    Alternate,
    /// ½ for every head.
    Half,
}

impl AlibiSlopes {
    /// The name in config.json.
    pub fn name(self) -> &'static str {
        match self {
            AlibiSlopes::Standard => "standard",
            AlibiSlopes::Alternate => "alternate",
            AlibiSlopes::Half => "half",
        }
    }

    /// The slopes of `heads` heads.
    pub fn values(self, heads: usize) -> Vec<f32> {
        let exponent = |head: usize| if heads > 1 { 7.0 * head as f64 / (heads - 1) as f64 } else { 0.0 };
        (0..heads)
            .map(|head| match self {
                AlibiSlopes::Standard => (-exponent(head)).exp2() as f32,
                AlibiSlopes::Alternate if 2 * head >= heads && heads > 1 => 0.0,
                AlibiSlopes::Alternate => (-1.0 - exponent(head)).exp2() as f32,
                AlibiSlopes::Half => 0.5,
            })
            .collect()
    }
}

/// Probabilities with which values are zeroed during training; survivors are divided by 1 − p.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Dropouts {
    /// Of the embeddings, after positions were added.
    pub embedding: f64,
    /// Of the outputs of attention and feed-forward, before they are added to the residual stream.
    pub layer: f64,
    /// Of the residual stream where something is added to it.
    pub residual: f64,
    /// Of the attention weights.
    pub attention: f64,
    /// Inside the feed-forward part: before the activation, or of the gated product.
    pub activation: f64,
}

impl Dropouts {
    /// Field of config.json and probability of each.
    pub fn fields(&self) -> [(&'static str, f64); 5] {
        [
            ("embedding_dropout", self.embedding),
            ("layer_dropout", self.layer),
            ("residual_dropout", self.residual),
            ("attention_dropout", self.attention),
            ("activation_dropout", self.activation),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_have_the_documented_values() {
        let close = |found: Vec<f32>, expected: &[f32]| {
            assert_eq!(found.len(), expected.len());
            for (a, b) in found.iter().zip(expected) {
                assert!((a - b).abs() < 1e-6, "{found:?}");
            }
        };
        close(AlibiSlopes::Alternate.values(4), &[0.5, 0.099_212_57, 0.0, 0.0]);
        close(AlibiSlopes::Standard.values(8), &[1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125]);
        close(AlibiSlopes::Standard.values(1), &[1.0]);
        close(AlibiSlopes::Half.values(1), &[0.5]);
    }

    #[test]
    fn deepnet_constants_are_those_of_the_paper() {
        for (layers, alpha, beta) in [(4, 1.681_793, 0.420_448), (16, 2.378_414, 0.297_302), (32, 2.828_427, 0.25)] {
            assert!((deepnet_alpha(layers) - alpha).abs() < 1e-6);
            assert!((deepnet_beta(layers) - beta).abs() < 1e-6);
        }
    }
}
