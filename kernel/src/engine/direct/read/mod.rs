//! Reads a cell's text: its statements and definitions, what they mention, and what has to be changed in them.

pub(super) mod attributes;
pub(super) mod definition;
pub(super) mod depth;
pub(super) mod edits;
pub(super) mod files;
pub(super) mod imports;
mod item_facts;
pub(super) mod key;
pub(super) mod macros;
pub(super) mod names;
pub(super) mod split;
pub(super) mod statics;
pub(super) mod syntax;
