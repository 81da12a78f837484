//! The plan of adding tokens: the changes to the tokenizer's files, its roles, and the rows of the embedding.

use serde_json::{Value, json};

use super::change::{PlannedToken, RowEdit, TokenChange, TokenKind};
use super::draft::Draft;
use super::files;
use super::{AddTokens, ROLES};
use crate::sealed::Sealed;
use crate::tokenizer::{TokenizerError, TokenizerFiles};

/// Rows without a token are made in memory; what hardware likes are multiples of 8 to 1024.
const MAX_MULTIPLE: usize = 8192;

/// Rows that may be added at once; a tokenizer with larger ids belongs to another model, or is damaged.
const MAX_GROWTH: usize = 1 << 17;

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

impl TokenPlan {
    pub(super) fn make(
        tokens: &AddTokens,
        tokenizer: &TokenizerFiles,
        vocab_size: usize,
        pad_to_multiple: Option<usize>,
    ) -> Result<Self, TokenizerError> {
        let outline = tokenizer.outline()?;
        let next = outline.next_id();
        let mut draft = Draft::new(tokens, tokenizer, vocab_size, next)?;
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
            known: (outline.rows as usize).min(vocab_size),
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
