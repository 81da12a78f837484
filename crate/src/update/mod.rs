//! Updates of native model folders to the names and fields of a newer version of their architecture.
//!
//! Versions are stamped in config.json. What leads from one to the next is data: steps in YAML files, embedded or
//! named.

mod builder;
mod change;
mod config;
mod error;
mod migration;
mod plan;
mod provenance;
mod run;
mod version;
mod ways;

pub use builder::{Update, update};
pub use error::UpdateError;
pub use migration::{Migrations, Step};
pub use plan::{UpdatePlan, Updated};
pub use version::Version;
pub use ways::{ParameterMisfit, Rename};
