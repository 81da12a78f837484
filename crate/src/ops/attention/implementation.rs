//! The attention implementations by name, and their limits.

use std::fmt;
use std::str::FromStr;

use crate::diagnostic::{Diagnose, Diagnostic};
use crate::sealed::Sealed;

/// How attention is computed. All give the same numbers; they differ in memory, speed and supported cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AttentionImplementation {
    /// All scores at once, composed of tensor operations: the reference, and the only one with attention dropout.
    Eager,
    /// Exact softmax over the scores of one block of queries at a time; backward computes them again.
    #[default]
    Sdpa,
    /// Blocks of queries and of keys with a running softmax; blocks that causality, window or documents hide are skipped.
    FlashAttention2,
    /// Like flash, with the mask as a function, and a table of empty, partial and full blocks that is made once for a batch.
    FlexAttention,
}

impl AttentionImplementation {
    /// All, reference first.
    pub const ALL: [Self; 4] = [Self::Eager, Self::Sdpa, Self::FlashAttention2, Self::FlexAttention];

    /// Returns the name in configurations and flags.
    pub fn name(self) -> &'static str {
        match self {
            Self::Eager => "eager",
            Self::Sdpa => "sdpa",
            Self::FlashAttention2 => "flash_attention_2",
            Self::FlexAttention => "flex_attention",
        }
    }

    /// Returns whether it can drop attention weights with this probability.
    ///
    /// # Errors
    /// [`AttentionError::Dropout`] for all but [`Eager`](Self::Eager) if the probability is not 0.
    pub fn check_dropout(self, probability: f64) -> Result<(), AttentionError> {
        if probability == 0.0 || self == Self::Eager {
            Ok(())
        } else {
            Err(AttentionError::Dropout { implementation: self, probability })
        }
    }
}

impl fmt::Display for AttentionImplementation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for AttentionImplementation {
    type Err = AttentionError;

    fn from_str(name: &str) -> Result<Self, AttentionError> {
        let found = Self::ALL.into_iter().find(|implementation| implementation.name() == name);
        found.ok_or_else(|| AttentionError::Unknown { name: name.to_owned() })
    }
}

/// Why attention could not be computed.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum AttentionError {
    /// A name that no implementation has.
    Unknown {
        /// The name.
        name: String,
    },
    /// An implementation that never holds the attention weights was asked to drop some.
    Dropout {
        /// Which.
        implementation: AttentionImplementation,
        /// The probability asked for.
        probability: f64,
    },
    /// Operands that do not match.
    Shape {
        /// What does not fit.
        what: String,
        /// What is expected.
        advice: &'static str,
    },
    /// The computation failed.
    Tensor(Sealed<candle_core::Error>),
}

impl Diagnose for AttentionError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Unknown { name } => Diagnostic::new(format!("`{name}` is not an attention implementation"))
                .at("the attention implementation")
                .advise("use eager, sdpa, flash_attention_2 or flex_attention"),
            Self::Dropout { implementation, probability } => {
                Diagnostic::new(format!("{implementation} cannot drop attention weights (probability {probability})"))
                    .at("the attention implementation")
                    .advise("use eager for this model, or set its attention dropout to 0")
            }
            Self::Shape { what, advice } => Diagnostic::new(what).at("attention").advise(*advice),
            Self::Tensor(error) => Diagnostic::of(&**error)
                .unless_placed("attention", "check the device's memory and the tensor shapes above"),
        }
    }
}

impl From<candle_core::Error> for AttentionError {
    fn from(error: candle_core::Error) -> Self {
        Self::Tensor(Sealed::new(error))
    }
}

impl From<AttentionError> for candle_core::Error {
    fn from(error: AttentionError) -> Self {
        Self::wrap(error)
    }
}
