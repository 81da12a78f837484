//! Hugging Face ↔ native: rules, a plan to read before anything moves, streaming execution, and proof.

mod conversion;
mod error;
mod family;
mod folder;
mod logit_diff;
mod options;
mod plan;
mod prompt;
mod proof;
mod reference;
mod remap;
mod request;
mod run;
mod validation;

pub use conversion::Conversion;
pub use error::ConvertError;
pub use family::Family;
pub use folder::ModelFolder;
pub use logit_diff::{LayerDiff, LogitDiff, PositionDiff};
pub(crate) use plan::closest;
pub use plan::{Mismatch, RemapPlan, RemapStep};
pub(crate) use prompt::token_ids;
pub use proof::{Proof, compare_tensors};
pub use reference::ReferenceModel;
pub use remap::{Remap, RemapError, Renamed};
pub use request::{Convert, convert};
