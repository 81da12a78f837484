//! Answers to who writes a cell: completion, inspection, completeness.

pub(super) mod answers;
pub(super) mod paths;
pub(super) mod subject;
