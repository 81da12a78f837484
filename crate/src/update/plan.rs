//! What an update will do, as a value: the chain of steps, every parameter's new name, and what does not fit.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::provenance::provenance;
use super::{Migrations, Step, Update, UpdateError, Version};
use crate::checkpoint::{Checkpoint, Piece, Placement, ShardPlan, latest_checkpoint, step_of, timestamp};
use crate::convert::ConvertError;
use crate::export::{CarriedSource, carried_sources, sources};
use crate::sealed::Sealed;
use crate::spec::{Architecture, DType, ModelConfig, ModelSpec, ParamPath, Side, TensorRow, TensorTable};
use crate::tokenizer::TokenizerFiles;

/// One parameter's way into the new folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// Its name in the source.
    pub from: ParamPath,
    /// Its name in the destination.
    pub to: ParamPath,
}

/// An update before it happens.
#[derive(Clone, Debug, PartialEq)]
pub struct UpdatePlan {
    /// The source folder.
    pub source: PathBuf,
    /// The checkpoint whose weights are taken.
    pub checkpoint: PathBuf,
    /// The destination folder.
    pub destination: PathBuf,
    /// The architecture's name.
    pub architecture: &'static str,
    /// The source's version.
    pub from: Version,
    /// The destination's version.
    pub to: Version,
    /// What each step does, such as `1->2: …`.
    pub steps: Vec<String>,
    /// Parameters in the order in which the source stores them.
    pub renames: Vec<Rename>,
    /// Parameters that the new version does not have.
    pub dropped: Vec<ParamPath>,
    /// Parameters of the new model that the source does not hold.
    pub missing: Vec<ParamPath>,
    /// Parameters of the source that the new model has no place for.
    pub unexpected: Vec<ParamPath>,
    /// Fields of config.json that change: name, old value, new value; null where there is none.
    pub fields: Sealed<Vec<(String, Value, Value)>>,
    /// config.json.
    pub config: Sealed<Value>,
    /// Where the weights go: where the source has them.
    pub placement: Placement,
    /// The stored tensors.
    pub table: TensorTable,
    /// What a person should know: files that are left behind, for instance.
    pub warnings: Vec<String>,
}

/// An update that ran, or would run.
#[derive(Clone, Debug, PartialEq)]
pub struct Updated {
    /// What was, or would be, done.
    pub plan: Sealed<UpdatePlan>,
    /// True for a dry run: nothing was written.
    pub dry_run: bool,
}

/// A plan with everything that writing needs open.
pub(super) struct Prepared {
    pub(super) plan: UpdatePlan,
    pub(super) weights: Checkpoint,
    pub(super) shards: ShardPlan,
    pub(super) tokenizer: TokenizerFiles,
    pub(super) sources: Vec<(String, String)>,
    pub(super) carried: Vec<CarriedSource>,
    pub(super) record: Value,
}

/// Small files that go along as they are.
pub(super) const CARRIED: &[&str] = &["generation_config.json", "chat_template.json"];
/// The record that an update leaves in the folder.
pub(super) const RECORD: &str = "chandlery_update.json";

