//! Folders of a type that no family describes: their weights are copied tensor by tensor, and their files are carried.

use serde_json::Value;

use super::plan::{Model, Prepared};
use super::tokens::Tokens;
use super::weights::WeightsPlan;
use super::{Finalize, FinalizeError, FinalizePlan};
use crate::checkpoint::{Checkpoint, FolderChanges, Placement};
use crate::export::CarriedSource;
use crate::model_folder::{entries_of_a_model, other_files, read_config};
use crate::naming::Families;
use crate::sealed::Sealed;
use crate::spec::{ModelConfig, Naming};
use crate::tokenizer::TokenizerFiles;

impl Finalize {
    /// Returns the config.json of a folder that no family describes.
    pub(super) fn undescribed(&self) -> Result<Option<Value>, FinalizeError> {
        let json = read_config(&self.source)?;
        let built_in = Families::default();
        let families = self.families.as_deref().unwrap_or(&built_in);
        let known = match (ModelConfig::naming_of(&json), json.get("model_type").and_then(Value::as_str)) {
            (Naming::Native, _) | (_, None) => true,
            (Naming::HuggingFace, Some(name)) => families.of_type(name).is_some(),
        };
        Ok((!known).then_some(json))
    }

    /// Refuses options that need a description of the model.
    fn require_only_tensors(&self, model_type: &str) -> Result<(), FinalizeError> {
        let refused = |what: &str, option: &str| {
            let what = format!("{what}, and no family describes the model_type `{model_type}`");
            Err(FinalizeError::refused(what, option, "leave it out, or describe the family with --converter-path"))
        };
        if self.gguf.is_some() {
            return refused("a GGUF file needs to know the role of each tensor", "--format gguf");
        }
        if self.keep_optimizer {
            return refused("an optimizer's state belongs to parameters that are known", "--keep-optimizer");
        }
        if self.tokens.changes_rows() {
            return refused("tokens need rows of an embedding that is known", "--add-tokens");
        }
        if self.prompt.is_some() {
            return refused("a prompt is for logits", "--prompt");
        }
        Ok(())
    }
}

impl Prepared {
    /// Plans for tensors of a type that no family describes.
    pub(super) fn of_tensors(asked: &Finalize, old: Value) -> Result<Self, FinalizeError> {
        let model_type = old.get("model_type").and_then(Value::as_str).unwrap_or_default().to_owned();
        asked.require_only_tensors(&model_type)?;
        let checkpoint = Checkpoint::choose(&asked.source, asked.checkpoint.as_deref())?;
        let choice = checkpoint.choice().clone();
        let mut plain = asked.clone();
        plain.tokens.skip_default_tokens = true;
        let rows = ["/vocab_size", "/text_config/vocab_size"].iter().find_map(|at| old.pointer(at)?.as_u64());
        let tokens = Tokens::new(&plain, rows.and_then(|rows| usize::try_from(rows).ok()).unwrap_or(usize::MAX >> 1))?;
        let weights = WeightsPlan::of_tensors(asked, &old, &checkpoint)?;
        let mut config = old.clone();
        weights.describe(&mut config);
        let generation = tokens.generation(asked, &old)?;
        let own = TokenizerFiles::all_names();
        let others = other_files(&asked.source)?.into_iter();
        let sources: Vec<CarriedSource> = others
            .filter(|(name, _)| !own.contains(name) && name != "generation_config.json")
            .map(|(name, _)| CarriedSource { file: asked.source.join(&name), name, text: None })
            .collect();
        let placement = match asked.root_copy {
            true => Placement::Root,
            false => Placement::Checkpoint { step: choice.step().unwrap_or(0) },
        };
        let mut warnings = choice.warnings();
        warnings.push(format!(
            "no family describes the model_type `{model_type}`: its tensors are copied one by one, and nothing knows whether any is \
             missing"
        ));
        warnings.extend(tokens.warnings.iter().cloned());
        warnings.extend(generation.warnings.iter().cloned());
        let mut plan = FinalizePlan {
            source: asked.source.clone(),
            checkpoint: choice.path.clone(),
            choice,
            destination: asked.destination.clone(),
            placement,
            files: Vec::new(),
            changes: FolderChanges::default(),
            table: weights.table(),
            gguf: None,
            config: Sealed::new(config),
            tokens: None,
            generation: generation.json,
            stop_ids: generation.stop_ids,
            optimizer: None,
            warnings,
        };
        plan.files = plan.list(asked, &old, &tokens, &sources, &weights);
        let files = plan.files.iter().map(|file| file.path.clone());
        let read = [asked.source.as_path(), plan.checkpoint.as_path()];
        let contradicted = entries_of_a_model(&asked.destination);
        plan.changes = FolderChanges::of_model_folder(&asked.destination, files, &contradicted, &read, &asked.write)?;
        Ok(Self { plan, model: Model::Tensors(Box::new(checkpoint)), tokenizer: tokens.files, sources, weights })
    }
}
