//! A model as sources that a colleague would have written by hand: Python for transformers, Rust for candle.
//!
//! Both are folds over the spec: a [`Blueprint`](blueprint::Blueprint) says which parts a model has, and templates hold how
//! each part is written. A source mentions no part that its model lacks.

mod blueprint;
mod fields;
mod kinds;
mod naming;
mod python;
mod recipe;
mod rust;

use std::path::Path;

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

/// The sources that a model's folder holds, as they are there: they may have been edited.
///
/// # Errors
/// What the file system says.
pub fn sources_in(folder: impl AsRef<Path>) -> std::io::Result<Vec<SourceFile>> {
    read_sources(folder.as_ref())
}

fn read_sources(folder: &Path) -> std::io::Result<Vec<SourceFile>> {
    let mut names: Vec<String> = python::FILES.into_iter().chain(["rust/Cargo.toml"]).map(str::to_owned).collect();
    if folder.join("rust/src").is_dir() {
        for entry in std::fs::read_dir(folder.join("rust/src"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            names.extend(name.ends_with(".rs").then(|| format!("rust/src/{name}")));
        }
    }
    names.sort();
    let present = names.into_iter().filter(|name| folder.join(name).is_file());
    present.map(|name| Ok((name.clone(), std::fs::read_to_string(folder.join(&name))?))).collect()
}
