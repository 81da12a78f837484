//! Views of what a model is made of, and of its test runs.

pub(super) mod checkpoint_tree;
pub(super) mod config_diff;
pub(super) mod construction;
pub(super) mod dataset;
pub(super) mod families;
pub(super) mod fields;
pub(super) mod gradient_check;
pub(super) mod parameter_table;
pub(super) mod project;
pub(super) mod smoke_test;
pub(super) mod tokenizer;
