//! Writing: everything goes into a staged folder, which appears when it is complete.

use std::path::Path;

use super::plan::{Model, Prepared};
use super::{Finalize, FinalizeError};
use crate::checkpoint::{CheckpointError, Component, Manifest, Placement};
use crate::quantize::{Effect, QuantizationReport, QuantizePlan, TensorError, logit_effect};
use crate::sealed::Sealed;

impl Prepared {
    /// Writes what the plan says. Returns the cost of quantization, if it was asked for.
    pub(super) fn write(&self, asked: &Finalize) -> Result<Option<QuantizationReport>, FinalizeError> {
        let plan = &self.plan;
        let stage = plan.changes.stage(&plan.destination)?;
        stage.write_json("config.json", &plan.config)?;
        for source in &self.sources {
            match &source.text {
                Some(text) => stage.write(&source.name, text)?,
                None => stage.copy(&source.name, &source.file, &|_| {})?,
            }
        }
        for (name, bytes) in self.tokenizer.to_write() {
            stage.write(&name, bytes)?;
        }
        if let Some(generation) = &plan.generation {
            stage.write_json("generation_config.json", generation)?;
        }

        let inside = plan.placement.folder();
        let folder = stage.path().join(&inside);
        std::fs::create_dir_all(&folder).map_err(CheckpointError::io("creating", &folder))?;
        let optimizer_bytes = plan.optimizer.as_ref().map_or(0, |optimizer| optimizer.bytes);
        let meter = crate::progress::Progress::of_work("finalizing", self.weights.bytes() + optimizer_bytes);
        let advance = |bytes| meter.inc(bytes);
        let (written, errors) = self.weights.write(&folder, self.model.checkpoint(), &advance)?;
        let mut components = vec![Component::model(&folder, written.files)?];
        if let Some(optimizer) = &plan.optimizer {
            let mut files = Vec::new();
            for from in &optimizer.files {
                let name = from.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
                stage.copy(&format!("{inside}{name}"), from, &advance)?;
                files.push(name);
            }
            components.push(Component {
                key: "optimizer",
                bytes: optimizer.bytes,
                files,
                note: optimizer.note.clone(),
            });
        }
        meter.finish();
        plan.placement.link(&stage, &components[0].files)?;
        if plan.placement != Placement::Root {
            let manifest = Manifest { checkpoint: inside.trim_end_matches('/').to_owned(), components };
            stage.write_json(&format!("{inside}{}", Manifest::FILE), &manifest.to_json())?;
        }
        let quantization = match self.weights.quantization() {
            Some(quantize) => Some(self.judge(quantize, errors, asked, stage.path())?),
            None => None,
        };
        stage.commit()?;
        Ok(quantization)
    }

    /// Returns what quantization cost and saved, with logits of the staged folder against those of the source.
    fn judge(
        &self,
        quantize: &QuantizePlan,
        errors: Vec<TensorError>,
        asked: &Finalize,
        stage: &Path,
    ) -> Result<QuantizationReport, FinalizeError> {
        let mut notes = quantize.notes();
        let logits = match (&self.model, asked.validate) {
            (Model::Described(folder), true) => {
                match logit_effect(folder, &asked.open(stage, None)?, asked.prompt.as_deref())? {
                    Effect::Compared(diff) => Some(Sealed::new(diff)),
                    Effect::TooLarge(note) => {
                        notes.push(note);
                        None
                    }
                }
            }
            (Model::Tensors(_), true) => {
                notes.push("logits are not compared: no family describes what the model computes".to_owned());
                None
            }
            (_, false) => None,
        };
        let sum = |pick: fn(&TensorError) -> u64| errors.iter().map(pick).sum::<u64>();
        let after = self.weights.bytes();
        let before = after - sum(|error| error.bytes.1) + sum(|error| error.bytes.0);
        Ok(QuantizationReport {
            recipe: quantize.recipe(),
            scheme: quantize.scheme(),
            tensors: Sealed::new(errors),
            bytes: (before, after),
            logits,
            notes,
        })
    }
}
