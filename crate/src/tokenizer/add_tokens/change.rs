//! What becomes of one token, and of one row.

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A role of `tokenizer_config.json`, such as `eos_token`.
    Role(&'static str),
    /// Special, without a role: never split, left out of decoded text where that is asked for.
    Special,
    /// A word like others, never split.
    Regular,
}

impl TokenKind {
    /// `eos_token`, `special` or `regular`.
    pub fn name(self) -> &'static str {
        match self {
            TokenKind::Role(role) => role,
            TokenKind::Special => "special",
            TokenKind::Regular => "regular",
        }
    }
}

/// How a row of the embedding and the head begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowInit {
    /// All zero. A token whose row of the head is zero has the logit 0, which is a high one for models whose logits are all
    /// negative, as GPT-2's are: there, [`Mean`](Self::Mean) or a copy is the better choice.
    Zero,
    /// The mean of the rows that the tokenizer's tokens had.
    Mean,
    /// A copy of a row as it was before.
    Copy(u32),
}

impl std::fmt::Display for RowInit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RowInit::Zero => f.write_str("zero"),
            RowInit::Mean => f.write_str("mean"),
            RowInit::Copy(id) => write!(f, "copy:{id}"),
        }
    }
}

/// A row to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowEdit {
    /// Which row: the token's id.
    pub id: u32,
    /// What it becomes.
    pub init: RowInit,
}

/// What happens to a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenChange {
    /// It gets the next free id.
    Added,
    /// It was in the vocabulary and gets the role.
    Moved,
    /// It was in the vocabulary and becomes special.
    MadeSpecial,
    /// Nothing: it exists already as requested.
    Kept,
    /// Nothing: the tokenizer has another token of this role, and this one was for the case that it has none.
    Skipped,
}

impl TokenChange {
    /// Returns a short name.
    pub fn name(self) -> &'static str {
        match self {
            TokenChange::Added => "added",
            TokenChange::Moved => "role moved",
            TokenChange::MadeSpecial => "made special",
            TokenChange::Kept => "there already",
            TokenChange::Skipped => "not needed",
        }
    }
}

/// One line of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedToken {
    /// Role or list.
    pub kind: TokenKind,
    /// Its text.
    pub token: String,
    /// Its id; `None` if it is not needed.
    pub id: Option<u32>,
    /// What happens to it.
    pub change: TokenChange,
    /// What its row becomes, if that is written.
    pub init: Option<RowInit>,
    /// The token that had the role.
    pub before: Option<String>,
}
