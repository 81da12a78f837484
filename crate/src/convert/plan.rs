//! What a conversion will do, as a value: every tensor's way, and everything that does not fit.

use std::collections::HashMap;

use super::{ConvertError, Family};
use crate::checkpoint::{Checkpoint, Piece};
use crate::spec::{DType, ParamPath, Side, TensorRow, TensorTable};

/// One tensor's way from the source to the destination.
#[derive(Clone, Debug, PartialEq)]
pub struct RemapStep {
    /// Its name in the source.
    pub from: ParamPath,
    /// Its name in the destination.
    pub to: ParamPath,
    /// (source, destination) pieces of the two names, from left to right.
    pub segments: Vec<(String, String)>,
    /// Dimensions, the same on both sides.
    pub shape: Vec<usize>,
    /// Element type in the source.
    pub from_dtype: DType,
    /// Element type in the destination.
    pub to_dtype: DType,
}

/// A tensor whose shape is not the one the configuration asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Its name in the source.
    pub from: ParamPath,
    /// The configuration's shape.
    pub expected: Vec<usize>,
    /// The file's shape.
    pub found: Vec<usize>,
}

/// The whole remapping, in the order in which the source stores its tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct RemapPlan {
    /// What will be written.
    pub steps: Vec<RemapStep>,
    /// Source-side names that the model needs and the source lacks.
    pub missing: Vec<ParamPath>,
    /// Source tensors that the model has no place for.
    pub unused: Vec<ParamPath>,
    /// Source tensors of another shape than the model's.
    pub mismatched: Vec<Mismatch>,
    /// Source tensors left out on purpose, with the reason.
    pub skipped: Vec<(ParamPath, &'static str)>,
    /// The folder or file of the source, for messages.
    pub origin: String,
}

impl RemapPlan {
    /// Plans the way of every tensor of `source`, which uses the names of `from`, to the other side. `native` is the
    /// table of the model that the source's configuration describes; `dtype` casts, if given.
    pub fn new(source: &Checkpoint, from: Side, native: &TensorTable, family: &Family, dtype: Option<DType>) -> Self {
        let to = match from {
            Side::HuggingFace => Side::Native,
            Side::Native => Side::HuggingFace,
        };
        // What the source should hold, by its own names.
        let expected: HashMap<ParamPath, &TensorRow> =
            native.rows().iter().map(|row| (family.name_on(from, &row.path), row)).collect();
        let mut plan = Self {
            steps: Vec::new(),
            missing: Vec::new(),
            unused: Vec::new(),
            mismatched: Vec::new(),
            skipped: Vec::new(),
            origin: source.path().display().to_string(),
        };
        for name in source.stored_order() {
            let Some(found) = source.table().get(&name) else { continue };
            match (expected.get(&name), family.rules_to(to).rename(&name)) {
                _ if family.skips(&name) => plan.skipped.push((name, "a buffer that the model computes itself")),
                (Some(row), _) if row.tied_to.is_some() => {
                    plan.skipped.push((name, "tied: it is the embedding, which is stored once"));
                }
                (Some(row), _) if row.shape != found.shape => plan.mismatched.push(Mismatch {
                    from: name,
                    expected: row.shape.clone(),
                    found: found.shape.clone(),
                }),
                (Some(_), Some(renamed)) => plan.steps.push(RemapStep {
                    from: name,
                    to: renamed.to,
                    segments: renamed.segments,
                    shape: found.shape.clone(),
                    from_dtype: found.dtype,
                    to_dtype: dtype.filter(|_| found.dtype.is_weight_float()).unwrap_or(found.dtype),
                }),
                _ => plan.unused.push(name),
            }
        }
        let mut missing: Vec<ParamPath> = expected
            .iter()
            .filter(|(name, row)| row.tied_to.is_none() && source.table().get(name).is_none())
            .map(|(name, _)| name.clone())
            .collect();
        missing.sort();
        plan.missing = missing;
        plan
    }

    /// True if every tensor of the model has its source and nothing is left over.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unused.is_empty() && self.mismatched.is_empty()
    }

    /// Turns an incomplete plan into an error that lists all that is wrong.
    ///
    /// # Errors
    /// [`ConvertError::Incomplete`].
    pub fn require_complete(&self) -> Result<(), ConvertError> {
        if self.is_complete() {
            return Ok(());
        }
        let mut lines = vec![format!(
            "the tensors do not fit the configuration: {} missing, {} unused, {} of another shape",
            self.missing.len(),
            self.unused.len(),
            self.mismatched.len()
        )];
        let mut list = |title: &str, entries: Vec<String>| {
            for entry in entries.iter().take(10) {
                lines.push(format!("  {title} {entry}"));
            }
            if entries.len() > 10 {
                lines.push(format!("  {title} and {} more", entries.len() - 10));
            }
        };
        let missing = self.missing.iter().map(|name| match closest(name, &self.unused) {
            Some(close) => format!("`{name}` (is `{close}` meant?)"),
            None => format!("`{name}`"),
        });
        list("missing:", missing.collect());
        list("unused:", self.unused.iter().map(|name| format!("`{name}`")).collect());
        let shapes = self.mismatched.iter();
        let shapes = shapes.map(|one| format!("`{}` is {:?}, the model needs {:?}", one.from, one.found, one.expected));
        list("shape:", shapes.collect());
        lines.push(format!("  where: {}", self.origin));
        lines.push("  do: check that config.json belongs to these weights".to_owned());
        Err(ConvertError::Incomplete(lines.join("\n")))
    }

    /// The rows to write, under their new names.
    pub fn rows(&self) -> impl Iterator<Item = TensorRow> {
        self.steps.iter().map(|step| TensorRow::stored(step.to.clone(), step.shape.clone(), step.to_dtype))
    }

    /// For each new name, what to read.
    pub fn pieces(&self) -> HashMap<ParamPath, Vec<Piece>> {
        self.steps.iter().map(|step| (step.to.clone(), vec![Piece::Tensor(step.from.clone())])).collect()
    }
}

/// The name among `candidates` most like `name`, if one is like it at all.
pub(crate) fn closest<'a>(name: &ParamPath, candidates: &'a [ParamPath]) -> Option<&'a ParamPath> {
    let likeness = |candidate: &ParamPath| strsim::normalized_levenshtein(name.as_str(), candidate.as_str());
    // Beyond a few hundred leftovers suggestions help nobody, and comparing all pairs takes long.
    let best = candidates.iter().take(300).max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.7).then_some(best)
}
