//! The presentation of progress: nested bars, on the terminal and as one updating output of a notebook, and a loss curve
//! that grows while a run goes on.

mod bars;
mod board;
mod curve;
mod view;

pub use bars::show_progress;
pub use board::{begin_cell, end_cell};
