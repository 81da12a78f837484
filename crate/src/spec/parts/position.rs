//! How a model represents positions.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::declare::{FieldValue, words};
use super::field::{Field, FieldKind};
use super::rope::{rope_fields, rope_from};
use crate::spec::config::{ConfigError, ModelConfig};

/// How a model represents positions.
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
    /// Only causality tells the order.
    None,
}

impl PositionEmbedding {
    /// Returns the name in config.json.
    pub fn name(&self) -> &'static str {
        match self {
            PositionEmbedding::Rope(_) => "rope",
            PositionEmbedding::Alibi(_) => "alibi",
            PositionEmbedding::Sinusoidal => "sinusoidal",
            PositionEmbedding::Learned => "learned",
            PositionEmbedding::None => "none",
        }
    }

    /// Returns whether positions are added to the embeddings, so that layers do not handle them.
    pub fn is_in_embedding(&self) -> bool {
        match self {
            PositionEmbedding::Sinusoidal | PositionEmbedding::Learned => true,
            PositionEmbedding::Rope(_) | PositionEmbedding::Alibi(_) | PositionEmbedding::None => false,
        }
    }
}

/// Rotary position embedding (Su et al. 2021), halves rotated as in Hugging Face models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RopeConfig {
    /// Base θ of the geometric frequency series.
    pub theta: f64,
    /// The share of a head's dimensions that is rotated, from the first on; the others stay as they are.
    pub partial: f64,
    /// Stretching of frequencies for long contexts.
    pub scaling: Option<RopeScaling>,
    /// β of Llama 4's attention temperature: queries are multiplied by 1 + β ln(1 + ⌊position / original⌋), `original`
    /// being the context length of the original training.
    pub query_scaling_beta: Option<f64>,
}

impl RopeConfig {
    /// θ = 10,000, whole heads, frequencies as they are.
    pub const PLAIN: Self = Self { theta: 10_000.0, partial: 1.0, scaling: None, query_scaling_beta: None };

    /// Returns how many of a head's dimensions are rotated.
    pub fn rotated_dim(&self, head_dim: usize) -> usize {
        (head_dim as f64 * self.partial) as usize
    }
}

/// Ways to stretch rotary frequencies, as transformers defines them. `max_positions` is the model's
/// `max_position_embeddings`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RopeScaling {
    /// Every frequency is divided by `factor` (position interpolation, Chen et al. 2023).
    Linear {
        /// The division.
        factor: f64,
    },
    /// Texts of more than `max_positions` tokens raise θ (dynamic NTK).
    Dynamic {
        /// Growth of θ.
        factor: f64,
        /// The length from which on it grows, in tokens.
        max_positions: usize,
    },
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
    /// YaRN (Peng et al. 2023): low frequencies are divided by the factor, high ones stay, those between are blended.
    Yarn(YarnScaling),
    /// Gemma 4's rule: frequencies are those of whole heads, and pairs beyond a share of them do not turn.
    Proportional {
        /// The share of pairs that turn.
        share: f64,
        /// Division of the frequencies.
        factor: f64,
    },
    /// LongRoPE (Ding et al. 2024): a division for each frequency, one list for short texts and one for long ones.
    LongRope(LongRopeScaling),
}

/// Parameters of [`RopeScaling::Yarn`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct YarnScaling {
    /// Division of the low frequencies; `None` for max_positions / original.
    pub factor: Option<f64>,
    /// Context length of the original training, in tokens.
    pub original_max_position_embeddings: usize,
    /// Rotations within the original context above which a frequency stays; 32 unless given.
    pub beta_fast: Option<f64>,
    /// Rotations below which it is divided; 1 unless given.
    pub beta_slow: Option<f64>,
    /// Factor on cosines and sines; follows from the others unless given.
    pub attention_factor: Option<f64>,
    /// DeepSeek's numerator of that factor.
    pub mscale: Option<f64>,
    /// DeepSeek's denominator of that factor.
    pub mscale_all_dim: Option<f64>,
    /// Whether the bounds of the blend are whole numbers of dimensions; true unless given.
    pub truncate: Option<bool>,
    /// The model's longest sequence, in tokens.
    pub max_positions: usize,
}

/// Parameters of [`RopeScaling::LongRope`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LongRopeScaling {
    /// Divisions of the frequencies in texts up to the original context length.
    pub short_factor: Vec<f64>,
    /// Those of longer texts.
    pub long_factor: Vec<f64>,
    /// Context length of the original training, in tokens.
    pub original_max_position_embeddings: usize,
    /// Stretching of the context, from which the factor on cosines and sines follows; `None` for max_positions / original.
    pub factor: Option<f64>,
    /// Factor on cosines and sines; follows from `factor` unless given.
    pub attention_factor: Option<f64>,
    /// The model's longest sequence, in tokens.
    pub max_positions: usize,
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
    /// 2^(−8(i+1)/H) where H is a power of 2, else the slopes of the next lower power of 2, and between them those of the
    /// next higher one, as in BLOOM and MPT. They are constants: no parameter is stored.
    Geometric,
}

