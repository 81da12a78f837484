//! Hugging Face ↔ native: a plan to read before anything moves, streaming execution, and proof.

mod builder;
mod check;
mod conversion;
mod draft;
mod error;
mod layout;
mod prepare;
mod proof;
mod resize_embeddings;
mod run;
mod validation;

pub use builder::{Convert, convert};
pub use conversion::{Conversion, Pair, Pairs};
pub use draft::draft_family;
pub use error::ConvertError;
pub use proof::{Digest, Proof, TensorProof, TransferKind};
