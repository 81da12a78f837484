//! The state that earlier cells left: definitions, variables and their types, and the part of it that a cell needs.

pub(super) mod items;
pub(super) mod known;
pub(super) mod literals;
pub(super) mod reach;
pub(super) mod types;
pub(super) mod unknown;
pub(super) mod variables;
mod witness;
