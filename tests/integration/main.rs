//! Every integration test in one binary: each loose file would be one more link.

mod front_end;
mod protocol;
mod runner;