words!(AlibiSlopes { Standard = "standard", Alternate = "alternate", Half = "half", Geometric = "geometric" });

impl AlibiSlopes {
    /// Returns the slopes of `heads` heads.
    pub fn values(self, heads: usize) -> Vec<f32> {
        if self == AlibiSlopes::Geometric {
            return geometric_slopes(heads);
        }
        let exponent = |head: usize| if heads > 1 { 7.0 * head as f64 / (heads - 1) as f64 } else { 0.0 };
        (0..heads)
            .map(|head| match self {
                AlibiSlopes::Standard => (-exponent(head)).exp2() as f32,
                AlibiSlopes::Alternate if 2 * head >= heads && heads > 1 => 0.0,
                AlibiSlopes::Alternate => (-1.0 - exponent(head)).exp2() as f32,
                AlibiSlopes::Half | AlibiSlopes::Geometric => 0.5,
            })
            .collect()
    }

    /// Returns whether a model stores them as a parameter.
    pub fn is_stored(self) -> bool {
        match self {
            AlibiSlopes::Standard | AlibiSlopes::Alternate | AlibiSlopes::Half => true,
            AlibiSlopes::Geometric => false,
        }
    }
}

/// The slopes of the paper (Press et al. 2022, section 3): for a power of 2, 2^(−8/H), 2^(−16/H), … For other numbers of
/// heads, those of the next lower power of 2, then every second one of the next higher power.
fn geometric_slopes(heads: usize) -> Vec<f32> {
    let lower = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
    let slope = |step: usize, of: usize| (-8.0 * step as f64 / of as f64).exp2() as f32;
    let own = (1..=lower).map(|step| slope(step, lower));
    let more = (0..heads - lower).map(|index| slope(2 * index + 1, 2 * lower));
    own.chain(more).collect()
}

/// Declares the fields.
macro_rules! position_fields {
    ($next:ident $($rest:tt)*) => { $next! { $($rest)*
        part "position" "How a model knows where tokens stand" {
            /// Longest sequence, in tokens; the rows of the table where positions are learned.
            max_position_embeddings: usize = 2048, {
                .always_written().exported(|_| true)
            };
            /// How tokens' positions enter.
            position: PositionEmbedding = PositionEmbedding::Rope(RopeConfig::PLAIN) => [
                position::POSITION_EMBEDDING,
                position::ROPE_PARAMETERS,
                position::ALIBI_SLOPES,
                position::ALIBI_TRAINABLE,
            ];
        }
    } };
}
pub(super) use position_fields;

const NAMES: &[&str] = &["rope", "alibi", "sinusoidal", "learned", "none"];

/// Every kind, with what its own fields are if they are not given.
const KINDS: &[PositionEmbedding] = &[
    PositionEmbedding::Rope(RopeConfig::PLAIN),
    PositionEmbedding::Alibi(AlibiConfig { slopes: AlibiSlopes::Standard, trainable: false }),
    PositionEmbedding::Sinusoidal,
    PositionEmbedding::Learned,
    PositionEmbedding::None,
];

pub(super) const POSITION_EMBEDDING: Field = Field::new(
    "position_embedding",
    "How tokens' positions enter: rotations, biases of scores, or vectors added to the embeddings",
    FieldKind::Word(NAMES),
    |reading, config| {
        let words: Vec<_> = KINDS.iter().map(|kind| (kind.name(), kind)).collect();
        match reading.fields.word("position_embedding", &words)? {
            // The family's defaults for a kind also hold if the kind is given explicitly.
            Some(kind) if kind.name() != config.position.name() => config.position = kind.clone(),
            Some(_) | None => {}
        }
        Ok(())
    },
    |config| Some(json!(config.position.name())),
)
.by_layer();

pub(super) const ROPE_PARAMETERS: Field = Field::new(
    "rope_parameters",
    "Rotary parameters: rope_theta, rope_type (default, linear, dynamic, yarn, longrope, llama3 or proportional) with the parameters of \
     that type, and partial_rotary_factor",
    FieldKind::Object,
    |reading, config| {
        if let PositionEmbedding::Rope(rope) = &mut config.position {
            *rope = rope_from(reading.fields, config.max_position_embeddings)?;
        }
        Ok(())
    },
    |config| rope(config).and_then(|rope| rope_fields(rope).remove("rope_parameters")),
)
.by_layer()
.always_written()
.otherwise("{\"rope_theta\": 10000.0}")
.not_compared()
.needs("position_embedding: rope", |config| rope(config).is_some())
.aliases(&["rope_theta", "rope_scaling", "partial_rotary_factor"])
.beside(|config| rope(config).map(rope_fields).unwrap_or_default());

