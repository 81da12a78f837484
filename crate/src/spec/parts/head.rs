//! Vectors to logits.

use super::linear;
use crate::spec::initialization::InitRules;
use crate::spec::{ModelConfig, Node, Role};

/// Declares the fields.
macro_rules! head_fields {
    ($next:ident $($rest:tt)*) => { $next! { $($rest)*
        part "head" "Vectors to logits" {
            /// Whether the head is the embedding.
            tie_word_embeddings: bool = false, { .always_written() };
        }
    } };
}
pub(super) use head_fields;

pub(in crate::spec) fn node(config: &ModelConfig, rules: &InitRules) -> Node {
    linear("lm_head", Role::Head, (config.hidden_size, config.vocab_size), false, rules)
}
