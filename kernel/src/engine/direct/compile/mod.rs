//! Compiles a cell, again in another way where that can help.

pub(super) mod compile_loop;
pub(super) mod rustc;
