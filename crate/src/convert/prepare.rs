//! What a conversion will write, decided from headers and small files.

use std::collections::HashMap;

use serde_json::Value;

use super::resize_embeddings::ResizeEmbeddings;
use super::{Conversion, Convert, ConvertError};
use crate::checkpoint::{AtomicFolder, CheckpointCopy, CheckpointError, FolderChanges, Piece, ShardPlan};
use crate::diagnostic::Diagnose;
use crate::export::SourceFile;
use crate::model_folder::ModelFolder;
use crate::model_folder::{entries_of_a_model, read_json};
use crate::naming::{Family, RemapPlan};
use crate::sealed::Sealed;
use crate::spec::{ModelConfig, ModelSpec, Naming, ParamPath, TensorRow, TensorTable};
use crate::tokenizer::{Generation, TokenPlan, TokenizerFiles};

/// The name of the file that says how text is generated.
const GENERATION: &str = "generation_config.json";

/// Everything that will be in the destination, but for the weights' bytes.
pub(super) struct PreparedConversion {
    pub(super) source: ModelFolder,
    pub(super) family: Family,
    pub(super) to: Naming,
    pub(super) plan: RemapPlan,
    pub(super) resize_embeddings: Option<ResizeEmbeddings>,
    /// The tokenizer that the source has.
    pub(super) source_tokenizer: TokenizerFiles,
    config: ModelConfig,
    json: Value,
    tokenizer: TokenizerFiles,
    generation: Option<Vec<u8>>,
    notes: Vec<String>,
    /// The files of weights.
    pub(super) shards: ShardPlan,
    /// The sources that a native folder gets, by name.
    sources: Vec<SourceFile>,
    /// What is written into the destination, and what that changes there.
    pub(super) changes: FolderChanges,
}

impl Convert {
    /// Decides everything, and refuses what cannot be done.
    pub(super) fn prepare(&self) -> Result<PreparedConversion, ConvertError> {
        let families = self.known_families()?;
        let asked = self.model_type.as_deref();
        let source = ModelFolder::open_as(&self.source, self.checkpoint.as_deref(), &families, asked)?;
        let family = source.family_at_hugging_face(&families, asked)?;
        self.check_options(&source, &families, &family)?;
        let to = match source.naming() {
            Naming::HuggingFace => Naming::Native,
            Naming::Native => Naming::HuggingFace,
        };
        let mut plan =
            RemapPlan::new(source.checkpoint(), source.naming(), source.config(), &family, self.write.dtype)?;
        plan.require_complete()?;

        let mut notes: Vec<String> = source.left_behind().into_iter().collect();
        let source_tokenizer = TokenizerFiles::read(&self.source)?;
        let tokens = self.tokens(&source_tokenizer, source.config().vocab_size, to, &mut notes)?;
        let rows = tokens.as_ref().map_or(source.config().vocab_size, TokenPlan::vocab_size);
        if let Some(needed) = source_tokenizer.rows().ok().filter(|needed| *needed > rows) {
            notes.push(format!(
                "the tokenizer is larger than the model: it has ids up to {}, the model has {rows} rows",
                needed - 1
            ));
        }
        let mut config = source.config().clone();
        config.dtype = self.write.dtype.unwrap_or(config.dtype);
        config.max_position_embeddings = self.max_length.unwrap_or(config.max_position_embeddings);
        config.vocab_size = tokens.as_ref().map_or(config.vocab_size, TokenPlan::vocab_size);
        let origin = self.source.join("config.json").display().to_string();
        let mut json = match to {
            Naming::Native => family.native_config(&config, source.config_json()),
            Naming::HuggingFace => family.write_config(&config, source.config_json(), &origin)?,
        };
        let mut tokenizer = source_tokenizer.clone();
        let mut generation = read_json(&self.source, GENERATION)?;
        if let Some(tokens) = tokens.as_ref().filter(|tokens| !tokens.is_empty()) {
            tokens.sync_config(&mut json);
            tokenizer = tokens.tokenizer().clone();
            let before = generation.as_ref().and_then(|(_, json)| json.as_object());
            let made = Generation::default().make(before, source.config_json(), &tokenizer, Some(tokens))?;
            notes.extend(made.warnings);
            generation = made.json.map(|json| (format!("{:#}\n", *json).into_bytes(), Value::Null));
        }
        // Unless it is the source's own, unchanged, transformers 4 and 5 must read the configuration alike.
        if to == Naming::HuggingFace && ModelConfig::source_of(source.config_json()) != Some(&json) {
            config.fill_legacy_keys(&mut json);
        }
        if to == Naming::Native {
            config = ModelConfig::from_json(&json, &origin)?;
        }
        if let Some(template) = self.tokens.template()? {
            tokenizer = tokenizer.with_chat_template(&template);
        }
        if let Some(tokens) = self.max_length {
            tokenizer = tokenizer.with_max_length(tokens);
        }
        let resize_embeddings =
            tokens.map(|tokens| ResizeEmbeddings::new(tokens, &source, &mut plan, (&family, to))).transpose()?;
        let generation = generation.map(|(bytes, _)| bytes);
        let sources = if to == Naming::Native { crate::export::sources(&config)? } else { Vec::new() };
        let mut prepared = PreparedConversion {
            shards: ShardPlan::with_format([], self.write.save.max_shard_size, self.write.save.format),
            changes: FolderChanges::default(),
            source,
            family,
            to,
            plan,
            resize_embeddings,
            source_tokenizer,
            config,
            json,
            tokenizer,
            generation,
            notes,
            sources,
        };
        prepared.shards = prepared.shards(self);
        let read = [self.source.as_path(), prepared.source.checkpoint().path()];
        let contradicted = entries_of_a_model(&self.destination);
        prepared.changes =
            FolderChanges::of_model_folder(&self.destination, prepared.files(), &contradicted, &read, &self.write)?;
        Ok(prepared)
    }

