//! What a finalization will write, as a value: every file with its origin, made from headers and small files only.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::tokens::Tokens;
use super::weights::WeightsPlan;
use super::{Finalize, FinalizeError};
use crate::checkpoint::{Checkpoint, CheckpointChoice, FolderChanges, Manifest, Placement, inside};
use crate::export::{CarriedSource, carried_sources};
use crate::gguf::GgufPlan;
use crate::model_folder::{ModelFolder, entries_of_a_model};
use crate::quantize::QuantizationReport;
use crate::sealed::Sealed;
use crate::spec::{ModelConfig, Naming, TensorTable};
use crate::tokenizer::{GenerationMode, TokenPlan, TokenizerFiles};

/// One path of the new folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedFile {
    /// Below the folder.
    pub path: String,
    /// Where it leads, if it is a link.
    pub link_to: Option<String>,
    /// Where its content comes from, in a few words.
    pub origin: String,
}

/// The optimizer's state that is copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Optimizer {
    /// Its files in the source checkpoint.
    pub files: Vec<PathBuf>,
    /// Their sizes together, in bytes.
    pub bytes: u64,
    /// A warning for those who use it.
    pub note: Option<String>,
}

/// A planned finalization.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FinalizePlan {
    /// The source folder.
    pub source: PathBuf,
    /// The folder whose weights are taken.
    pub checkpoint: PathBuf,
    /// Why these weights, and which newer ones were passed over.
    pub choice: CheckpointChoice,
    /// The destination folder.
    pub destination: PathBuf,
    /// Where the weights go.
    pub placement: Placement,
    /// Every path of the destination, in the order of writing.
    pub files: Vec<PlannedFile>,
    /// What writing them changes in the destination.
    pub changes: FolderChanges,
    /// The stored tensors.
    pub table: TensorTable,
    /// The GGUF file, if it was asked for.
    pub gguf: Option<GgufPlan>,
    /// config.json.
    pub config: Sealed<Value>,
    /// What is added to the tokenizer; none where no tokenizer can be read.
    pub tokens: Option<TokenPlan>,
    /// generation_config.json, unless none was asked for.
    pub generation: Option<Sealed<Value>>,
    /// The ids at which generation stops.
    pub stop_ids: Vec<u64>,
    /// The optimizer's state, if it was asked for.
    pub optimizer: Option<Optimizer>,
    /// What a person should know: a missing chat template, for instance.
    pub warnings: Vec<String>,
}

/// A finalization that ran, or would run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finalization {
    /// What was, or would be, written.
    pub plan: Sealed<FinalizePlan>,
    /// What quantization cost and saved, if it was asked for and made.
    pub quantization: Option<Sealed<QuantizationReport>>,
    /// True for a dry run: nothing was written.
    pub dry_run: bool,
}

/// The model that is finalized.
pub(super) enum Model {
    /// One that is described, as far as its logits.
    Described(Box<ModelFolder>),
    /// Tensors of a type that no family describes.
    Tensors(Box<Checkpoint>),
}

impl Model {
    /// Returns the weights.
    pub(super) fn checkpoint(&self) -> &Checkpoint {
        match self {
            Self::Described(folder) => folder.checkpoint(),
            Self::Tensors(checkpoint) => checkpoint,
        }
    }
}

/// A plan with everything that writing needs open.
pub(super) struct Prepared {
    pub(super) plan: FinalizePlan,
    pub(super) model: Model,
    pub(super) tokenizer: TokenizerFiles,
    pub(super) sources: Vec<CarriedSource>,
    pub(super) weights: WeightsPlan,
}

