//! Whether two models compute the same: an independent forward pass to judge by, logits and continuations compared, and
//! the verdict.

mod coverage;
mod generation;
mod logit_diff;
mod prompt;
mod reference;
mod verdict;

pub(crate) use coverage::doubts;
pub use generation::{Continuation, Divergence, GenerationTest};
pub(crate) use generation::{Judged, generation_test};
pub(crate) use logit_diff::spread;
pub use logit_diff::{LayerDiff, LogitDiff, Logits, PositionDiff};
pub(crate) use prompt::{LONGEST, prompt_ids, token_ids};
pub use reference::ReferenceModel;
pub use verdict::Verdict;
