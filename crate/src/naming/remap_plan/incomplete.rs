//! Tensors that do not fit the configuration, as an error.

use std::path::PathBuf;

use super::RemapPlan;
use crate::diagnostic::{Diagnose, Diagnostic};
use crate::sealed::Sealed;
use crate::spec::ParamPath;

/// Tensors that do not fit the configuration.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}", self.diagnostic())]
#[non_exhaustive]
pub enum IncompleteError {
    /// Tensors of a checkpoint.
    Plan {
        /// What would be written, and everything that does not fit.
        plan: Sealed<RemapPlan>,
    },
    /// Tensors that rules alone rename.
    Layout {
        /// What would be written, and everything that does not fit.
        plan: Sealed<RemapPlan>,
        /// The rules.
        rules: String,
    },
    /// Tensors of a GGUF file.
    Gguf {
        /// The tensors that are missing or of another shape.
        tensors: Vec<TensorMisfit>,
        /// The file.
        path: PathBuf,
    },
}

impl Diagnose for IncompleteError {
    fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Plan { plan } => plan
                .misfit("the tensors do not fit the configuration")
                .at(&plan.origin)
                .advise("check that config.json belongs to these weights"),
            Self::Layout { plan, rules } => plan.misfit("the rules do not fit the tensors").at(rules).advise(
                "add rules for what is unused: `{ match: 'visual\\.', replace: 'visual.' }` keeps names as they are",
            ),
            Self::Gguf { tensors, path } => {
                let count = tensors.len();
                let what = format!("the tensors do not fit the configuration: {count} missing or of another shape");
                Diagnostic::new(what)
                    .list("", tensors.iter().map(TensorMisfit::reason))
                    .at(path.display())
                    .advise("check that config.json beside the file belongs to it")
            }
        }
    }
}

/// A tensor that is missing, or of another shape than the model needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMisfit {
    /// The tensor; by the model's name where it is missing.
    pub tensor: ParamPath,
    /// The shape that the model needs.
    pub expected: Vec<usize>,
    /// The shape that it has, if it is there.
    pub found: Option<Vec<usize>>,
}

impl TensorMisfit {
    /// Returns what does not fit, in a line.
    pub fn reason(&self) -> String {
        let Self { tensor, expected, found } = self;
        match found {
            None => format!("{tensor} is missing"),
            Some(found) => format!("{tensor} has shape {found:?}, expected {expected:?}"),
        }
    }
}

impl RemapPlan {
    /// Turns an incomplete plan into an error that lists all that is wrong.
    ///
    /// # Errors
    /// [`IncompleteError`].
    pub fn require_complete(&self) -> Result<(), IncompleteError> {
        if self.is_complete() {
            return Ok(());
        }
        Err(IncompleteError::Plan { plan: Sealed::new(self.clone()) })
    }

    /// As [`require_complete`](Self::require_complete) for a plan by rules alone.
    pub(crate) fn require_covered(&self, rules: &str) -> Result<(), IncompleteError> {
        if self.is_complete() {
            return Ok(());
        }
        Err(IncompleteError::Layout { plan: Sealed::new(self.clone()), rules: rules.to_owned() })
    }

    /// Lists everything that does not fit.
    fn misfit(&self, what: &str) -> Diagnostic {
        let what = format!(
            "{what}: {} missing, {} unused, {} of another shape",
            self.missing.len(),
            self.unused.len(),
            self.mismatched.len()
        );
        let missing = self.missing.iter().map(|name| match closest(name, &self.unused) {
            Some(close) => format!("`{name}`; did you mean `{close}`?"),
            None => format!("`{name}`"),
        });
        let shapes = self.mismatched.iter();
        let shapes = shapes.map(|one| format!("`{}` is {:?}, the model needs {:?}", one.from, one.found, one.expected));
        Diagnostic::new(what)
            .list("missing:", missing)
            .list("unused:", self.unused.iter().map(|name| format!("`{name}`")))
            .list("shape:", shapes)
            .list("buffer:", self.contradicting.iter().map(|(name, what)| format!("`{name}` holds {what}")))
    }
}

/// Returns the name among `candidates` most like `name`, if one is like it at all.
pub(crate) fn closest<'a>(name: &ParamPath, candidates: &'a [ParamPath]) -> Option<&'a ParamPath> {
    let likeness = |candidate: &ParamPath| strsim::normalized_levenshtein(name.as_str(), candidate.as_str());
    // With more than a few hundred leftovers, suggestions do not help, and comparing all pairs takes long.
    let best = candidates.iter().take(300).max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.7).then_some(best)
}
