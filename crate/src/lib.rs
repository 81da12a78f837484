#![deny(missing_docs)]
//! Chandlery: construct, test, convert and finalize causal language models on candle, cell by cell.

pub mod cell;
pub mod checkpoint;
pub mod convert;
pub mod command;
pub mod display;
pub mod interrupt;
pub mod model;
pub mod prelude;
pub mod progress;
pub mod spec;
pub mod tokenizer;

pub use convert::{Conversion, convert};


pub use {candle_core as candle, candle_nn, plotters, polars, serde_json};
