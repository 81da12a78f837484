//! What an update will do, as a value: the chain of steps, every parameter's new name, and what does not fit.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::config::{difference, migrated, stored_dtype};
use super::provenance::provenance;
use super::ways::{Rename, Ways};
use super::{Migrations, Update, UpdateError, Version};
use crate::checkpoint::{
    Checkpoint, CheckpointChoice, FolderChanges, Manifest, Piece, Placement, ShardPlan, timestamp,
};
use crate::export::{CarriedSource, carried_sources, sources};
use crate::model_folder::{ModelFolderError, entries_of_a_model};
use crate::sealed::Sealed;
use crate::spec::{DType, ModelConfig, ModelSpec, Naming, ParamPath, TensorTable};
use crate::tokenizer::TokenizerFiles;

/// A planned update.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct UpdatePlan {
    /// The source folder.
    pub source: PathBuf,
    /// The folder whose weights are taken.
    pub checkpoint: PathBuf,
    /// Why these weights, and which newer ones were passed over.
    pub choice: CheckpointChoice,
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
    /// Every file of the destination, and what writing them changes there.
    pub changes: FolderChanges,
    /// The stored tensors.
    pub table: TensorTable,
    /// What a person should know: files that are left behind, for instance.
    pub warnings: Vec<String>,
}

/// An update that ran, or would run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
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

/// A small file that is copied.
pub(super) const CARRIED: &str = "generation_config.json";
/// The record that an update leaves in the folder.
pub(super) const RECORD: &str = "chandlery_update.json";

impl Prepared {
    pub(super) fn new(asked: &Update) -> Result<Self, UpdateError> {
        if let Some((what, advice)) = asked.write.dtype_fault() {
            return Err(UpdateError::refused(what, "--dtype", advice));
        }
        let old = crate::model_folder::read_config(&asked.source)?;
        let origin = asked.source.join("config.json").display().to_string();
        let told = (asked.architecture.as_deref(), asked.from_version.as_ref());
        let (architecture, from) = provenance(&old, &origin, told)?;
        let migrations = Migrations::of(architecture.name(), &asked.migrations)?;
        let newest = Version::from(migrations.newest().max(from.major()));
        let to = asked.to_version.clone().unwrap_or(if newest.major() == from.major() { from.clone() } else { newest });
        // Checked before any weights are read.
        let chain = migrations.chain(&from, &to)?;
        let weights = Checkpoint::choose(&asked.source, asked.checkpoint.as_deref())?;
        let choice = weights.choice().clone();
        let checkpoint = choice.path.clone();
        let config =
            migrated(&old, &chain, (architecture, &to), asked.write.dtype.or_else(|| stored_dtype(&old, &weights)))?;
        let new = ModelConfig::from_json(&config, &origin).map_err(ModelFolderError::from)?;

        let native = ModelSpec::resolve(&new).table(new.dtype);
        let ways = Ways::new(&weights, &chain, &new, &native)?;
        ways.require(asked.strict, &weights)?;
        let rows = ways.rows(&weights, &native, asked.write.dtype);
        let shards = ShardPlan::with_format(rows, asked.write.save.max_shard_size, asked.write.save.format);
        let placement = match choice.step() {
            Some(step) => Placement::Checkpoint { step },
            None => Placement::Root,
        };

        let sources = sources(&new)?;
        let mut warnings = choice.warnings();
        let mut left = Vec::new();
        let mut carried = carried_sources(&asked.source, Naming::Native, &new, &new)?;
        carried.retain(|file| {
            let rewritten = sources.iter().any(|(name, _)| *name == file.name);
            let leave = !rewritten && chain.iter().any(|step| step.leaves(&file.name));
            left.extend(leave.then(|| file.name.clone()));
            !leave && !rewritten
        });
        if !left.is_empty() {
            warnings.push(format!("left out, because the new version does not use them: {}", left.join(", ")));
        }
        warnings.extend(edited(&asked.source, &sources, &old, &origin));
        if has_optimizer(&checkpoint) {
            warnings.push("the optimizer's state is not carried: it belongs to the old model".to_owned());
        }
        let mut plan = UpdatePlan {
            source: asked.source.clone(),
            checkpoint,
            choice,
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
            changes: FolderChanges::default(),
            table: TensorTable::from_rows(shards.shards().iter().flatten().cloned().collect()).sorted(),
            warnings,
        };
        let record = plan.record(&asked.source, new.dtype);
        let tokenizer = TokenizerFiles::read(&asked.source)?;
        let mut files = vec!["config.json".to_owned(), RECORD.to_owned()];
        files.extend(sources.iter().map(|(name, _)| name.clone()));
        files.extend(carried.iter().map(|source| source.name.clone()));
        files.extend(tokenizer.names().map(str::to_owned));
        files.extend(asked.source.join(CARRIED).is_file().then(|| CARRIED.to_owned()));
        let (names, inside) = (shards.file_names(), placement.folder());
        files.extend(placement.links(&names).into_iter().map(|(name, _)| name));
        files.extend(names.into_iter().map(|name| format!("{inside}{name}")));
        files.extend((placement != Placement::Root).then(|| format!("{inside}{}", Manifest::FILE)));
        let read = [asked.source.as_path(), plan.checkpoint.as_path()];
        let contradicted = entries_of_a_model(&asked.destination);
        plan.changes = FolderChanges::of_model_folder(&asked.destination, files, &contradicted, &read, &asked.write)?;
        Ok(Self { plan, weights, shards, tokenizer, sources, carried, record })
    }

