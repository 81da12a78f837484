//! Where parameters come from: checkpoints, initial values, and the types that they have in memory.

pub(super) mod blocks;
pub(super) mod initial;
pub(super) mod recorder;
pub(super) mod values;
pub(super) mod weights;
