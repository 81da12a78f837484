//! Compiled instances of the generic functions of polars and candle that notebook cells call most.
//!
//! A cell that makes a frame, writes a query or adds tensors would compile these functions itself, with all that they
//! call: two thirds of its time. rustc links to an instance instead if a crate below has one to share. A crate has if it is
//! built at opt-level 1, as the profile in the workspace's `Cargo.toml` says of this one, and what it shares includes the
//! code that drops a value if it is built incrementally, as members of a workspace are. Nothing here is called: that it is
//! compiled is all. ARCHITECTURE.md, "Cells", tells the rest; `tests/bench` measures.

#![expect(missing_docs, clippy::too_many_arguments, reason = "nobody calls them")]

pub mod frames;
pub mod queries;
pub mod series;
pub mod tensors;
