//! Every parameter's way through the steps, and what does not fit the model at their end.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use super::{Step, UpdateError};
use crate::checkpoint::Checkpoint;
use crate::diagnostic::Diagnostic;
use crate::spec::{DType, ModelConfig, ParamPath, TensorRow, TensorTable};

/// One parameter's way into the new folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// Its name in the source.
    pub from: ParamPath,
    /// Its name in the destination.
    pub to: ParamPath,
}

/// The parameters that do not fit the new version of an architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterMisfit {
    /// Parameters that no tensor becomes.
    pub missing: Vec<ParamPath>,
    /// Tensors that become no parameter, by their names in the source.
    pub unexpected: Vec<ParamPath>,
    /// Names with the shapes expected and found.
    pub mismatched: Vec<(ParamPath, Vec<usize>, Vec<usize>)>,
    /// The weights.
    pub path: PathBuf,
}

impl ParameterMisfit {
    pub(super) fn diagnostic(&self) -> Diagnostic {
        let what = format!(
            "the parameters do not fit the new version: {} missing, {} unexpected, {} of another shape",
            self.missing.len(),
            self.unexpected.len(),
            self.mismatched.len()
        );
        let quoted = |name: &ParamPath| format!("`{name}`");
        let shapes = self.mismatched.iter();
        let shapes = shapes.map(|(name, needs, is)| format!("`{name}` is {is:?}, the model needs {needs:?}"));
        let lenient = if self.mismatched.is_empty() { ", or update the rest with --no-strict" } else { "" };
        Diagnostic::new(what)
            .list("missing:", self.missing.iter().map(quoted))
            .list("unexpected:", self.unexpected.iter().map(quoted))
            .list("shape:", shapes)
            .at(self.path.display())
            .advise(format!("check --arch and --from-version{lenient}"))
    }
}

/// Where each parameter goes.
pub(super) struct Ways {
    pub(super) renames: Vec<Rename>,
    pub(super) dropped: Vec<ParamPath>,
    pub(super) missing: Vec<ParamPath>,
    pub(super) unexpected: Vec<ParamPath>,
    /// Names in the files of heads that are another tensor by the new names.
    tied: Vec<(ParamPath, ParamPath)>,
    /// Names with the shapes expected and found.
    mismatched: Vec<(ParamPath, Vec<usize>, Vec<usize>)>,
}

impl Ways {
    pub(super) fn new(
        weights: &Checkpoint,
        chain: &[&Step],
        config: &ModelConfig,
        native: &TensorTable,
    ) -> Result<Self, UpdateError> {
        let mut ways = Self {
            renames: Vec::new(),
            dropped: Vec::new(),
            missing: Vec::new(),
            unexpected: Vec::new(),
            tied: Vec::new(),
            mismatched: Vec::new(),
        };
        let mut taken: HashMap<ParamPath, ParamPath> = HashMap::new();
        for from in weights.stored_order() {
            let Some(found) = weights.table().get(&from) else { continue };
            let Some(to) = chain.iter().try_fold(from.clone(), |name, step| step.rename(&name, config)) else {
                ways.dropped.push(from);
                continue;
            };
            if let Some(other) = taken.insert(to.clone(), from.clone()) {
                let what = format!("the migrations give `{other}` and `{from}` one name, `{to}`");
                let advice = "correct the rules, so that every parameter keeps a name of its own";
                return Err(UpdateError::migrations(what, weights.path().display().to_string(), advice));
            }
            match native.get(&to) {
                // PyTorch files hold a tied tensor under both names; one of them is enough.
                Some(row) if row.tied_to.is_some() => ways.tied.push((from, row.tied_to.clone().unwrap_or(to))),
                Some(row) if row.shape != found.shape => {
                    ways.mismatched.push((to, row.shape.clone(), found.shape.clone()));
                }
                Some(_) => ways.renames.push(Rename { from, to }),
                None => ways.unexpected.push(from),
            }
        }
        let there: HashSet<&ParamPath> = ways.renames.iter().map(|way| &way.to).collect();
        for (head, target) in &ways.tied {
            let stored = ways.renames.iter().find(|way| way.to == *target).map(|way| &way.from);
            if let Some(embedding) = stored.filter(|stored| !weights.equal(head, stored).unwrap_or(true)) {
                let what = format!(
                    "config.json says that the head is the embedding, and the file holds `{head}` with other numbers than \
                     `{embedding}`"
                );
                let advice = "set tie_word_embeddings to false in config.json to keep it, or take it out of the file";
                return Err(UpdateError::refused(what, weights.path().display().to_string(), advice));
            }
        }
        let shaped: HashSet<&ParamPath> = ways.mismatched.iter().map(|(name, ..)| name).collect();
        let needed = native.rows().iter().filter(|row| row.tied_to.is_none()).map(|row| &row.path);
        ways.missing = needed.filter(|name| !there.contains(name) && !shaped.contains(name)).cloned().collect();
        Ok(ways)
    }

    /// Turns what does not fit into an error that lists all of it. Shapes are never passed over.
    pub(super) fn require(&self, strict: bool, weights: &Checkpoint) -> Result<(), UpdateError> {
        let complete = self.missing.is_empty() && self.unexpected.is_empty();
        if self.mismatched.is_empty() && (complete || !strict) {
            return Ok(());
        }
        Err(UpdateError::Incomplete {
            misfit: Box::new(ParameterMisfit {
                missing: self.missing.clone(),
                unexpected: self.unexpected.clone(),
                mismatched: self.mismatched.clone(),
                path: weights.path().to_owned(),
            }),
        })
    }

    /// Returns the rows to write, tied names behind the tensors that they share.
    pub(super) fn rows(&self, weights: &Checkpoint, native: &TensorTable, dtype: Option<DType>) -> Vec<TensorRow> {
        let mut rows = Vec::new();
        for way in &self.renames {
            let Some(found) = weights.table().get(&way.from) else { continue };
            let dtype = dtype.filter(|_| found.dtype.is_float()).unwrap_or(found.dtype);
            let row = TensorRow { path: way.to.clone(), dtype, ..found.clone() };
            let tied = native.rows().iter().filter(|tied| tied.tied_to.as_ref() == Some(&way.to));
            let aliases: Vec<TensorRow> = tied
                .map(|tied| TensorRow { path: tied.path.clone(), tied_to: Some(way.to.clone()), ..row.clone() })
                .collect();
            rows.push(row);
            rows.extend(aliases);
        }
        rows
    }
}