impl Prepared {
    pub(super) fn new(asked: &Update) -> Result<Self, UpdateError> {
        if let Some(dtype) = asked.dtype.filter(|dtype| !dtype.is_weight_float()) {
            let what = format!("weights cannot be stored as {dtype}");
            return Err(UpdateError::refused(what, "--dtype", "use float32, bfloat16, float16 or float64"));
        }
        let old = crate::convert::read_config(&asked.source)?;
        let origin = asked.source.join("config.json").display().to_string();
        let told = (asked.architecture.as_deref(), asked.from_version.as_ref());
        let (architecture, from) = provenance(&old, &origin, told)?;
        let migrations = Migrations::of(architecture.name(), &asked.migrations)?;
        let newest = Version::from(migrations.newest().max(from.major()));
        let to = asked.to_version.clone().unwrap_or(if newest.major() == from.major() { from.clone() } else { newest });
        // Checked before any weights are looked at.
        let chain = migrations.chain(&from, &to)?;
        let checkpoint = checkpoint_of(asked)?;
        let weights = Checkpoint::open(&checkpoint)?;
        let config = migrated(&old, &chain, (architecture, &to), asked.dtype.or_else(|| stored_dtype(&old, &weights)))?;
        let (new, _) = ModelConfig::from_json(&config, &origin).map_err(ConvertError::from)?;

        let native = ModelSpec::resolve(&new).table(new.dtype);
        let ways = Ways::new(&weights, &chain, &native)?;
        ways.require(asked.strict, &weights)?;
        let rows = ways.rows(&weights, &native, asked.dtype);
        let shards = ShardPlan::with_format(rows, asked.max_shard_size, asked.format);
        let placement = match step_of(&checkpoint) {
            Some(step) => Placement::Checkpoint { step },
            None => Placement::Root,
        };

        let sources = sources(&new);
        let mut warnings = Vec::new();
        let mut left = Vec::new();
        let mut carried = carried_sources(&asked.source, Side::Native, &new, &new)?;
        carried.retain(|file| {
            let leave = chain.iter().any(|step| step.leaves(&file.name));
            left.extend(leave.then(|| file.name.clone()));
            !leave && !sources.iter().any(|(name, _)| *name == file.name)
        });
        if !left.is_empty() {
            warnings.push(format!("left behind, of no use to the new version: {}", left.join(", ")));
        }
        warnings.extend(edited(&asked.source, &sources, &old, &origin));
        if has_optimizer(&checkpoint) {
            warnings.push("the optimizer's state is not carried: it belongs to the old model".to_owned());
        }
        let plan = UpdatePlan {
            source: asked.source.clone(),
            checkpoint,
            destination: asked.destination.clone(),
            architecture: architecture.name(),
            from,
            to,
            steps: chain.iter().map(|step| step.in_words()).collect(),
            renames: ways.renames,
            dropped: ways.dropped,
            missing: ways.missing,
            unexpected: ways.unexpected,
            fields: Sealed::new(difference(&old, &config)),
            config: Sealed::new(config),
            placement,
            table: TensorTable::from_rows(shards.shards().iter().flatten().cloned().collect()).sorted(),
            warnings,
        };
        let record = plan.record(&asked.source, new.dtype);
        let tokenizer = TokenizerFiles::read(&asked.source)?;
        Ok(Self { plan, weights, shards, tokenizer, sources, carried, record })
    }

    /// For each new name, the old one.
    pub(super) fn pieces(&self) -> HashMap<ParamPath, Vec<Piece>> {
        let pieces = |way: &Rename| (way.to.clone(), vec![Piece::Tensor(way.from.clone())]);
        self.plan.renames.iter().map(pieces).collect()
    }
}

/// config.json after all steps: every field that no step names stays, and what shapes the model is written in full.
fn migrated(
    old: &Value,
    chain: &[&Step],
    (architecture, to): (Architecture, &Version),
    dtype: Option<DType>,
) -> Result<Value, UpdateError> {
    let mut fields: Map<String, Value> = old.as_object().cloned().unwrap_or_default();
    for step in chain {
        step.change(&mut fields)?;
    }
    if let Some(dtype) = dtype {
        for key in ["dtype", "torch_dtype"] {
            fields.insert(key.to_owned(), json!(dtype.torch_name()));
        }
    }
    let after = "config.json after the migrations";
    let said = ModelConfig::identify(&Value::Object(fields.clone()), after).map_err(ConvertError::from)?;
    if said.1 != architecture {
        // It was told, and stands above what the folder says.
        fields.insert("model_type".to_owned(), json!(architecture.native_model_type()));
        fields.shift_remove("hf_model_type");
    }
    let (config, _) = ModelConfig::from_json(&Value::Object(fields.clone()), after).map_err(ConvertError::from)?;
    if let Value::Object(written) = config.to_native_json(None) {
        fields.extend(written);
    }
    fields.insert("chandlery_arch_version".to_owned(), json!(to.to_string()));
    fields.sort_keys();
    Ok(Value::Object(fields))
}

/// The element type of the weights, where config.json does not say one.
fn stored_dtype(config: &Value, weights: &Checkpoint) -> Option<DType> {
    let said = ["dtype", "torch_dtype"].iter().any(|key| config.get(key).is_some_and(|dtype| !dtype.is_null()));
    let mut types = weights.table().rows().iter().map(|row| row.dtype);
    if said { None } else { types.find(|dtype| dtype.is_weight_float()) }
}

