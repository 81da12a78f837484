//! Model folders, opened by their config.json and the headers of their weights, and the models that are loaded from
//! them.

mod entries;
mod error;
mod folder;
mod foreign;
mod load;
mod streaming;
mod text_model;
mod wrappers;

pub(crate) use entries::{entries_of_a_model, other_files, read_config, read_json};
pub use error::ModelFolderError;
pub(crate) use error::wrap_through_folder;
pub use folder::ModelFolder;
pub(crate) use streaming::{require_streamed_memory, streamed_dtype};
