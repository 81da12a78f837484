//! A model as readable sources: Python for transformers, Rust for candle.
//!
//! Both are folds over the spec: a `Blueprint` says which parts a model has, and templates hold how
//! each part is written. A source mentions no part that its model lacks.

mod blueprint;
mod carried;
mod fields;
mod kinds;
mod naming;
mod own;
mod python;
mod recipe;
mod rust;

pub use carried::{CarriedSource, carried_sources};
pub use python::python;
pub use rust::rust;

use crate::diagnostic::{Diagnose, Diagnostic};

/// Name below the model's folder, and text.
pub type SourceFile = (String, String);

/// Why the sources of a model could not be made or carried along.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum ExportError {
    /// A template that does not render, which is a fault of this program. No file is written.
    Template {
        /// The file of the sources.
        file: String,
        /// What the template engine says.
        reason: String,
        /// What the model is made of.
        parts: String,
    },
    /// Parts that a user wrote, without what these sources need.
    OwnPart {
        /// Which sources cannot be made, and why.
        why: String,
    },
    /// The folder whose sources are carried along.
    #[error(transparent)]
    Folder(#[from] crate::checkpoint::CheckpointError),
}

impl Diagnose for ExportError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Template { file, reason, parts } => {
                Diagnostic::new(format!("the template of `{file}` cannot be rendered: {reason}"))
                    .at(format_args!("the sources of a model of these parts: {parts}"))
                    .advise("report it together with the model's config.json")
            }
            Self::OwnPart { why } => Diagnostic::new(format!("the model has {why}"))
                .at("its configuration")
                .advise("give the part what is missing, or do without these sources"),
            Self::Folder(error) => error.diagnostic(),
        }
    }
}

/// Returns all sources of a model as its folder holds them: Python at the root, the Rust crate in `rust/`.
///
/// # Errors
/// [`ExportError::Template`] if a template does not render.
pub fn sources(config: &crate::spec::ModelConfig) -> Result<Vec<SourceFile>, ExportError> {
    let mut files = Vec::new();
    if own::without_python(config).is_none() {
        files.extend(python::python(config)?);
    }
    if own::without_rust(config).is_none() {
        let name = format!("chandlery-{}", config.architecture.name()).replace('_', "-");
        files.extend(rust::rust(config, &name)?.into_iter().map(|(file, text)| (format!("rust/{file}"), text)));
    }
    // The sources of its own parts are included.
    let parts = config.all_user_parts();
    files.extend(parts.iter().filter_map(|part| part.source()).map(|(file, text)| (file.to_owned(), text.to_owned())));
    Ok(files)
}

/// Returns which sources of a model cannot be made, and why: its layers have parts of a user that lack what they need.
pub fn left_out(config: &crate::spec::ModelConfig) -> Vec<String> {
    own::without_python(config).into_iter().chain(own::without_rust(config)).collect()
}
