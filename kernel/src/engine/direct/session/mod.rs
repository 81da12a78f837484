//! What earlier cells left: definitions, variables and their types, and what of it a cell needs.

pub(super) mod items;
pub(super) mod known;
pub(super) mod literals;
pub(super) mod reach;
pub(super) mod types;
pub(super) mod unknown;
pub(super) mod variables;
mod witness;
