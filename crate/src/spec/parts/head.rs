//! Vectors to logits.

/// Declares the fields.
macro_rules! head_fields {
    ($next:ident $($rest:tt)*) => { $next! { $($rest)*
        part "head" "Vectors to logits" {
            /// Whether the head is the embedding.
            tie_word_embeddings: bool = false, { .hugging_face() };
        }
    } };
}
pub(super) use head_fields;
