#![deny(missing_docs)]
//! The Chandlery kernel: a Jupyter server, the engines that run cells, and the headless runner.

pub mod bench;
mod cgroup;
pub mod client;
mod descendants;
pub mod doctor;
pub mod engine;
pub mod install;
pub mod jupyter;
pub mod language;
pub mod link;
mod log;
#[expect(unsafe_code, reason = "compiled parts are loaded and called")]
pub mod parts;
mod private_folder;
pub mod runner;
pub mod server;
pub mod session;
#[expect(unsafe_code, reason = "calls of the operating system that the standard library does not wrap")]
pub mod system;
pub mod toolkit;
pub mod worker;
