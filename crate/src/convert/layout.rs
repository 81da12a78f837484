//! Conversion by rules alone: names and bits of a model that no family describes.

use serde_json::{Map, Value, json};

use super::proof::{Claim, prove};
use super::{Conversion, Convert, ConvertError};
use crate::checkpoint::{AtomicFolder, Checkpoint, CheckpointCopy, FolderChanges, ShardPlan};
use crate::model_folder::{entries_of_a_model, read_config};
use crate::naming::{Family, RemapPlan};
use crate::sealed::Sealed;
use crate::spec::{Naming, TensorRow, TensorTable};

/// The field of a config.json that says which rules its tensors were renamed by.
const MARK: &str = "chandlery_layout";

/// Why the logits are not judged.
const NOT_JUDGED: &str = "with --layout-only nothing describes what the model computes";

/// Everything that will be in the destination, but for the weights' bytes.
struct PreparedLayout {
    checkpoint: Checkpoint,
    from: Naming,
    plan: RemapPlan,
    json: Value,
    /// Files that are carried, with their names.
    carried: Vec<(String, Vec<u8>)>,
    shards: ShardPlan,
    changes: FolderChanges,
}

impl Convert {
    /// Runs a conversion by rules alone.
    pub(super) fn run_layout(&self) -> Result<Conversion, ConvertError> {
        let prepared = self.prepare_layout()?;
        let mut conversion = prepared.conversion(self);
        if self.write.dry_run {
            return Ok(conversion);
        }
        let stage = prepared.changes.stage(&self.destination)?;
        prepared.write(&stage)?;
        if self.prove {
            let written = Checkpoint::open(stage.path())?;
            let claim = Claim {
                rows: &prepared.plan.rows().collect::<Vec<TensorRow>>(),
                pieces: &prepared.plan.pieces(),
                back: prepared.plan.pieces_back(),
                grown: &[],
            };
            conversion.proof = Some(Sealed::new(prove(&claim, &prepared.checkpoint, &written)?));
        }
        if conversion.passed() {
            stage.commit()?;
        }
        Ok(conversion)
    }

    fn prepare_layout(&self) -> Result<PreparedLayout, ConvertError> {
        let mut json = read_config(&self.source)?;
        let mark = json.as_object_mut().and_then(|fields| fields.shift_remove(MARK));
        let from = if mark.is_some() { Naming::Native } else { Naming::HuggingFace };
        self.check_layout_options(from)?;
        let fields = json.as_object().cloned().unwrap_or_default();
        let family = self.rules_of(&fields, mark.as_ref())?;
        let checkpoint = Checkpoint::choose(&self.source, self.checkpoint.as_deref())?;
        let plan = RemapPlan::by_layout(&checkpoint, from, &fields, &family, self.write.dtype)?;
        plan.require_covered(family.origin())?;
        if from == Naming::HuggingFace {
            json[MARK] = json!({ "family": family.name() });
        }
        if let Some(dtype) = self.write.dtype {
            for key in ["dtype", "torch_dtype"].into_iter().filter(|key| fields.contains_key(*key)) {
                json[key] = dtype.torch_name().into();
            }
        }
        let carried = crate::model_folder::other_files(&self.source)?;
        let shards = ShardPlan::with_format(plan.rows(), self.write.save.max_shard_size, self.write.save.format);
        let mut files = shards.file_names();
        files.push("config.json".to_owned());
        files.extend(carried.iter().map(|(name, _)| name.clone()));
        let read = [self.source.as_path(), checkpoint.path()];
        let contradicted = entries_of_a_model(&self.destination);
        let changes = FolderChanges::of_model_folder(&self.destination, files, &contradicted, &read, &self.write)?;
        Ok(PreparedLayout { checkpoint, from, plan, json, carried, shards, changes })
    }

    /// Refuses options that need a description of the model.
    fn check_layout_options(&self, from: Naming) -> Result<(), ConvertError> {
        let refuse = |what: &str, origin: &str, advice: &str| {
            Err(ConvertError::Options { what: what.to_owned(), origin: origin.to_owned(), advice: advice.to_owned() })
        };
        if self.reverse && from == Naming::HuggingFace {
            return refuse(
                "the folder was not made with --layout-only",
                "--reverse",
                "leave out --reverse, or name the folder that such a conversion wrote",
            );
        }
        if let Some((what, advice)) = self.write.dtype_fault() {
            return refuse(&what, "--dtype", advice);
        }
        let rows = self.tokens.changes_rows() || self.tokens.template()?.is_some();
        if rows || self.max_length.is_some() || self.generation_test || self.prompt.is_some() {
            let what = "tokens, templates, lengths and prompts need a family that describes the model";
            return refuse(what, "--layout-only", "leave them out; `finalize` adds a chat template afterwards");
        }
        Ok(())
    }

    /// Returns the family whose rules apply: the one asked for, the one that the folder was converted by, or that of its
    /// `model_type`.
    fn rules_of(&self, fields: &Map<String, Value>, mark: Option<&Value>) -> Result<Family, ConvertError> {
        let families = self.known_families()?;
        let remembered = mark.and_then(|mark| mark.get("family"));
        let named = remembered.or_else(|| fields.get("model_type")).and_then(Value::as_str);
        let name = self.model_type.as_deref().or(named).unwrap_or_default();
        families.of_type(name).cloned().ok_or_else(|| ConvertError::Options {
            what: format!("no file has rules for the model_type `{name}`"),
            origin: self.source.join("config.json").display().to_string(),
            advice: format!(
                "name a YAML file with `family: {name}` and `to_native:` by --converter-path, or another family by --model-type"
            ),
        })
    }
}

impl PreparedLayout {
    fn to(&self) -> Naming {
        match self.from {
            Naming::HuggingFace => Naming::Native,
            Naming::Native => Naming::HuggingFace,
        }
    }

    /// The conversion before anything is done.
    fn conversion(&self, convert: &Convert) -> Conversion {
        Conversion {
            source: convert.source.clone(),
            destination: convert.destination.clone(),
            to: self.to(),
            table: TensorTable::from_rows(self.plan.rows().collect()).sorted(),
            plan: Sealed::new(self.plan.clone()),
            config: Sealed::new(self.json.clone()),
            tokens: None,
            proof: None,
            logits: None,
            logits_skipped: Some(NOT_JUDGED.to_owned()),
            unread_fields: Sealed::new(Vec::new()),
            validation_memory: 0,
            require_agreement: convert.require_agreement,
            generation: None,
            not_finite: Sealed::new(Vec::new()),
            checkpoint: Sealed::new(self.checkpoint.choice().clone()),
            changes: Sealed::new(self.changes.clone()),
            notes: Sealed::new(Vec::new()),
            dry_run: convert.write.dry_run,
        }
    }

    fn write(&self, stage: &AtomicFolder) -> Result<(), ConvertError> {
        let meter = crate::progress::Progress::of_work("converting", self.shards.bytes());
        let advance = |bytes| meter.inc(bytes);
        let copy = CheckpointCopy::new(&self.checkpoint, self.plan.pieces()).on_progress(&advance);
        let written = self.shards.write(stage.path(), &copy);
        meter.end(written)?;
        stage.write_json("config.json", &self.json)?;
        for (name, bytes) in &self.carried {
            stage.write(name, bytes)?;
        }
        Ok(())
    }
}
