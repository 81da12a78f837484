//! Every integration test in one binary: each loose file would be one more link.

mod bad_input;
mod cells;
mod chat;
mod checkpoint_files;
mod command;
mod construct;
mod conversion;
mod dataset;
mod export;
mod finalize;
mod folders;
mod front_end;
mod gguf;
mod install;
mod kicktest;
mod layering;
mod parts;
mod projects;
mod protocol;
mod quantize;
mod reference_models;
mod runner;
mod tokens;
mod training;
mod update;
mod vocabulary;
