//! The plan of adding tokens: the changes to the tokenizer's files, its roles, and the rows of the embedding.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::declaration::{Entry, Init};
use super::files::{self, Edits};
use super::{AddTokens, ROLES};
use crate::sealed::Sealed;
use crate::tokenizer::{TokenizerError, TokenizerFiles};

/// Rows without a token are made in memory; what hardware likes are multiples of 8 to 1024.
const MAX_MULTIPLE: usize = 8192;

/// Rows that may be added at once; a tokenizer with larger ids belongs to another model, or is damaged.
const MAX_GROWTH: usize = 1 << 17;

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

/// What adding tokens will do. Made by [`AddTokens::plan`]; nothing has been changed.
#[derive(Clone, Debug)]
pub struct TokenPlan {
    tokens: Vec<PlannedToken>,
    edits: Vec<RowEdit>,
    files: Sealed<TokenizerFiles>,
    files_change: bool,
    known: usize,
    vocab_before: usize,
    vocab_size: usize,
    notes: Vec<String>,
}

/// A plan under way.
struct Draft<'a> {
    tokens: &'a AddTokens,
    tokenizer: &'a TokenizerFiles,
    vocab_size: usize,
    next: u32,
    /// Tokens that the entries speak of and the tokenizer has.
    there: BTreeMap<String, u32>,
    /// Tokens that were added.
    ids: BTreeMap<String, u32>,
    edits: Edits,
    rows: BTreeMap<u32, RowInit>,
}

impl TokenPlan {
    pub(super) fn make(
        tokens: &AddTokens,
        tokenizer: &TokenizerFiles,
        vocab_size: usize,
        pad_to_multiple: Option<usize>,
    ) -> Result<Self, TokenizerError> {
        let next = tokenizer.outline()?.next;
        let mut draft = Draft {
            tokens,
            tokenizer,
            vocab_size,
            next,
            there: tokens.ids_in(tokenizer)?,
            ids: BTreeMap::new(),
            edits: Edits::default(),
            rows: BTreeMap::new(),
        };
        let planned = tokens.entries().iter().map(|entry| draft.token(entry)).collect::<Result<Vec<_>, _>>()?;
        let added = draft.next - next;
        let adds = planned.iter().any(|token| token.change == TokenChange::Added);
        if adds && draft.next as usize > vocab_size.saturating_add(MAX_GROWTH) {
            let what = format!("the next token would get the id {next}, but the model has {vocab_size} rows");
            let place = tokenizer.folder().display().to_string();
            return Err(TokenizerError::refused(what, place, "check that tokenizer and model belong together"));
        }
        let mut rows_after = if added > 0 { vocab_size.max(draft.next as usize) } else { vocab_size };
        if let Some(multiple) = pad_to_multiple {
            if !(1..=MAX_MULTIPLE).contains(&multiple) {
                let what = format!("invalid multiple `{multiple}` for the size of the vocabulary");
                let advice = format!("name a multiple from 1 to {MAX_MULTIPLE}, such as 64");
                return Err(TokenizerError::refused(what, "--pad-to-multiple", advice));
            }
            rows_after = rows_after.next_multiple_of(multiple);
        }
        let files = files::apply(tokenizer, &draft.edits)?;
        let mut plan = Self {
            tokens: planned,
            edits: draft.rows.iter().map(|(&id, &init)| RowEdit { id, init }).collect(),
            files_change: files.is_some(),
            files: Sealed::new(files.unwrap_or_else(|| tokenizer.clone())),
            known: (next as usize).min(vocab_size),
            vocab_before: vocab_size,
            vocab_size: rows_after,
            notes: Vec::new(),
        };
        plan.notes = plan.remarks(tokenizer, next, added);
        Ok(plan)
    }

    /// Returns whether neither files nor rows change.
    pub fn is_empty(&self) -> bool {
        !self.files_change && !self.changes_rows()
    }

    /// Returns whether the embedding and the head change.
    pub fn changes_rows(&self) -> bool {
        !self.edits.is_empty() || self.vocab_size != self.vocab_before
    }

