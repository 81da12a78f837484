//! How a parameter gets its first value.

use serde::{Deserialize, Serialize};

/// The distribution a parameter is drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Init {
    /// All zeros.
    Zeros,
    /// All ones.
    Ones,
    /// Normal with mean 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// Normal with mean 0, redrawn until its absolute value is at most `bound`.
    TruncatedNormal {
        /// Standard deviation before truncation.
        std: f64,
        /// Largest absolute value.
        bound: f64,
    },
}

impl std::fmt::Display for Init {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Init::Zeros => f.write_str("0"),
            Init::Ones => f.write_str("1"),
            Init::Normal { std } => write!(f, "normal σ={std:.4}"),
            Init::TruncatedNormal { std, bound } => write!(f, "truncated normal σ={std:.4} |x|≤{bound:.3}"),
        }
    }
}
