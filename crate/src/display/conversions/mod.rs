//! Views of what the verbs do to a model's folder: conversions, updates, finalizations and what they cost.

pub(super) mod conversion;
pub(super) mod finalization;
pub(super) mod gguf;
pub(super) mod logit_diff;
pub(super) mod quantize;
pub(super) mod remapping;
pub(super) mod tokens;
pub(super) mod update;
