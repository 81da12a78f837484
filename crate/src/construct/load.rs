//! Weights of a checkpoint into a constructed model: what fits, what does not, and why, before a tensor is read.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde_json::{Value, json};

use super::ConstructError;
use crate::checkpoint::{Checkpoint, CheckpointChoice, CheckpointError, Piece, Pieces};
use crate::diagnostic::Diagnostic;
use crate::model::{CausalLm, ModelError, PieceWeights, tensor_from, weight_dtype};
use crate::naming::{Dropped, Family, FamilyError, RemapPlan, buffer, closest, dropped, native_alias};
use crate::sealed::Sealed;
use crate::spec::{DType, ModelConfig, ModelSpec, Naming, ParamPath, TensorRow, TensorTable};

/// A parameter that the checkpoint has.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedParameter {
    /// The parameter.
    pub path: ParamPath,
    /// Its name in the checkpoint.
    pub from: ParamPath,
    /// Its element type there; it is cast to the model's.
    pub dtype: DType,
    /// What it is made of, row by row of the shape it has in the model.
    pub(super) pieces: Vec<Piece>,
    pub(super) shape: Vec<usize>,
}

/// A parameter that the checkpoint lacks; it keeps its initial value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingParameter {
    /// The parameter.
    pub path: ParamPath,
    /// The unused tensor whose name is most like it.
    pub did_you_mean: Option<ParamPath>,
}

/// A tensor whose shape or element type does not fit the parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MismatchedParameter {
    /// The parameter.
    pub path: ParamPath,
    /// Its name in the checkpoint.
    pub from: ParamPath,
    /// The model's shape.
    pub expected: Vec<usize>,
    /// The checkpoint's shape.
    pub found: Vec<usize>,
    /// The checkpoint's element type.
    pub dtype: DType,
}

/// How the tensors of a checkpoint and the parameters of a model belong together.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LoadReport {
    /// The file or index that was opened.
    pub path: PathBuf,
    /// Which weights they are of a folder that was named, and which newer ones were passed over.
    pub choice: CheckpointChoice,
    /// The key under which a PyTorch file keeps the tensors, if it holds more.
    pub nested_in: Option<String>,
    /// Parameters with a tensor, in the model's order.
    pub loaded: Vec<LoadedParameter>,
    /// Parameters without one.
    pub missing: Vec<MissingParameter>,
    /// Tensors without a parameter.
    pub unused: Vec<ParamPath>,
    /// Tensors that do not fit their parameter.
    pub mismatched: Vec<MismatchedParameter>,
    /// Tensors left out on purpose, with the reason.
    pub skipped: Vec<(ParamPath, &'static str)>,
}

