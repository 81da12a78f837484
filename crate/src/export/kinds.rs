//! The kinds of parts, for each of which a source has a class. Sizes do not make kinds: they are read from config.json.

mod attention;
mod feed_forward;
mod latent_attention;
mod layer;
mod norm;
mod positions;

pub(super) use attention::Attention;
pub(super) use feed_forward::{FeedForward, Mixture};
pub(super) use latent_attention::Latent;
pub(super) use layer::Layer;
pub(super) use norm::Norm;
pub(super) use positions::{rope_json, slopes_formula};