fn rope(config: &ModelConfig) -> Option<&RopeConfig> {
    match &config.position {
        PositionEmbedding::Rope(rope) => Some(rope),
        PositionEmbedding::Alibi(_)
        | PositionEmbedding::Sinusoidal
        | PositionEmbedding::Learned
        | PositionEmbedding::None => None,
    }
}

pub(super) const ALIBI_SLOPES: Field = Field::new(
    "alibi_slopes",
    "First values of ALiBi's slopes",
    AlibiSlopes::KIND,
    |reading, config| {
        if let PositionEmbedding::Alibi(alibi) = &mut config.position {
            reading.take("alibi_slopes", &mut alibi.slopes)?;
        }
        Ok(())
    },
    |config| alibi(config).map(|alibi| alibi.slopes.to_field()),
)
.by_layer()
.needs("position_embedding: alibi", has_alibi);

pub(super) const ALIBI_TRAINABLE: Field = Field::new(
    "alibi_trainable",
    "Whether ALiBi's slopes are trained",
    FieldKind::Flag,
    |reading, config| {
        if let PositionEmbedding::Alibi(alibi) = &mut config.position {
            reading.take("alibi_trainable", &mut alibi.trainable)?;
        }
        Ok(())
    },
    |config| alibi(config).map(|alibi| json!(alibi.trainable)),
)
.by_layer()
.needs("position_embedding: alibi", has_alibi);

fn alibi(config: &ModelConfig) -> Option<AlibiConfig> {
    match &config.position {
        PositionEmbedding::Alibi(alibi) => Some(*alibi),
        PositionEmbedding::Rope(_)
        | PositionEmbedding::Sinusoidal
        | PositionEmbedding::Learned
        | PositionEmbedding::None => None,
    }
}

fn has_alibi(config: &ModelConfig) -> bool {
    alibi(config).is_some()
}

/// Checks rotary and added positions against the sizes that they need.
pub(in crate::spec) fn validate(config: &ModelConfig, fault: super::Fault<'_>) -> Result<(), ConfigError> {
    if let PositionEmbedding::Alibi(AlibiConfig { slopes: AlibiSlopes::Geometric, trainable: true }) = config.position {
        let expected = "false where alibi_slopes is geometric: these slopes are constants, not parameters";
        return Err(fault("alibi_trainable", "true".to_owned(), expected));
    }
    match &config.position {
        PositionEmbedding::Rope(rope) => {
            let rotated = rope.rotated_dim(config.head_dim);
            if rope.partial == 1.0 && !rotated.is_multiple_of(2) {
                return Err(fault("head_dim", config.head_dim.to_string(), "an even number (rotary halves)"));
            }
            if rotated == 0 || !rotated.is_multiple_of(2) || rotated > config.head_dim {
                let found = format!("{}, which rotates {rotated} of {} dimensions", rope.partial, config.head_dim);
                return Err(fault(
                    "partial_rotary_factor",
                    found,
                    "a share above 0 and up to 1 that rotates an even number",
                ));
            }
            super::rope::validate(rope, rotated, fault)?;
            if !(rope.theta.is_finite() && rope.theta > 0.0) {
                return Err(fault("rope_theta", rope.theta.to_string(), "a positive number"));
            }
        }
        PositionEmbedding::Sinusoidal if !config.hidden_size.is_multiple_of(2) => {
            let found = config.hidden_size.to_string();
            return Err(fault("hidden_size", found, "an even number (sines and cosines)"));
        }
        PositionEmbedding::Sinusoidal
        | PositionEmbedding::Learned
        | PositionEmbedding::Alibi(_)
        | PositionEmbedding::None => {}
    }
    for run in &config.layers {
        let position = &run.config.position;
        if position.is_in_embedding() && *position != config.position {
            let found = format!("{} in some layers only", position.name());
            let expected = "these positions for the whole model: they are added to the embeddings, before any layer";
            return Err(fault("position_embedding", found, expected));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_name() {
        assert_eq!(KINDS.iter().map(PositionEmbedding::name).collect::<Vec<_>>(), NAMES);
    }

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
        close(AlibiSlopes::Geometric.values(4), &[0.25, 0.0625, 0.015625, 0.00390625]);
        close(AlibiSlopes::Geometric.values(6), &[0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125]);
    }
}