impl LoadReport {
    /// Compares the headers of `checkpoint` with the parameters of `table`, which `config` describes. Names are the
    /// model's own, Forgather's, or those that Hugging Face gives the family.
    ///
    /// # Errors
    /// [`CheckpointError`] if a tied tensor that the file holds twice cannot be read.
    pub fn new(checkpoint: &Checkpoint, table: &TensorTable, config: &ModelConfig) -> Result<Self, CheckpointError> {
        let family = Family::of(config.architecture).ok();
        let mut report = Self {
            path: checkpoint.path().to_owned(),
            choice: checkpoint.choice().clone(),
            nested_in: checkpoint.nested_in().map(str::to_owned),
            loaded: Vec::new(),
            missing: Vec::new(),
            unused: Vec::new(),
            mismatched: Vec::new(),
            skipped: Vec::new(),
        };
        let mut found: HashMap<ParamPath, ParamPath> = HashMap::new();
        // A name that is the model's own comes before one that is only renamed to it.
        let mut names: Vec<(bool, ParamPath, Option<ParamPath>)> = checkpoint
            .stored_order()
            .map(|name| {
                let place = native_name(&name, table, family.as_ref());
                (place.as_ref() != Some(&name), name, place)
            })
            .collect();
        names.sort_by_key(|(renamed, ..)| *renamed);
        let mut aliases = Vec::new();
        for (_, name, place) in names {
            let row = place.as_ref().and_then(|place| table.get(place));
            match (row, place) {
                (Some(row), _) if row.tied_to.is_some() => aliases.push((name, row.tied_to.clone())),
                (Some(_), Some(place)) if !found.contains_key(&place) => drop(found.insert(place, name)),
                _ => match left_out(checkpoint, &name, family.as_ref(), config)? {
                    Some(why) => report.skipped.push((name, why)),
                    None => report.unused.push(name),
                },
            }
        }
        for (name, target) in aliases {
            let Some(target) = target else { continue };
            match found.get(&target) {
                // Files of tied models may hold the head alone.
                None => drop(found.insert(target, name)),
                Some(stored) if checkpoint.equal(stored, &name)? => {
                    report.skipped.push((name, "tied: equal to the tensor that it is tied to"));
                }
                Some(_) => report.unused.push(name),
            }
        }
        for row in table.stored() {
            let Some(from) = found.remove(&row.path) else {
                report.missing.push(MissingParameter { path: row.path.clone(), did_you_mean: None });
                continue;
            };
            let Some(stored) = checkpoint.table().get(&from) else { continue };
            let path = row.path.clone();
            if stored.shape == row.shape && stored.dtype.is_weight_float() {
                let pieces = vec![Piece::Tensor(from.clone())];
                report.loaded.push(LoadedParameter {
                    path,
                    from,
                    dtype: stored.dtype,
                    pieces,
                    shape: row.shape.clone(),
                });
            } else {
                report.mismatched.push(MismatchedParameter {
                    path,
                    from,
                    expected: row.shape.clone(),
                    found: stored.shape.clone(),
                    dtype: stored.dtype,
                });
            }
        }
        report.unused.sort();
        for missing in &mut report.missing {
            missing.did_you_mean = closest(&missing.path, &report.unused).cloned();
        }
        Ok(report)
    }

    /// The same for a checkpoint in the names of `family`, whose tensors may have to be split, joined or transposed.
    ///
    /// # Errors
    /// [`FamilyError`] if the family's rules do not lead there and back for this model.
    pub fn of_family(checkpoint: &Checkpoint, config: &ModelConfig, family: &Family) -> Result<Self, FamilyError> {
        let plan = RemapPlan::new(checkpoint, Naming::HuggingFace, config, family, None)?;
        let pieces = plan.pieces();
        let loaded: Vec<LoadedParameter> = plan
            .rows()
            .filter_map(|row| {
                let step = plan.steps.iter().find(|step| step.to == row.path)?;
                Some(LoadedParameter {
                    from: step.from.clone(),
                    dtype: row.dtype,
                    pieces: pieces.get(&row.path).cloned().unwrap_or_default(),
                    shape: row.shape,
                    path: row.path,
                })
            })
            .collect();
        let table = ModelSpec::resolve(config).table(config.dtype);
        let known = |path: &ParamPath| loaded.iter().any(|one| one.path == *path);
        let missing = table.stored().filter(|row| !known(&row.path));
        let missing = missing.map(|row| MissingParameter { path: row.path.clone(), did_you_mean: None }).collect();
        let mismatched = plan.mismatched.iter().map(|one| MismatchedParameter {
            path: family.rules_to(Naming::Native).rename_one(&one.from).unwrap_or_else(|| one.from.clone()),
            from: one.from.clone(),
            expected: one.expected.clone(),
            found: one.found.clone(),
            dtype: config.dtype,
        });
        Ok(Self {
            path: checkpoint.path().to_owned(),
            choice: checkpoint.choice().clone(),
            nested_in: checkpoint.nested_in().map(str::to_owned),
            missing,
            mismatched: mismatched.collect(),
            unused: plan.unused.iter().chain(plan.contradicting.iter().map(|(name, _)| name)).cloned().collect(),
            skipped: plan.skipped.clone(),
            loaded,
        })
    }