    /// Returns the tokens to add: those asked for, else, on the way to native names, a missing padding token.
    fn tokens(
        &self,
        tokenizer: &TokenizerFiles,
        vocab_size: usize,
        to: Naming,
        notes: &mut Vec<String>,
    ) -> Result<Option<TokenPlan>, ConvertError> {
        let mut options = self.tokens.clone();
        // On the way to Hugging Face nothing is added unless it was asked for.
        options.skip_default_tokens |= to != Naming::Native;
        let asked = options.changes_rows();
        if !asked && options.skip_default_tokens {
            return Ok(None);
        }
        match options.tokens()?.plan(tokenizer, vocab_size, options.pad_to_multiple) {
            Ok(plan) if asked || !plan.is_empty() => Ok(Some(plan)),
            Ok(_) => Ok(None),
            Err(error) if asked => Err(error.into()),
            // Without a request for tokens, a model may have no tokenizer, or one of an unknown kind.
            Err(error) => {
                notes.push(format!("no padding token was added: {}", error.diagnostic().what));
                Ok(None)
            }
        }
    }
}

impl PreparedConversion {
    /// Returns every file of the destination: the one list of what is written.
    fn files(&self) -> Vec<String> {
        let mut files = self.shards.file_names();
        files.push("config.json".to_owned());
        files.extend(self.sources.iter().map(|(name, _)| name.clone()));
        files.extend(self.tokenizer.names().map(str::to_owned));
        files.extend(self.generation.is_some().then(|| GENERATION.to_owned()));
        files
    }

    fn shards(&self, convert: &Convert) -> ShardPlan {
        // Files that share storages name a tied tensor twice, on whichever side they are.
        let tied = ModelSpec::resolve(&self.config).ties.into_iter().filter_map(|tie| {
            let target = self.family.name_on(self.to, &tie.target);
            let row = self.plan.rows().find(|row| row.path == target)?;
            Some(TensorRow { path: self.family.name_on(self.to, &tie.alias), tied_to: Some(target), ..row })
        });
        ShardPlan::with_format(
            self.plan.rows().chain(tied),
            convert.write.save.max_shard_size,
            convert.write.save.format,
        )
    }

    /// Returns what every tensor is made of. Reads an embedding if rows become the mean of its rows.
    pub(super) fn pieces(&self) -> Result<HashMap<ParamPath, Vec<Piece>>, CheckpointError> {
        let mut pieces = self.plan.pieces();
        if let Some(resize_embeddings) = &self.resize_embeddings {
            resize_embeddings.put_into(&mut pieces, self.source.checkpoint())?;
        }
        Ok(pieces)
    }

    /// The conversion before anything is done.
    pub(super) fn conversion(&self, convert: &Convert) -> Conversion {
        Conversion {
            source: convert.source.clone(),
            destination: convert.destination.clone(),
            to: self.to,
            table: TensorTable::from_rows(self.plan.rows().collect()).sorted(),
            plan: Sealed::new(self.plan.clone()),
            config: Sealed::new(self.json.clone()),
            tokens: self.resize_embeddings.as_ref().map(|resize_embeddings| resize_embeddings.tokens.clone()),
            proof: None,
            logits: None,
            logits_skipped: None,
            unread_fields: Sealed::new(self.unread_fields()),
            validation_memory: convert.validation_memory(&self.source),
            require_agreement: convert.require_agreement,
            generation: None,
            not_finite: Sealed::new(Vec::new()),
            checkpoint: Sealed::new(self.source.checkpoint().choice().clone()),
            changes: Sealed::new(self.changes.clone()),
            notes: Sealed::new(self.notes.clone()),
            dry_run: convert.write.dry_run,
        }
    }

    /// Fields of the configuration at Hugging Face's side that nothing reads.
    fn unread_fields(&self) -> Vec<String> {
        match self.to {
            Naming::Native => self.source.unread_fields(),
            Naming::HuggingFace => self.family.unread_fields(&self.json),
        }
    }

    /// Writes all files.
    pub(super) fn write(
        &self,
        stage: &AtomicFolder,
        pieces: HashMap<ParamPath, Vec<Piece>>,
    ) -> Result<(), ConvertError> {
        let meter = crate::progress::Progress::of_work("converting", self.shards.bytes());
        let advance = |bytes| meter.inc(bytes);
        let copy = CheckpointCopy::new(self.source.checkpoint(), pieces).on_progress(&advance);
        let written = self.shards.write(stage.path(), &copy);
        meter.end(written)?;
        stage.write_json("config.json", &self.json)?;
        for (name, text) in &self.sources {
            stage.write(name, text)?;
        }
        for (name, bytes) in self.tokenizer.to_write() {
            stage.write(&name, bytes)?;
        }
        if let Some(generation) = &self.generation {
            stage.write(GENERATION, generation)?;
        }
        Ok(())
    }
}