impl Prepared {
    pub(super) fn new(asked: &Finalize) -> Result<Self, FinalizeError> {
        if asked.root_copy && asked.keep_optimizer {
            return Err(FinalizeError::refused(
                "an optimizer's state belongs to a checkpoint, but no checkpoint is written",
                "--root-copy and --keep-optimizer",
                "leave one of them out",
            ));
        }
        if let Some(config) = asked.undescribed()? {
            return Self::of_tensors(asked, config);
        }
        let folder = asked.open(&asked.source, asked.checkpoint.as_deref())?;
        let choice = folder.checkpoint().choice().clone();
        let checkpoint = choice.path.clone();
        // Packed weights have no shapes to compare with.
        if folder.config_json().get("quantization_config").is_none_or(Value::is_null) {
            folder.require_complete()?;
        }
        let tokens = Tokens::new(asked, folder.config().vocab_size)?;
        let weights = WeightsPlan::new(asked, &folder, tokens.plan.as_ref())?;
        let mut config = folder.config_json().clone();
        tokens.sync(&mut config);
        weights.describe(&mut config);
        let new = match folder.naming() {
            Naming::Native => {
                let origin = asked.source.join("config.json").display().to_string();
                ModelConfig::from_json(&config, &origin).map_err(crate::model_folder::ModelFolderError::from)?
            }
            Naming::HuggingFace => {
                let dtype = asked.write.dtype.unwrap_or(folder.config().dtype);
                ModelConfig { dtype, ..folder.config().clone() }
            }
        };
        new.fill_legacy_keys(&mut config);
        let weights = match asked.gguf {
            Some(kind) => {
                let vocab_size = tokens.plan.as_ref().map_or(new.vocab_size, TokenPlan::vocab_size);
                let grown = ModelConfig { vocab_size, ..new.clone() };
                weights.into_gguf(kind, asked, &folder, &grown, &tokens.files)?
            }
            None => weights,
        };
        let sources = carried_sources(&asked.source, folder.naming(), folder.config(), &new)?;
        let generation = tokens.generation(asked, folder.config_json())?;
        let optimizer = match asked.keep_optimizer {
            true => Some(optimizer_of(&checkpoint, tokens.plan.as_ref())?),
            false => None,
        };
        let placement = match asked.root_copy || asked.gguf.is_some() {
            true => Placement::Root,
            false => Placement::Checkpoint { step: choice.step().unwrap_or(0) },
        };
        let mut warnings = choice.warnings();
        let unread = folder.unread_fields();
        if !unread.is_empty() {
            warnings.push(format!("nothing reads these fields of config.json: {}", unread.join(", ")));
        }
        warnings.extend(tokens.warnings.iter().cloned());
        warnings.extend(generation.warnings.iter().cloned());
        if weights.quantization().is_some() && sources.iter().any(|source| source.name.starts_with("rust/")) {
            warnings.push("the crate in rust/ reads weights as floats: it cannot load quantized ones".to_owned());
        }
        warnings.extend(weights.gguf().into_iter().flat_map(GgufPlan::warnings).cloned());
        warnings.extend(optimizer.as_ref().and_then(|optimizer| optimizer.note.clone()));
        let mut plan = FinalizePlan {
            source: asked.source.clone(),
            checkpoint,
            choice,
            destination: asked.destination.clone(),
            placement,
            files: Vec::new(),
            changes: FolderChanges::default(),
            table: weights.table(),
            gguf: weights.gguf().cloned(),
            config: Sealed::new(config),
            tokens: tokens.plan.clone(),
            generation: generation.json,
            stop_ids: generation.stop_ids,
            optimizer,
            warnings,
        };
        plan.files = plan.list(asked, folder.config_json(), &tokens, &sources, &weights);
        let files = plan.files.iter().map(|file| file.path.clone());
        let read = [asked.source.as_path(), plan.checkpoint.as_path()];
        let contradicted = entries_of_a_model(&asked.destination);
        plan.changes = FolderChanges::of_model_folder(&asked.destination, files, &contradicted, &read, &asked.write)?;
        Ok(Self { plan, model: Model::Described(Box::new(folder)), tokenizer: tokens.files, sources, weights })
    }
}

impl FinalizePlan {
    /// Returns every path with its origin.
    pub(super) fn list(
        &self,
        asked: &Finalize,
        old: &Value,
        tokens: &Tokens,
        sources: &[CarriedSource],
        weights: &WeightsPlan,
    ) -> Vec<PlannedFile> {
        let file = |path: String, origin: String| PlannedFile { path, link_to: None, origin };
        let mut files = vec![file("config.json".to_owned(), changes(old, &self.config))];
        files.extend(sources.iter().map(|source| {
            let origin = if source.text.is_some() { "written again for the new configuration" } else { "carried" };
            file(source.name.clone(), origin.to_owned())
        }));
        files.extend(tokens.files.names().map(|name| file(name.to_owned(), tokens.origin(name))));
        if self.generation.is_some() {
            files.push(file("generation_config.json".to_owned(), self.generation_in_words(asked)));
        }
        let (names, inside) = (weights.files(), self.placement.folder());
        let links = self.placement.links(&names).into_iter();
        files.extend(links.map(|(path, target)| PlannedFile { path, link_to: Some(target), origin: String::new() }));
        if self.placement != Placement::Root {
            files.push(file(format!("{inside}{}", Manifest::FILE), "what this checkpoint holds".to_owned()));
        }
        files.extend(names.into_iter().map(|name| file(format!("{inside}{name}"), weights.in_words())));
        for from in self.optimizer.iter().flat_map(|optimizer| &optimizer.files) {
            files.push(file(format!("{inside}{}", name_of(from)), "carried".to_owned()));
        }
        files
    }

