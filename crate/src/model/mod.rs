//! candle modules: each part of a [`ModelSpec`](crate::spec::ModelSpec) as a module, one file per part.

mod batch;
mod causal_lm;
mod context;
mod error;
mod generate;
pub(crate) mod gradient_check;
mod kv_cache;
mod loss;
mod parameters;
mod parts;
mod streamed;
mod training;

pub use batch::Batch;
pub use causal_lm::CausalLm;
pub use error::ModelError;
pub use kv_cache::KvCache;
pub use loss::{IGNORED_LABEL, next_token_loss};
pub use parameters::blocks::quantize_blocks;
pub use parameters::initial::InitialWeights;
pub(crate) use parameters::initial::stream as random_stream;
pub use parameters::recorder::ParameterSet;
pub(crate) use parameters::values::weight_dtype;
pub use parameters::weights::{LayeredWeights, PieceWeights, Weights, ZeroWeights, candle_dtype, tensor_from};
pub(crate) use parts::user;
pub use streamed::{StreamedLm, streamed_memory};
pub use training::{GradientSink, StepOptions};
