//! Progress as people see it: bars that nest, on the terminal and as one updating output of a notebook, and a loss that is
//! drawn while it falls.

mod bars;
mod board;
mod curve;
mod view;

pub use bars::show_progress;
pub use board::{begin_cell, end_cell};
