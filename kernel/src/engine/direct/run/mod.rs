//! The worker seen from the engine: requests, and what became of them.

pub(super) mod busy;
pub(super) mod ending;
pub(super) mod process;
pub(super) mod serving;
pub(super) mod text;
