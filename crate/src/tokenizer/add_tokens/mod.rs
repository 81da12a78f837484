//! Tokens added to a tokenizer: a YAML file says which, a plan says what will happen to files and rows.

mod change;
mod declaration;
mod draft;
mod files;
mod plan;
mod splice;

pub use change::{PlannedToken, RowEdit, RowInit, TokenChange, TokenKind};
pub use declaration::AddTokens;
pub use plan::TokenPlan;

/// The roles a token can have, in the order in which they are added.
pub const ROLES: [&str; 7] =
    ["bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"];
