//! From a project's configuration to a model and its output folder.

mod builder;
mod construction;
mod error;
mod estimate;
mod load;
#[cfg(test)]
mod on_a_gpu;
mod output;
mod save;

pub use builder::{Construct, Device};
pub use construction::Construction;
pub use error::ConstructError;
pub(crate) use estimate::present;
pub use estimate::{Estimate, ParameterGroup};
pub use load::{LoadReport, LoadedParameter, MismatchedParameter, MissingParameter, load_checkpoint};
pub use save::save_checkpoint;
