//! How a parameter gets its first value.

use serde::{Deserialize, Serialize};

use super::AlibiSlopes;

/// The distribution a parameter is drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Init {
    /// All zeros.
    Zeros,
    /// All ones.
    Ones,
    /// One value everywhere.
    Constant(f64),
    /// Normal with mean 0.
    Normal {
        /// Standard deviation.
        std: f64,
        /// A row that is zero: the padding token's embedding.
        zero_row: Option<usize>,
    },
    /// Normal with mean 0, redrawn until its absolute value is at most `bound`.
    TruncatedNormal {
        /// Standard deviation before truncation.
        std: f64,
        /// Largest absolute value.
        bound: f64,
    },
    /// Uniform between −bound and bound.
    Uniform {
        /// Largest absolute value.
        bound: f64,
    },
    /// The logarithm of a number that is uniform between `low` and `high`.
    LogUniform {
        /// Smallest number.
        low: f64,
        /// Largest number.
        high: f64,
    },
    /// The number whose softplus is drawn between `low` and `high`, evenly in its logarithm.
    InverseSoftplus {
        /// Smallest softplus.
        low: f64,
        /// Largest softplus.
        high: f64,
    },
    /// The logarithm of the column's number, from 1 (Gu et al. 2022).
    LogOfColumn,
    /// The slopes of ALiBi, one for each head.
    Slopes(AlibiSlopes),
}

impl std::fmt::Display for Init {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Init::Zeros => f.write_str("0"),
            Init::Ones => f.write_str("1"),
            Init::Constant(value) => write!(f, "{value}"),
            Init::Normal { std, .. } => write!(f, "normal σ={std:.4}"),
            Init::TruncatedNormal { std, bound } => write!(f, "truncated normal σ={std:.4} |x|≤{bound:.3}"),
            Init::Uniform { bound } => write!(f, "uniform |x|≤{bound:.4}"),
            Init::LogUniform { low, high } => write!(f, "ln of uniform {low} to {high}"),
            Init::InverseSoftplus { low, high } => write!(f, "softplus⁻¹ of log-uniform {low} to {high}"),
            Init::LogOfColumn => f.write_str("ln of the column"),
            Init::Slopes(slopes) => write!(f, "{} slopes", slopes.name()),
        }
    }
}
