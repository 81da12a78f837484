//! A model as sources that a colleague would have written by hand: Python for transformers, Rust for candle.
//!
//! Both are folds over the spec: a [`Blueprint`](blueprint::Blueprint) says which parts a model has, and templates hold how
//! each part is written. A source mentions no part that its model lacks.

mod blueprint;
mod carried;
mod fields;
mod kinds;
mod naming;
mod python;
mod recipe;
mod rust;

pub use carried::{CarriedSource, carried_sources};
pub use python::python;
pub use rust::rust;

/// Name below the model's folder, and text.
pub type SourceFile = (String, String);

/// All sources of a model as its folder holds them: Python at the root, the Rust crate in `rust/`.
pub fn sources(config: &crate::spec::ModelConfig) -> Vec<SourceFile> {
    let mut files = python(config);
    let name = format!("chandlery-{}", config.architecture.name()).replace('_', "-");
    files.extend(rust(config, &name).into_iter().map(|(file, text)| (format!("rust/{file}"), text)));
    files
}
