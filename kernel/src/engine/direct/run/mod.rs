//! The engine's side of the worker: requests and their results.

pub(super) mod busy;
pub(super) mod ending;
pub(super) mod process;
pub(super) mod serving;
pub(super) mod text;
