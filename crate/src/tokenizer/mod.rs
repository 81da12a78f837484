//! Tokenizer files: which belong to a model folder, carried whole, read to encode and decode, and trained.

mod corpus;
mod files;
mod summary;
mod train;

pub use files::{TOKENIZER_FILES, TokenizerError, TokenizerFiles};
pub use summary::{SampleToken, SpecialToken, TokenizerSummary};
pub use train::{SPECIAL_TOKENS, TrainedTokenizer, Training, train_tokenizer};