    /// For each new name, the old one.
    pub(super) fn pieces(&self) -> HashMap<ParamPath, Vec<Piece>> {
        let pieces = |way: &Rename| (way.to.clone(), vec![Piece::Tensor(way.from.clone())]);
        self.plan.renames.iter().map(pieces).collect()
    }
}

/// Returns a note that names the edited sources among those that are written again without the edits.
fn edited(folder: &Path, new: &[(String, String)], old: &Value, origin: &str) -> Option<String> {
    // A configuration that this version cannot read was not written by it.
    let before = ModelConfig::from_json(old, origin).ok().and_then(|config| sources(&config).ok()).unwrap_or_default();
    let edited = new.iter().filter(|(name, written)| {
        let found = std::fs::read_to_string(folder.join(name)).ok();
        found.is_some_and(|found| found != *written && !before.iter().any(|file| file.0 == *name && file.1 == found))
    });
    let names: Vec<&str> = edited.map(|(name, _)| name.as_str()).collect();
    (!names.is_empty()).then(|| format!("written again, without the changes that SRC has: {}", names.join(", ")))
}

fn has_optimizer(checkpoint: &Path) -> bool {
    std::fs::read_dir(checkpoint)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("optimizer_state"))
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

    /// Returns how many parameters have another name afterwards.
    pub fn renamed(&self) -> usize {
        self.renames.iter().filter(|way| way.from != way.to).count()
    }
}

impl Updated {
    pub(super) fn new(plan: UpdatePlan, dry_run: bool) -> Self {
        Self { plan: Sealed::new(plan), dry_run }
    }

    /// Returns the `--json` report.
    pub fn report(&self) -> Value {
        let plan = &self.plan;
        let renamed = plan.renames.iter().filter(|way| way.from != way.to);
        json!({
            "passed": true,
            "source": plan.source,
            "checkpoint": plan.checkpoint,
            "choice": plan.choice.report(),
            "destination": plan.destination,
            "dry_run": self.dry_run,
            "arch": plan.architecture,
            "from_version": plan.from.to_string(),
            "to_version": plan.to.to_string(),
            "migrations": plan.steps,
            "files": plan.changes.writes,
            "changes": plan.changes.report(),
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