    /// Returns true if every parameter has its tensor and every tensor its parameter.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unused.is_empty() && self.mismatched.is_empty()
    }

    /// Turns anything missing, unused or mismatched into an error that lists it, as `--strict` does.
    ///
    /// # Errors
    /// [`ConstructError::Misfit`].
    pub fn require_complete(&self) -> Result<(), ConstructError> {
        if self.is_complete() { Ok(()) } else { Err(self.refused("check that the checkpoint belongs to this model")) }
    }

    /// Turns tensors that do not fit, or a checkpoint of which nothing fits, into an error.
    ///
    /// # Errors
    /// [`ConstructError::Misfit`].
    pub fn require_usable(&self) -> Result<(), ConstructError> {
        if self.mismatched.is_empty() && !self.loaded.is_empty() {
            return Ok(());
        }
        Err(self.refused("check that the checkpoint belongs to this model and its arguments"))
    }

    /// The error that carries this report.
    pub(super) fn refused(&self, advice: &str) -> ConstructError {
        ConstructError::Misfit { report: Sealed::new(self.clone()), advice: advice.to_owned() }
    }

    /// Lists everything that does not fit.
    pub(super) fn misfit(&self) -> Diagnostic {
        let what = format!(
            "the checkpoint does not fit the model: {} loaded, {} missing, {} unused, {} mismatched",
            self.loaded.len(),
            self.missing.len(),
            self.unused.len(),
            self.mismatched.len()
        );
        let missing = |one: &MissingParameter| format!("missing: `{}`{}", one.path, meant(&one.did_you_mean));
        Diagnostic::new(what)
            .list("", self.missing.iter().map(missing))
            .list("", self.unused.iter().map(|name| format!("unused: `{name}`")))
            .list("", self.mismatched.iter().map(|one| format!("mismatched: {}", one.reason())))
            .at(self.path.display())
    }

    /// Returns the parameters that the checkpoint has.
    pub(super) fn weights<'a>(&self, checkpoint: &'a Checkpoint) -> PieceWeights<'a> {
        let rows = self.loaded.iter();
        let rows = rows.map(|one| TensorRow::stored(one.path.clone(), one.shape.clone(), one.dtype));
        let pieces = self.loaded.iter().map(|one| (one.path.clone(), one.pieces.clone()));
        PieceWeights::new(checkpoint, rows, pieces.collect(), None)
    }

    /// Returns the `--json` report.
    pub fn report(&self) -> Value {
        let dtypes: BTreeSet<&str> = self.loaded.iter().map(|one| one.dtype.torch_name()).collect();
        json!({
            "path": self.path,
            "checkpoint": self.choice.path,
            "choice": self.choice.report(),
            "warnings": self.choice.warnings(),
            "nested_in": self.nested_in,
            "loaded": self.loaded.len(),
            "renamed": self.loaded.iter().filter(|one| one.from != one.path).count(),
            "dtypes": dtypes,
            "missing": self.missing.iter()
                .map(|one| json!({ "parameter": one.path, "did_you_mean": one.did_you_mean })).collect::<Vec<_>>(),
            "unused": self.unused,
            "mismatched": self.mismatched.iter()
                .map(|one| json!({ "parameter": one.path, "tensor": one.from, "expected": one.expected,
                    "found": one.found, "dtype": one.dtype.torch_name() }))
                .collect::<Vec<_>>(),
            "skipped": self.skipped.iter()
                .map(|(name, why)| json!({ "tensor": name, "why": why })).collect::<Vec<_>>(),
        })
    }
}

impl MismatchedParameter {
    /// Returns what does not fit, in a line.
    pub fn reason(&self) -> String {
        let Self { from, expected, found, dtype, .. } = self;
        if expected == found {
            return format!("`{from}` is {dtype}, which is not a type for weights");
        }
        format!("`{from}` is {found:?}, the model needs {expected:?}")
    }
}

