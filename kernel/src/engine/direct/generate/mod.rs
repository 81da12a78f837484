//! Writes the source that is compiled for a cell.

pub(super) mod body;
pub(super) mod codegen;
pub(super) mod content;
pub(super) mod fields;
pub(super) mod source;
pub(super) mod staged;
pub(super) mod typecheck;
pub(super) mod whole;
