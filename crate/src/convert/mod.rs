//! Hugging Face ↔ native: rules, a plan to read before anything moves, streaming execution, and proof.

mod arrangement;
mod conversion;
mod draft;
mod error;
mod family;
mod folder;
mod generation;
mod growth;
mod links;
mod logit_diff;
mod options;
mod plan;
mod prompt;
mod proof;
mod reference;
mod remap;
mod request;
mod run;
mod spelling;
mod validation;

pub use conversion::{Conversion, Pair, Pairs};
pub use error::ConvertError;
pub use family::{Families, Family, FamilyBuilder, FamilyError, Rule};
pub use folder::ModelFolder;
pub(crate) use folder::{entries_of_a_model, read_config};
pub use generation::{Continuation, GenerationTest, Parting};
pub use logit_diff::{LayerDiff, LogitDiff, Logits, PositionDiff};
pub(crate) use plan::{Direction, closest};
pub use plan::{Mismatch, RemapPlan, RemapStep};
pub(crate) use prompt::token_ids;
pub use proof::{Digest, Proof, TensorProof, Way};
pub use reference::ReferenceModel;
pub use remap::{Remap, Renamed};
pub use request::{Convert, convert};
pub(crate) use spelling::{buffer, native as native_spelling};
pub(crate) use validation::open_device;
