//! Tokens added during a conversion: which tensors get rows, and what the rows are made of.

use std::collections::HashMap;

use super::ConvertError;
use crate::checkpoint::{Checkpoint, CheckpointError, Piece};
use crate::model_folder::ModelFolder;
use crate::naming::{Family, RemapPlan};
use crate::sealed::Sealed;
use crate::spec::{Naming, ParamPath, Role};
use crate::tokenizer::TokenPlan;
use crate::vocabulary::grown;

/// A plan of tokens that changes rows, and the tensors that have one row for each token.
pub(super) struct ResizeEmbeddings {
    pub(super) tokens: Sealed<TokenPlan>,
    /// (destination, source) names.
    tensors: Vec<(ParamPath, ParamPath)>,
}

impl ResizeEmbeddings {
    /// Finds the tensors in the remapping, and notes there how they change.
    pub(super) fn new(
        tokens: TokenPlan,
        source: &ModelFolder,
        remapping: &mut RemapPlan,
        (family, to): (&Family, Naming),
    ) -> Result<Self, ConvertError> {
        let made_of = remapping.pieces();
        let mut tensors = Vec::new();
        for row in source.native_table().rows() {
            if row.tied_to.is_some() || !row.role.is_some_and(Role::has_row_per_token) || !tokens.changes_rows() {
                continue;
            }
            let name = match to {
                Naming::Native => row.path.clone(),
                Naming::HuggingFace => family.name_on(to, &row.path),
            };
            let Some([Piece::Tensor(from)]) = made_of.get(&name).map(Vec::as_slice) else {
                return Err(ConvertError::Options {
                    what: format!("tokens cannot be added while `{name}` is rearranged"),
                    origin: remapping.origin.clone(),
                    advice: "convert first, and add the tokens to what comes out of it".to_owned(),
                });
            };
            remapping.grow(&name, tokens.vocab_size(), tokens.edits().len());
            tensors.push((name, from.clone()));
        }
        Ok(Self { tokens: Sealed::new(tokens), tensors })
    }

    /// Puts the rows into what the tensors are made of. Reads a tensor if a row becomes the mean of its rows.
    pub(super) fn put_into(
        &self,
        pieces: &mut HashMap<ParamPath, Vec<Piece>>,
        source: &Checkpoint,
    ) -> Result<(), CheckpointError> {
        for (to, from) in &self.tensors {
            pieces.insert(to.clone(), grown(&self.tokens, source, from)?);
        }
        Ok(())
    }

    /// Returns the tensors, by their names in the destination.
    pub(super) fn names(&self) -> impl Iterator<Item = &ParamPath> {
        self.tensors.iter().map(|(to, _)| to)
    }

    /// Returns the existing rows that are replaced: their logits change.
    pub(super) fn rewritten(&self) -> Vec<u32> {
        let edits = self.tokens.edits().iter().map(|edit| edit.id);
        edits.filter(|&id| (id as usize) < self.tokens.vocab_before()).collect()
    }
}
