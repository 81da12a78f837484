//! Tokenizer files: which belong to a model folder, carried whole, and read to encode and decode.

mod files;

pub use files::{TOKENIZER_FILES, TokenizerError, TokenizerFiles};
