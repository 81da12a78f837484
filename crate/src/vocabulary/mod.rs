//! A model's vocabulary grows: the rows of its embedding and of its head, as pieces of the checkpoint they come from.

mod resize_embeddings;

pub use resize_embeddings::{grown, grown_shape, has_row_per_token};