    fn generation_in_words(&self, asked: &Finalize) -> String {
        let origin = match &asked.generation.mode {
            GenerationMode::Preset(name) => format!("preset {name}"),
            _ if asked.source.join("generation_config.json").exists() => "carried".to_owned(),
            _ => "made: the source has none".to_owned(),
        };
        let ids: Vec<String> = self.stop_ids.iter().map(u64::to_string).collect();
        if ids.is_empty() { origin } else { format!("{origin}; stops at {}", ids.join(", ")) }
    }
}

/// Returns the optimizer's files of a checkpoint: one, or one for each rank of the training run.
fn optimizer_of(checkpoint: &Path, tokens: Option<&TokenPlan>) -> Result<Optimizer, FinalizeError> {
    let mut found = Optimizer::default();
    for entry in std::fs::read_dir(checkpoint).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = name_of(&path);
        if name.starts_with("optimizer_state") && name.ends_with(".pt") && path.is_file() {
            inside(checkpoint, &path)?;
            found.bytes += path.metadata().map_or(0, |status| status.len());
            found.files.push(path);
        }
    }
    if found.files.is_empty() {
        return Err(FinalizeError::refused(
            "the checkpoint holds no optimizer_state.pt",
            checkpoint.display(),
            "leave --keep-optimizer out, or name a checkpoint that has one with -c",
        ));
    }
    found.files.sort();
    if let Some(plan) = tokens.filter(|plan| plan.vocab_size() != plan.vocab_before()) {
        found.note = Some(format!(
            "the optimizer's state is for {} tokens, the model has {} now: reset its moments of the embedding and the \
             head before training goes on",
            plan.vocab_before(),
            plan.vocab_size()
        ));
    }
    Ok(found)
}

fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// Returns which fields of config.json change, and how.
fn changes(old: &Value, new: &Value) -> String {
    let empty = Value::Null;
    let changed = new.as_object().into_iter().flatten().filter(|(key, value)| old.get(key.as_str()) != Some(value));
    let lines: Vec<String> = changed
        .map(|(key, value)| match old.get(key.as_str()).unwrap_or(&empty) {
            _ if value.is_object() => format!("{key} set"),
            Value::Null => format!("{key}: {value}"),
            before => format!("{key}: {before} → {value}"),
        })
        .collect();
    if lines.is_empty() { "carried".to_owned() } else { lines.join(", ") }
}

impl Finalization {
    pub(super) fn new(plan: FinalizePlan, quantization: Option<QuantizationReport>, dry_run: bool) -> Self {
        Self { plan: Sealed::new(plan), quantization: quantization.map(Sealed::new), dry_run }
    }

    /// Returns the `--json` report.
    pub fn report(&self) -> Value {
        let plan = &self.plan;
        let files = plan.files.iter();
        json!({
            "passed": true,
            "source": plan.source,
            "checkpoint": plan.checkpoint,
            "choice": plan.choice.report(),
            "destination": plan.destination,
            "dry_run": self.dry_run,
            "tensors": plan.table.len(),
            "bytes": plan.table.bytes(),
            "files": files
                .map(|file| json!({ "path": file.path, "link_to": file.link_to, "origin": file.origin }))
                .collect::<Vec<_>>(),
            "changes": plan.changes.report(),
            "gguf": plan.gguf.as_ref().map(GgufPlan::report),
            "config": *plan.config,
            "tokens": plan.tokens.as_ref().map(TokenPlan::report),
            "generation_config": plan.generation.as_deref(),
            "stop_ids": plan.stop_ids,
            "optimizer": plan.optimizer.as_ref().map(|optimizer| json!({
                "files": optimizer.files,
                "bytes": optimizer.bytes,
                "note": optimizer.note,
            })),
            "quantization": self.quantization.as_ref().map(|quantization| quantization.report()),
            "warnings": plan.warnings,
        })
    }
}