fn meant(name: &Option<ParamPath>) -> String {
    name.as_ref().map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// Returns the parameter that a tensor's name stands for.
fn native_name(name: &ParamPath, table: &TensorTable, family: Option<&Family>) -> Option<ParamPath> {
    if table.get(name).is_some() {
        return Some(name.clone());
    }
    let alias = native_alias(name);
    let renamed = || family?.rules_to(Naming::Native).rename_one(name);
    alias.or_else(renamed).filter(|native| table.get(native).is_some())
}

/// Returns why a tensor without a parameter is left out, if it is one that models compute themselves, and holds that.
fn left_out(
    checkpoint: &Checkpoint,
    name: &ParamPath,
    family: Option<&Family>,
    config: &ModelConfig,
) -> Result<Option<&'static str>, CheckpointError> {
    if let Some(why) = buffer(name, config) {
        return Ok(Some(why));
    }
    if !family.is_some_and(|family| family.skips(name)) {
        return Ok(None);
    }
    Ok(match dropped(checkpoint, name, config)? {
        Dropped::Named(why) => Some(why),
        Dropped::Contradicts(_) => None,
    })
}

/// Loads the weights of a file, a folder, a checkpoint or a model folder into an existing model. Weights that are not
/// found are listed in the report; call [`LoadReport::require_complete`] to make them an error.
///
/// ```no_run
/// use chandlery::{load_checkpoint, project};
/// let built = project("llama")?.config("4M")?.construct().device("cpu")?.build()?;
/// if let Some(model) = &built.model {
///     load_checkpoint("output_models/llama_4m", model)?.require_complete()?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ConstructError`] if the weights cannot be read, a tensor does not fit its parameter, or the model was built
/// without variables; then no parameter has changed unless reading itself broke off.
pub fn load_checkpoint(path: impl AsRef<Path>, model: &CausalLm) -> Result<LoadReport, ConstructError> {
    load_into(path.as_ref(), model)
}

fn load_into(path: &Path, model: &CausalLm) -> Result<LoadReport, ConstructError> {
    let checkpoint = Checkpoint::open(path)?;
    let report = LoadReport::new(&checkpoint, model.table(), model.config())?;
    report.require_usable()?;
    let variables: HashMap<ParamPath, candle_core::Var> = model.parameters().variables().into_iter().collect();
    let values: HashMap<ParamPath, Tensor> = model.parameters().tensors().into_iter().collect();
    for one in report.loaded.iter().filter(|one| !variables.contains_key(&one.path)) {
        // Values that are not trained cannot be set, and need not be if they are equal.
        let stored = read_as(&checkpoint, one, values.get(&one.path))?;
        if values.get(&one.path).is_none_or(|value| !equal(value, &stored)) {
            return Err(ConstructError::Refused {
                what: format!("`{}` is not trained and has another value in the checkpoint", one.path),
                origin: path.display().to_string(),
                advice: "give the checkpoint to Construct::load_from_checkpoint instead".to_owned(),
            });
        }
    }
    for one in &report.loaded {
        crate::interrupt::check().map_err(ModelError::from)?;
        let Some(variable) = variables.get(&one.path) else { continue };
        let tensor = read_as(&checkpoint, one, values.get(&one.path))?;
        variable.set(&tensor).map_err(ModelError::from)?;
    }
    Ok(report)
}

/// Returns a tensor of the checkpoint in the type and on the device of `like`.
fn read_as(checkpoint: &Checkpoint, one: &LoadedParameter, like: Option<&Tensor>) -> Result<Tensor, ConstructError> {
    let pieces = [(one.path.clone(), one.pieces.clone())].into_iter().collect();
    // Cast as it is read: a number that the model's type cannot hold is an error.
    let dtype = like.and_then(|like| weight_dtype(like.dtype())).unwrap_or(one.dtype);
    let row = TensorRow::stored(one.path.clone(), one.shape.clone(), dtype);
    let data = Pieces::new(checkpoint, pieces).read(&row)?;
    let tensor = tensor_from(&data, &candle_core::Device::Cpu).map_err(ModelError::from)?;
    let Some(like) = like else { return Ok(tensor) };
    let tensor = tensor.to_dtype(like.dtype()).and_then(|tensor| tensor.to_device(like.device()));
    Ok(tensor.map_err(ModelError::from)?)
}

fn equal(left: &Tensor, right: &Tensor) -> bool {
    let different = left.ne(right).and_then(|mask| mask.flatten_all()?.to_vec1::<u8>());
    different.is_ok_and(|mask| mask.iter().all(|bit| *bit == 0))
}
