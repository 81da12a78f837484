//! The names of attention implementations.

use std::str::FromStr;

/// How attention is computed; the results agree within rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AttentionImplementation {
    /// All scores at once, by plain tensor operations: the reference.
    Eager,
    /// Exact, in blocks of queries: memory grows with the sequence, not with its square.
    #[default]
    Sdpa,
    /// Blocks of queries and keys with a running softmax (Dao et al. 2022).
    FlashAttention2,
    /// Blocks that a mask function leaves out are skipped.
    FlexAttention,
}

impl AttentionImplementation {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Eager, Self::Sdpa, Self::FlashAttention2, Self::FlexAttention];

    /// The name on the command line and in transformers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Eager => "eager",
            Self::Sdpa => "sdpa",
            Self::FlashAttention2 => "flash_attention_2",
            Self::FlexAttention => "flex_attention",
        }
    }
}

impl std::fmt::Display for AttentionImplementation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for AttentionImplementation {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().copied().find(|implementation| implementation.name() == name);
        found.ok_or_else(|| "use eager, sdpa, flash_attention_2 or flex_attention".to_owned())
    }
}
