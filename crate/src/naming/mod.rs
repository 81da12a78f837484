//! Hugging Face's names and the native ones: families as data, renaming rules in both directions, and what becomes of
//! each tensor of a checkpoint.
//!
//! [`Families`] are read from YAML files. The fields of a [`Family`] turn a config.json into a
//! [`ModelConfig`](crate::spec::ModelConfig) and back, its rules are a [`Remap`], and a [`RemapPlan`] applies them to
//! the tensors of one checkpoint.

mod aliases;
mod dropped;
mod family;
mod remap;
mod remap_plan;
mod tensor_map;

pub(crate) use aliases::{buffer, native as native_alias};
pub(crate) use dropped::{Dropped, dropped};
pub(crate) use family::draft_family;
pub(crate) use family::outline;
pub use family::{AskedPart, Families, Family, FamilyBuilder, FamilyError, FamilyField, FieldTreatment, Rule};
pub use remap::{Remap, Renamed};
pub(crate) use remap_plan::{Direction, closest};
pub use remap_plan::{IncompleteError, Mismatch, RemapPlan, RemapStep, TensorMisfit};
