//! Hugging Face ↔ native: a plan to read before anything moves, streaming execution, and proof.

mod builder;
mod check;
mod conversion;
mod error;
mod prepare;
mod proof;
mod resize_embeddings;
mod run;
mod validation;

pub use builder::{Convert, convert};
pub use conversion::{Conversion, Pair, Pairs};
pub use error::ConvertError;
pub use proof::{Digest, Proof, TensorProof, TransferKind};
