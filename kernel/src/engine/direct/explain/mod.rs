//! Reports what went wrong, in terms of the cells instead of the generated source.

pub(super) mod diagnostics;
mod message;
pub(super) mod outcome;
pub(super) mod rendered;
