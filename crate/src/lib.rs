#![deny(missing_docs)]
//! Chandlery: construct, test, convert and finalize causal language models on candle, cell by cell.

pub mod cell;
pub mod cgroup;
pub mod checkpoint;
pub mod command;
pub mod compare;
pub mod construct;
pub mod convert;
pub mod dataset;
pub mod device;
pub mod diagnostic;
pub mod display;
pub mod export;
pub mod finalize;
pub mod gguf;
pub mod interrupt;
mod memory;
pub mod model;
pub mod model_folder;
pub mod naming;
pub mod ops;
mod parallel;
pub mod part;
pub mod prelude;
pub mod progress;
pub mod project;
pub mod quantize;
mod sealed;
mod setting;
pub mod smoke_test;
pub mod spec;
pub mod tokenizer;
pub mod update;
pub mod validation;
pub mod vocabulary;

pub use checkpoint::{SaveOptions, WriteOptions};
pub use compare::{Inspection, compare, inspect};
pub use construct::{Construction, LoadReport, load_checkpoint, save_checkpoint};
pub use convert::{Conversion, convert};
pub use dataset::dataset;
pub use finalize::finalize;
pub use project::project;
pub use sealed::Sealed;
pub use setting::Setting;
pub use tokenizer::TokenOptions;
pub use update::update;

// Linked for what it holds compiled.
extern crate chandlery_instances as _;

pub use {candle_core as candle, candle_nn, plotters, polars, polars_io, serde_json};
