#![deny(missing_docs)]
//! The Chandlery kernel: a Jupyter server, the engines that run cells, and the headless runner.

pub mod engine;
pub mod toolkit;
pub mod worker;
