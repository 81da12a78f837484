//! Every integration test in one binary: each loose file would be one more link.

mod cells;
mod command;
mod front_end;
mod install;
mod protocol;
mod runner;
