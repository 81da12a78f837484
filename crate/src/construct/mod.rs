//! From a project's configuration to a model and its output folder.

mod builder;
mod output;

pub use builder::{Construct, ConstructError, Construction, Device};
