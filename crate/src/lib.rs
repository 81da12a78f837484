#![deny(missing_docs)]
//! Chandlery: construct, test, convert and finalize causal language models on candle, cell by cell.

pub mod cell;
pub mod command;
pub mod display;
pub mod interrupt;
pub mod prelude;

pub use {candle_core as candle, candle_nn, plotters, polars, serde_json};