/// The checkpoint that was named, else the latest, else the folder itself.
fn checkpoint_of(asked: &Update) -> Result<PathBuf, UpdateError> {
    match &asked.checkpoint {
        Some(folder) if folder.is_dir() => Ok(folder.clone()),
        Some(other) => {
            let what = if other.exists() { "this is no folder" } else { "there is no such folder" };
            let advice = "name a checkpoint's folder, such as SRC/checkpoints/checkpoint-1200";
            Err(UpdateError::refused(what, format!("--checkpoint {}", other.display()), advice))
        }
        None => Ok(latest_checkpoint(&asked.source)?.unwrap_or_else(|| asked.source.clone())),
    }
}

/// Where each parameter goes.
struct Ways {
    renames: Vec<Rename>,
    dropped: Vec<ParamPath>,
    missing: Vec<ParamPath>,
    unexpected: Vec<ParamPath>,
    /// Names with the shapes expected and found.
    mismatched: Vec<(ParamPath, Vec<usize>, Vec<usize>)>,
}

impl Ways {
    fn new(weights: &Checkpoint, chain: &[&Step], native: &TensorTable) -> Result<Self, UpdateError> {
        let mut ways = Self {
            renames: Vec::new(),
            dropped: Vec::new(),
            missing: Vec::new(),
            unexpected: Vec::new(),
            mismatched: Vec::new(),
        };
        let mut taken: HashMap<ParamPath, ParamPath> = HashMap::new();
        for from in weights.stored_order() {
            let Some(found) = weights.table().get(&from) else { continue };
            let Some(to) = chain.iter().try_fold(from.clone(), |name, step| step.rename(&name)) else {
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
                Some(row) if row.tied_to.is_some() => {}
                Some(row) if row.shape != found.shape => {
                    ways.mismatched.push((to, row.shape.clone(), found.shape.clone()));
                }
                Some(_) => ways.renames.push(Rename { from, to }),
                None => ways.unexpected.push(from),
            }
        }
        let there: HashSet<&ParamPath> = ways.renames.iter().map(|way| &way.to).collect();
        let shaped: HashSet<&ParamPath> = ways.mismatched.iter().map(|(name, ..)| name).collect();
        let needed = native.rows().iter().filter(|row| row.tied_to.is_none()).map(|row| &row.path);
        ways.missing = needed.filter(|name| !there.contains(name) && !shaped.contains(name)).cloned().collect();
        Ok(ways)
    }

    /// Turns what does not fit into an error that lists all of it. Shapes are never passed over.
    fn require(&self, strict: bool, weights: &Checkpoint) -> Result<(), UpdateError> {
        let complete = self.missing.is_empty() && self.unexpected.is_empty();
        if self.mismatched.is_empty() && (complete || !strict) {
            return Ok(());
        }
        let mut lines = vec![format!(
            "the parameters do not fit the new version: {} missing, {} unexpected, {} of another shape",
            self.missing.len(),
            self.unexpected.len(),
            self.mismatched.len()
        )];
        let mut list = |title: &str, entries: Vec<String>| {
            lines.extend(entries.iter().take(10).map(|entry| format!("  {title} {entry}")));
            lines.extend((entries.len() > 10).then(|| format!("  {title} and {} more", entries.len() - 10)));
        };
        list("missing:", self.missing.iter().map(|name| format!("`{name}`")).collect());
        list("unexpected:", self.unexpected.iter().map(|name| format!("`{name}`")).collect());
        let shapes = self.mismatched.iter();
        list(
            "shape:",
            shapes.map(|(name, needs, is)| format!("`{name}` is {is:?}, the model needs {needs:?}")).collect(),
        );
        lines.push(format!("  where: {}", weights.path().display()));
        let lenient = if self.mismatched.is_empty() { ", or update what there is with --no-strict" } else { "" };
        lines.push(format!("  do: check --arch and --from-version{lenient}"));
        Err(UpdateError::Incomplete(lines.join("\n")))
    }

