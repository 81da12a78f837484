//! Token ids to vectors.

use super::{layer_input, norm};
use crate::spec::config::ConfigError;
use crate::spec::initialization::InitRules;
use crate::spec::{Leaf, ModelConfig, Node, Part, PositionEmbedding, Role};

/// Declares the fields.
macro_rules! embedding_fields {
    ($next:ident $($rest:tt)*) => { $next! { $($rest)*
        part "embedding" "Token ids to vectors: dropout(norm(scale · embedding + positions))" {
            /// Rows of the embedding and the head.
            vocab_size: usize = 0, { .required().always_written().exported(|_| true) };
            /// Width of the residual stream (d_model).
            hidden_size: usize = 0, { .required().always_written().exported(|_| true) };
            /// Whether embeddings are multiplied by sqrt(hidden_size).
            scale_embedding: bool = false;
            /// Factor on the embeddings; null for 1, or sqrt(hidden_size) with scale_embedding.
            embedding_multiplier: Option<f64> = None, { .positive().exported(|config| config.embedding_multiplier.is_some()) };
            /// Whether a norm follows the embeddings.
            embedding_norm: bool = false;
        }
    } };
}
pub(super) use embedding_fields;

pub(in crate::spec) fn node(config: &ModelConfig, rules: &InitRules) -> Node {
    let (vocab, hidden) = (config.vocab_size, config.hidden_size);
    let part = Part::InputEncoder {
        scale: match config.embedding_multiplier {
            Some(multiplier) => multiplier,
            None if config.scale_embedding => (hidden as f64).sqrt(),
            None => 1.0,
        },
        sinusoidal: config.position == PositionEmbedding::Sinusoidal,
        dropout: config.dropout.embedding,
    };
    let table = Leaf::Embedding { vocab, dim: hidden, init: rules.embedding(vocab, hidden, config.pad_token_id) };
    let mut tables = vec![Node::leaf("embedding", Role::TokenEmbedding, table)];
    if config.position == PositionEmbedding::Learned {
        let positions = config.max_position_embeddings;
        let table = Leaf::Embedding { vocab: positions, dim: hidden, init: rules.positions(positions, hidden) };
        tables.push(Node::leaf("positional_encoder", Role::PositionEmbedding, table));
    }
    if config.embedding_norm {
        tables.push(norm::node("norm", Role::EmbeddingNorm, config, hidden));
    }
    tables.extend(layer_input::tables(config, rules));
    Node::new("input_encoder", part, tables)
}

/// Checks that the factor is said once.
pub(in crate::spec) fn validate(config: &ModelConfig, fault: super::Fault<'_>) -> Result<(), ConfigError> {
    match config.embedding_multiplier {
        Some(multiplier) if config.scale_embedding => {
            let expected = "null where scale_embedding is true: it sets the factor to sqrt(hidden_size)";
            Err(fault("embedding_multiplier", multiplier.to_string(), expected))
        }
        Some(_) | None => Ok(()),
    }
}
