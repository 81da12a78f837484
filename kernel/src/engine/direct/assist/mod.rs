//! Help while a cell is being written: completion, inspection, completeness.

pub(super) mod answers;
pub(super) mod paths;
pub(super) mod subject;
