//! Hugging Face ↔ native: rules, a plan to read before anything moves, streaming execution, and proof.

mod arrangement;
mod error;
mod family;
mod folder;
mod links;
mod logit_diff;
mod operation;
mod plan;
mod prompt;
mod proof;
mod reference;
mod remap;
mod spelling;

pub use error::ConvertError;
pub use family::{Families, Family, FamilyBuilder, FamilyError, Rule};
pub use folder::ModelFolder;
pub use logit_diff::{LayerDiff, LogitDiff, PositionDiff};
pub use operation::{Conversion, Convert, convert};
pub(crate) use plan::closest;
pub use plan::{Mismatch, RemapPlan, RemapStep};
pub(crate) use prompt::token_ids;
pub use proof::{Proof, compare_tensors};
pub use reference::ReferenceModel;
pub use remap::{Remap, Renamed};
pub(crate) use spelling::{buffer, native as native_spelling};
