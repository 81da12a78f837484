//! Vectors to logits.

use super::linear;
use crate::spec::initialization::InitRules;
use crate::spec::{ModelConfig, Node, Role};

/// The name of the head's weight, which all models have in common.
pub(crate) const HEAD: &str = "lm_head.weight";

/// Declares the fields.
macro_rules! head_fields {
    ($next:ident $($rest:tt)*) => { $next! { $($rest)*
        part "head" "Vectors to logits" {
            /// Whether the head is the embedding.
            tie_word_embeddings: bool = false, { .always_written() };
            /// Whether the head has a bias.
            head_bias: bool = false;
            /// Factor on the logits.
            logits_multiplier: f64 = 1.0, { .positive().exported(|config| config.logits_multiplier != 1.0) };
            /// Logits saturate at ± this number: cap · tanh(logits / cap); null for no cap.
            logits_softcap: Option<f64> = None, { .positive().exported(|config| config.logits_softcap.is_some()) };
        }
    } };
}
pub(super) use head_fields;

pub(in crate::spec) fn node(config: &ModelConfig, rules: &InitRules) -> Node {
    linear("lm_head", Role::Head, (config.hidden_size, config.vocab_size), config.head_bias, rules)
}
