//! Views of values that are not the toolkit's own: whatever has `{:?}`, sequences, errors, tensors and frames.

pub(super) mod debug;
pub(super) mod debug_text;
pub(super) mod error;
pub(super) mod fold;
pub(super) mod frame;
pub(super) mod outline;
pub(super) mod sequence;
pub(super) mod tensor;
