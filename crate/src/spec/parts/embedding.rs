//! Token ids to vectors.

/// Declares the fields.
macro_rules! embedding_fields {
    ($next:ident $($rest:tt)*) => { $next! { $($rest)*
        part "embedding" "Token ids to vectors: dropout(scale · embedding + positions)" {
            /// Rows of the embedding and the head.
            vocab_size: usize = 0, { .required().hugging_face() };
            /// Width of the residual stream (d_model).
            hidden_size: usize = 0, { .required().hugging_face() };
            /// Whether embeddings are multiplied by sqrt(hidden_size).
            scale_embedding: bool = false;
        }
    } };
}
pub(super) use embedding_fields;
