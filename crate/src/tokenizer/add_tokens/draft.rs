//! A plan under way: the tokens one after another, with the ids, roles and rows that they get.

use std::collections::BTreeMap;

use super::AddTokens;
use super::change::{PlannedToken, RowInit, TokenChange, TokenKind};
use super::declaration::{Entry, Init};
use super::files::Edits;
use crate::tokenizer::{TokenizerError, TokenizerFiles};

/// A plan under way.
pub(super) struct Draft<'a> {
    tokens: &'a AddTokens,
    tokenizer: &'a TokenizerFiles,
    vocab_size: usize,
    /// The next free id.
    pub(super) next: u32,
    /// Tokens that the entries speak of and the tokenizer has.
    there: BTreeMap<String, u32>,
    /// Tokens that were added.
    ids: BTreeMap<String, u32>,
    pub(super) edits: Edits,
    pub(super) rows: BTreeMap<u32, RowInit>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(
        tokens: &'a AddTokens,
        tokenizer: &'a TokenizerFiles,
        vocab_size: usize,
        next: u32,
    ) -> Result<Self, TokenizerError> {
        Ok(Self {
            tokens,
            tokenizer,
            vocab_size,
            next,
            there: tokens.ids_in(tokenizer)?,
            ids: BTreeMap::new(),
            edits: Edits::default(),
            rows: BTreeMap::new(),
        })
    }

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

    /// Plans what becomes of one token.
    pub(super) fn token(&mut self, entry: &Entry) -> Result<PlannedToken, TokenizerError> {
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