    /// Returns the tokens in the order of the file's roles and lists.
    pub fn tokens(&self) -> &[PlannedToken] {
        &self.tokens
    }

    /// Returns the tokenizer's files as they will be.
    pub fn tokenizer(&self) -> &TokenizerFiles {
        &self.files
    }

    /// Rows that the embedding had.
    pub fn vocab_before(&self) -> usize {
        self.vocab_before
    }

    /// Rows that the embedding will have.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Returns the rows that the mean is computed of: those of the original tokens, without rows that no token uses.
    pub fn known_rows(&self) -> usize {
        self.known
    }

    /// Returns the rows to write, by id. Other rows beyond the old ones become the mean, too.
    pub fn edits(&self) -> &[RowEdit] {
        &self.edits
    }

    /// Returns notes for the user.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns every token that the file names, with its id, whether it was added or was there.
    pub fn mentioned(&self) -> impl Iterator<Item = (&str, u32)> {
        self.tokens.iter().filter_map(|token| Some((token.token.as_str(), token.id?)))
    }

    /// Brings the ids of a model's `config.json` into line with the tokenizer's roles, and `vocab_size` with the rows.
    /// An `eos_token_id` that is there stays, a list too, unless the plan names the end-of-sequence token.
    pub fn sync_config(&self, config: &mut Value) {
        let Some(fields) = config.as_object_mut() else { return };
        if self.changes_rows() {
            fields.insert("vocab_size".to_owned(), json!(self.vocab_size));
        }
        let names_eos = self.tokens.iter().any(|token| {
            token.kind == TokenKind::Role("eos_token")
                && matches!(token.change, TokenChange::Added | TokenChange::Moved)
        });
        for role in ROLES {
            let key = format!("{role}_id");
            let set = fields.get(&key).is_some_and(|id| !id.is_null());
            let wanted = match role {
                "bos_token" | "pad_token" => true,
                "eos_token" => names_eos || !set,
                _ => set,
            };
            if let Some(id) = self.files.role(role).filter(|_| wanted) {
                fields.insert(key, json!(id));
            }
        }
    }

    /// Returns the plan as JSON.
    pub fn report(&self) -> Value {
        let tokens = self.tokens.iter().map(|token| {
            json!({
                "kind": token.kind.name(),
                "token": token.token,
                "id": token.id,
                "change": token.change.name(),
                "init": token.init.map(|init| init.to_string()),
                "before": token.before,
            })
        });
        json!({
            "tokens": tokens.collect::<Vec<_>>(),
            "vocab_before": self.vocab_before,
            "vocab_size": self.vocab_size,
            "notes": self.notes,
        })
    }

    fn remarks(&self, tokenizer: &TokenizerFiles, next: u32, added: u32) -> Vec<String> {
        let mut notes = Vec::new();
        let spare = self.vocab_before.saturating_sub(next as usize);
        if added > 0 && spare > 0 {
            let used = spare.min(added as usize);
            notes.push(format!("{used} of {spare} rows that had no token are used"));
        }
        if next as usize > self.vocab_before {
            let short = next as usize - self.vocab_before;
            notes.push(format!("{short} tokens had no row: the tokenizer was larger than the model"));
        }
        let needed = (next + added) as usize;
        if self.vocab_size > self.vocab_before && self.vocab_size > needed.max(self.vocab_before) {
            let rows = self.vocab_size - needed.max(self.vocab_before);
            notes.push(format!("{rows} rows without a token fill up to the multiple"));
        }
        let bos = self.tokens.iter().find(|token| token.kind == TokenKind::Role("bos_token"));
        if let Some(before) = bos.and_then(|token| token.before.as_ref())
            && self.tokenizer().role_text("bos_token").as_ref() != Some(before)
            && tokenizer.outline().is_ok_and(|outline| {
                outline.post_processor.to_string().contains(&Value::from(before.as_str()).to_string())
            })
        {
            notes.push(format!("texts still begin with {before}: the post-processor of tokenizer.json says so"));
        }
        notes
    }
}

