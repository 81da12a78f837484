//! The conversion itself: open, plan, stage, stream, validate, appear.

use std::path::Path;

use super::proof::prove;
use super::{Conversion, Convert, ConvertError, ModelFolder, RemapPlan};
use crate::checkpoint::{AtomicFolder, Checkpoint, CheckpointCopy, ShardPlan};
use crate::sealed::Sealed;
use crate::spec::{ModelSpec, Side, TensorRow, TensorTable};
use crate::tokenizer::TokenizerFiles;

impl Convert {
    /// Runs it. If validation does not pass, the result says so and the destination does not appear.
    ///
    /// # Errors
    /// [`ConvertError`]; nothing is left behind.
    pub fn run(&self) -> Result<Conversion, ConvertError> {
        let families = self.known_families()?;
        let asked = self.model_type.as_deref();
        let source = ModelFolder::open_as(&self.source, self.checkpoint.as_deref(), &families, asked)?;
        let family = source.family_at_hugging_face(&families, asked)?;
        self.check_options(&source, &families, &family)?;
        let mut config = source.config().clone();
        config.dtype = self.dtype.unwrap_or(config.dtype);
        config.max_position_embeddings = self.max_length.unwrap_or(config.max_position_embeddings);
        let (to, json) = match source.side() {
            Side::HuggingFace => (Side::Native, family.native_config(&config, source.config_json())),
            Side::Native => {
                let origin = self.source.join("config.json").display().to_string();
                (Side::HuggingFace, family.write_config(&config, source.config_json(), &origin)?)
            }
        };
        let plan = RemapPlan::new(source.checkpoint(), source.side(), source.config(), &family, self.dtype)?;
        plan.require_complete()?;
        // Files that share storages name a tied tensor twice, on whichever side they are.
        let tied = ModelSpec::resolve(&config).ties.into_iter().filter_map(|tie| {
            let target = family.name_on(to, &tie.target);
            let row = plan.rows().find(|row| row.path == target)?;
            Some(TensorRow { path: family.name_on(to, &tie.alias), tied_to: Some(target), ..row })
        });
        let shards = ShardPlan::with_format(plan.rows().chain(tied), self.max_shard_size, self.format);
        let table = TensorTable::from_rows(plan.rows().collect()).sorted();
        let mut conversion = Conversion {
            source: self.source.clone(),
            destination: self.destination.clone(),
            to,
            plan: Sealed::new(plan),
            table,
            config: Sealed::new(json),
            proof: None,
            logits: None,
            unjudged: None,
            generation: None,
            dry_run: self.dry_run,
        };
        if self.dry_run {
            return Ok(conversion);
        }

        if self.validate {
            self.require_memory(&conversion.table)?;
        }
        let stage = AtomicFolder::create(&self.destination)?;
        let meter = crate::progress::bytes("converting", shards.bytes());
        let advance = |bytes| meter.advance(bytes);
        let copy = CheckpointCopy::new(source.checkpoint(), conversion.plan.pieces()).on_progress(&advance);
        shards.write(stage.path(), &copy)?;
        meter.finish();
        stage.write_json("config.json", &conversion.config)?;
        if to == Side::Native {
            for (name, text) in crate::export::sources(&config) {
                stage.write(&name, text)?;
            }
        }
        let tokenizer = TokenizerFiles::read(&self.source)?;
        for (name, bytes) in tokenizer.to_write() {
            stage.write(&name, bytes)?;
        }
        carry(&self.source, &stage, "generation_config.json")?;
        if self.validate {
            let written = Checkpoint::open(stage.path())?;
            let rows: Vec<TensorRow> = conversion.plan.rows().collect();
            let proof =
                prove(&rows, &conversion.plan.pieces(), conversion.plan.pieces_back(), source.checkpoint(), &written)?;
            conversion.proof = Some(Sealed::new(proof));
            match self.judge((&source, stage.path()), &family, &tokenizer, &[])? {
                Some(verdict) => {
                    conversion.logits = Some(Sealed::new(verdict.logits));
                    conversion.generation = verdict.generation.map(Sealed::new);
                }
                None => {
                    conversion.unjudged = Some(format!(
                        "the family {} says nothing under `reference:`, so nothing independent of its rules can judge them",
                        family.name()
                    ))
                }
            }
        }
        if conversion.passed() {
            stage.commit()?;
        }
        Ok(conversion)
    }
}

/// Copies a small file as it is, if the source has it.
fn carry(source: &Path, stage: &AtomicFolder, name: &str) -> Result<(), ConvertError> {
    let path = source.join(name);
    if path.is_file() {
        let bytes = std::fs::read(&path).map_err(|error| ConvertError::Folder {
            what: format!("{name} cannot be read: {error}"),
            path: path.clone(),
            advice: "check its permissions".to_owned(),
        })?;
        stage.write(name, bytes)?;
    }
    Ok(())
}
