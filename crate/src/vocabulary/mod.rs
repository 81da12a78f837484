//! A model's vocabulary grows: the rows of its embedding and of its head, as pieces of the checkpoint they come from.

mod growth;

pub use growth::{grown, grown_shape, has_row_per_token};