    /// The rows to write, tied names behind the tensors that they share.
    fn rows(&self, weights: &Checkpoint, native: &TensorTable, dtype: Option<DType>) -> Vec<TensorRow> {
        let mut rows = Vec::new();
        for way in &self.renames {
            let Some(found) = weights.table().get(&way.from) else { continue };
            let dtype = dtype.filter(|_| found.dtype.is_weight_float()).unwrap_or(found.dtype);
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

/// Says which of our sources were edited: they are written anew, and the edits stay behind.
fn edited(folder: &Path, new: &[(String, String)], old: &Value, origin: &str) -> Option<String> {
    // What this crate no longer reads it cannot have written as it would now.
    let before = ModelConfig::from_json(old, origin).map(|(config, _)| sources(&config)).unwrap_or_default();
    let edited = new.iter().filter(|(name, written)| {
        let found = std::fs::read_to_string(folder.join(name)).ok();
        found.is_some_and(|found| found != *written && !before.iter().any(|file| file.0 == *name && file.1 == found))
    });
    let names: Vec<&str> = edited.map(|(name, _)| name.as_str()).collect();
    (!names.is_empty()).then(|| format!("written anew, without the changes that SRC has: {}", names.join(", ")))
}

fn has_optimizer(checkpoint: &Path) -> bool {
    std::fs::read_dir(checkpoint)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("optimizer_state"))
}

fn difference(old: &Value, new: &Value) -> Vec<(String, Value, Value)> {
    let empty = Map::new();
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let changed = new.iter().filter(|(key, value)| old.get(key.as_str()).unwrap_or(&Value::Null) != *value);
    let removed = old.iter().filter(|(key, value)| !new.contains_key(key.as_str()) && !value.is_null());
    let changed = changed
        .map(|(key, value)| (key.clone(), old.get(key.as_str()).cloned().unwrap_or(Value::Null), value.clone()))
        .chain(removed.map(|(key, value)| (key.clone(), value.clone(), Value::Null)));
    let mut changed: Vec<_> = changed.collect();
    changed.sort_by(|a, b| a.0.cmp(&b.0));
    changed
}

impl UpdatePlan {
    /// chandlery_update.json, in the form that Forgather's `update` leaves, with an earlier record inside.
    fn record(&self, source: &Path, dtype: DType) -> Value {
        let mut record = json!({
            "schema": "chandlery_update.v1",
            "timestamp": timestamp(),
            "source": source,
            "arch": self.architecture,
            "from_version": self.from.to_string(),
            "to_version": self.to.to_string(),
            "migrations": self.steps,
            "dtype": dtype.torch_name(),
            "missing_keys": self.missing,
            "unexpected_keys": self.unexpected,
        });
        for name in [RECORD, "forgather_update.json"] {
            let earlier = std::fs::read_to_string(source.join(name)).ok();
            if let Some(earlier) = earlier.and_then(|text| serde_json::from_str::<Value>(&text).ok()) {
                record["previous"] = earlier;
                break;
            }
        }
        record
    }

    /// How many parameters have another name afterwards.
    pub fn renamed(&self) -> usize {
        self.renames.iter().filter(|way| way.from != way.to).count()
    }
}

impl Updated {
    pub(super) fn new(plan: UpdatePlan, dry_run: bool) -> Self {
        Self { plan: Sealed::new(plan), dry_run }
    }

    /// The `--json` report.
    pub fn report(&self) -> Value {
        let plan = &self.plan;
        let renamed = plan.renames.iter().filter(|way| way.from != way.to);
        json!({
            "passed": true,
            "source": plan.source,
            "checkpoint": plan.checkpoint,
            "destination": plan.destination,
            "dry_run": self.dry_run,
            "arch": plan.architecture,
            "from_version": plan.from.to_string(),
            "to_version": plan.to.to_string(),
            "migrations": plan.steps,
            "tensors": plan.table.len(),
            "bytes": plan.table.bytes(),
            "renamed": renamed.map(|way| json!({ "from": way.from, "to": way.to })).collect::<Vec<_>>(),
            "dropped": plan.dropped,
            "missing": plan.missing,
            "unexpected": plan.unexpected,
            "config": *plan.config,
            "warnings": plan.warnings,
        })
    }
}
