//! The candle side: each part of a [`ModelSpec`](crate::spec::ModelSpec) as a module that computes, one file per part.

mod attention;
mod batch;
mod blocks;
mod causal_lm;
mod context;
mod dropout;
mod embedding;
mod error;
mod feed_forward;
mod generate;
pub(crate) mod gradient_check;
mod initial;
mod kv_cache;
mod layer;
mod linear;
mod loss;
mod mask;
mod mixer;
mod norm;
mod rope;
mod stack;
mod training;
pub(crate) mod user;
mod weights;

pub use batch::Batch;
pub use blocks::quantize_blocks;
pub use causal_lm::CausalLm;
pub use error::ModelError;
pub use initial::InitialWeights;
pub(crate) use initial::stream as random_stream;
pub use kv_cache::KvCache;
pub use loss::{IGNORED_LABEL, next_token_loss};
pub use rope::inverse_frequencies;
pub use training::{GradientSink, StepOptions};
pub use weights::{LayeredWeights, NoWeights, ParameterSet, PieceWeights, Weights, candle_dtype, tensor_from};