impl Draft<'_> {
    fn id_of(&self, token: &str) -> Option<u32> {
        self.ids.get(token).or(self.there.get(token)).copied()
    }

    /// Returns the row that a written init means.
    fn row(&self, entry: &Entry, init: &Init) -> Result<RowInit, TokenizerError> {
        match init {
            Init::Zero => Ok(RowInit::Zero),
            Init::Mean => Ok(RowInit::Mean),
            Init::CopyId(id) if (*id as usize) < self.vocab_size => Ok(RowInit::Copy(*id)),
            Init::CopyId(id) => {
                let what = format!("there is no row {id} to copy: the vocabulary has {}", self.vocab_size);
                Err(self.tokens.fault(
                    entry.line,
                    what,
                    format!("use an id from 0 to {}", self.vocab_size.saturating_sub(1)),
                ))
            }
            Init::CopyToken(token) => match self.there.get(token).copied() {
                Some(id) if (id as usize) < self.vocab_size => Ok(RowInit::Copy(id)),
                _ => {
                    let what = format!("there is no token `{token}` to copy");
                    Err(self.tokens.fault(entry.line, what, "name a token of the vocabulary as it was, or copy:ID"))
                }
            },
        }
    }

    fn token(&mut self, entry: &Entry) -> Result<PlannedToken, TokenizerError> {
        let explicit = entry.init.as_ref().map(|init| self.row(entry, init)).transpose()?;
        let there = self.id_of(&entry.token);
        let mut planned = PlannedToken {
            kind: entry.kind,
            token: entry.token.clone(),
            id: there,
            change: TokenChange::Kept,
            init: None,
            before: None,
        };
        let mut default = RowInit::Mean;
        if let TokenKind::Role(role) = entry.kind {
            let before = self.tokenizer.role_text(role);
            let id = before.as_ref().and_then(|_| self.tokenizer.role(role));
            planned.before = before.clone();
            if entry.if_missing && id.is_some() {
                if before.as_ref() != Some(&entry.token) {
                    planned.change = TokenChange::Skipped;
                }
                return Ok(planned);
            }
            if before.as_ref() != Some(&entry.token) || there.is_none() {
                self.edits.roles.push((role, entry.token.clone()));
                planned.change = TokenChange::Moved;
            }
            default = match id {
                // The token that had the role is the best starting point.
                Some(id) if (id as usize) < self.vocab_size => RowInit::Copy(id),
                _ if role == "pad_token" => RowInit::Zero,
                _ => RowInit::Mean,
            };
        }
        let special = entry.kind != TokenKind::Regular;
        let Some(id) = there else {
            let id = self.next;
            self.next = id.checked_add(1).unwrap_or(id);
            self.ids.insert(entry.token.clone(), id);
            self.edits.add(id, &entry.token, special);
            self.list(entry);
            let init = explicit.unwrap_or(default);
            self.rows.insert(id, init);
            return Ok(PlannedToken { id: Some(id), change: TokenChange::Added, init: Some(init), ..planned });
        };
        if special && !self.tokenizer.outline()?.is_special(&entry.token) && !self.ids.contains_key(&entry.token) {
            self.edits.add(id, &entry.token, true);
            if planned.change == TokenChange::Kept {
                planned.change = TokenChange::MadeSpecial;
            }
        }
        self.list(entry);
        // An existing token keeps its trained row. Only an explicit init, for a role that moves, replaces
        // it; the mean is only for new rows.
        if planned.change == TokenChange::Moved
            && let Some(init) = explicit.filter(|init| *init != RowInit::Mean)
        {
            self.rows.insert(id, init);
            planned.init = Some(init);
        }
        Ok(planned)
    }

    /// Special tokens are remembered as such, behind those that the tokenizer names already.
    fn list(&mut self, entry: &Entry) {
        if entry.kind == TokenKind::Special && !self.edits.additional.contains(&entry.token) {
            self.edits.additional.push(entry.token.clone());
        }
    }
}
