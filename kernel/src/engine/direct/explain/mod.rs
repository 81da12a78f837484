//! Tells what went wrong, about the cells instead of the generated source.

pub(super) mod diagnostics;
mod message;
pub(super) mod outcome;
pub(super) mod rendered;
