//! Hugging Face ↔ native: a plan to read before anything moves, streaming execution, and proof.

mod conversion;
mod error;
mod options;
mod prepare;
mod proof;
mod request;
mod resize_embeddings;
mod run;
mod validation;

pub use conversion::{Conversion, Pair, Pairs};
pub use error::ConvertError;
pub use proof::{Digest, Proof, TensorProof, TransferKind};
pub use request::{Convert, convert};
