//! Files and folders of a model: which weights are read, what a command may write, and how it appears whole.

pub(super) mod choice;
pub(super) mod destination;
pub(super) mod folder;
pub(super) mod layout;
pub(super) mod links;
pub(super) mod manifest;
pub(super) mod output_file;
pub(super) mod placement;
pub(super) mod replacing;
pub(super) mod timestamp;
