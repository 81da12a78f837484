//! Tokenizer files: which belong to a model folder, carried whole, read to encode and decode, and trained; tokens added to
//! them, chat templates, and how generation is told to stop.

mod add_tokens;
mod chat;
mod corpus;
mod error;
mod files;
mod generation;
mod outline;
mod small_file;
mod summary;
mod token_options;
mod train;

pub use add_tokens::{AddTokens, PlannedToken, ROLES, RowEdit, RowInit, TokenChange, TokenKind, TokenPlan};
pub use chat::{Chat, ChatTemplate};
pub use error::TokenizerError;
pub use files::{TOKENIZER_FILES, TokenizerFiles};
pub use generation::{Generation, GenerationConfig, GenerationMode};
pub use summary::{SampleToken, SpecialToken, TokenizerSummary};
pub use token_options::TokenOptions;
pub(crate) use token_options::token_setters;
pub use train::{SPECIAL_TOKENS, TrainedTokenizer, Training, train_tokenizer};
