//! Every integration test in one binary: each loose file would be one more link.

mod bad_input;
mod cells;
mod chat;
mod checkpoint_files;
mod command;
mod construct;
mod conversion;
mod conversion_options;
mod conversion_tokens;
mod dataset;
mod export;
mod front_end;
mod install;
mod kicktest;
mod layering;
mod parts;
mod planted_errors;
mod projects;
mod protocol;
mod reference_models;
mod runner;
mod tokens;
mod training;
mod vocabulary;
