//! What written tensors are made of: elements that are copied, cast or put in another order.

pub(super) mod cast;
pub(super) mod copy;
pub(super) mod gather;
pub(super) mod pieces;
