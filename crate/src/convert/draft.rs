//! A first description of a model that no family describes.

use std::path::Path;

use super::ConvertError;
use crate::checkpoint::Checkpoint;
use crate::model_folder::read_config;
use crate::naming::{Families, draft_family as drafted};

/// Returns the YAML of a family to start from, for a model folder of a type that is not known: its config.json and the
/// names of its tensors, and the known family that is nearest.
///
/// # Errors
/// [`ConvertError`] if config.json or the weights cannot be read.
pub fn draft_family(source: impl AsRef<Path>, families: &Families) -> Result<String, ConvertError> {
    let source = source.as_ref();
    let json = read_config(source)?;
    let checkpoint = Checkpoint::open(source)?;
    Ok(drafted(&json, checkpoint.table(), families))
}
