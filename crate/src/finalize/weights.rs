//! The weights of the new folder: which tensors, in which files, and what each is made of.
//!
//! Every way of storing them has the same three sides: files and table for the plan, fields for config.json, and
//! writing as a stream.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde_json::{Value, json};

use super::{Finalize, FinalizeError};
use crate::checkpoint::{Checkpoint, CheckpointCopy, Piece, ShardPlan, WeightsFormat, WrittenFiles};
use crate::gguf::{GGUF_FILE, GgufPlan, GgufType};
use crate::model_folder::ModelFolder;
use crate::quantize::{QuantizePlan, TensorError};
use crate::spec::{DType, ModelConfig, ParamPath, Role, TensorRow, TensorTable};
use crate::tokenizer::{TokenPlan, TokenizerFiles};
use crate::vocabulary::{grown, grown_shape};

/// The weights as they will be written.
#[derive(Clone, Debug)]
pub(super) struct WeightsPlan {
    shards: ShardPlan,
    /// The tensors with a row for each token, where tokens are added.
    growing: Vec<ParamPath>,
    tokens: Option<TokenPlan>,
    dtype: Option<DType>,
    quantize: Option<QuantizePlan>,
    gguf: Option<GgufPlan>,
}

impl WeightsPlan {
    /// Plans from headers. The tensors keep the order in which the source stores them: so copying is fastest.
    pub(super) fn new(
        asked: &Finalize,
        source: &ModelFolder,
        tokens: Option<&TokenPlan>,
    ) -> Result<Self, FinalizeError> {
        if let Some((what, advice)) = asked.write.dtype_fault() {
            return Err(FinalizeError::refused(what, "--dtype", advice));
        }
        let quantized = source.config_json().get("quantization_config").is_some_and(|block| !block.is_null());
        if let Some(dtype) = asked.write.dtype.filter(|_| quantized) {
            let what = format!("the weights are quantized, and quantized weights do not become {dtype} by a cast");
            return Err(FinalizeError::refused(what, "--dtype", "leave --dtype out"));
        }
        let (family, native, weights) = (source.family(), source.native_table(), source.checkpoint());
        // PyTorch files hold a tied tensor under both names; one of them is enough to store.
        let named = |path: &ParamPath| family.name_on(source.naming(), path);
        let tied: HashMap<ParamPath, ParamPath> =
            native.rows().iter().filter_map(|row| Some((named(&row.path), named(row.tied_to.as_ref()?)))).collect();
        let grows: HashSet<ParamPath> = native
            .rows()
            .iter()
            .filter(|row| row.role.is_some_and(Role::has_row_per_token))
            .map(|row| named(&row.path))
            .collect();
        let tokens = tokens.filter(|plan| plan.changes_rows());
        let (mut rows, mut growing) = (Vec::new(), Vec::new());
        for name in weights.stored_order().filter(|name| !tied.contains_key(name)) {
            let Some(row) = weights.table().get(&name) else { continue };
            let dtype = asked.write.dtype.filter(|_| row.dtype.is_float()).unwrap_or(row.dtype);
            let mut row = TensorRow { dtype, ..row.clone() };
            if let Some(plan) = tokens.filter(|_| grows.contains(&name)) {
                row.shape = grown_shape(plan, &row.shape);
                growing.push(name.clone());
            }
            let aliases = tied.iter().filter(|(_, target)| **target == name);
            let aliases: Vec<TensorRow> = aliases
                .map(|(alias, _)| TensorRow { path: alias.clone(), tied_to: Some(name.clone()), ..row.clone() })
                .collect();
            rows.push(row);
            rows.extend(aliases);
        }
        let quantize = asked.quantize.map(|recipe| QuantizePlan::new(source, recipe)).transpose()?;
        if let Some(plan) = &quantize {
            if asked.write.save.format != WeightsFormat::Safetensors {
                let what = "quantized weights are stored in safetensors files, as compressed-tensors lays them out";
                return Err(FinalizeError::refused(what, "--quantize and --format", "leave --format out"));
            }
            rows = plan.rows(rows);
        }
        let shards = ShardPlan::with_format(rows, asked.write.save.max_shard_size, asked.write.save.format);
        Ok(Self { shards, growing, tokens: tokens.cloned(), dtype: asked.write.dtype, quantize, gguf: None })
    }

    /// As [`new`](Self::new) of a checkpoint whose model nothing describes: tensors stay as they are, are cast, or
    /// quantized where their names say that they are linear layers.
    pub(super) fn of_tensors(asked: &Finalize, config: &Value, weights: &Checkpoint) -> Result<Self, FinalizeError> {
        if let Some((what, advice)) = asked.write.dtype_fault() {
            return Err(FinalizeError::refused(what, "--dtype", advice));
        }
        let quantized = config.get("quantization_config").is_some_and(|block| !block.is_null());
        if quantized && (asked.write.dtype.is_some() || asked.quantize.is_some()) {
            let what = "the weights are quantized already";
            return Err(FinalizeError::refused(what, "--dtype or --quantize", "leave it out"));
        }
        let rows = weights.stored_order().filter_map(|name| weights.table().get(&name).cloned());
        let mut rows: Vec<TensorRow> = rows
            .map(|row| TensorRow {
                dtype: asked.write.dtype.filter(|_| row.dtype.is_float()).unwrap_or(row.dtype),
                ..row
            })
            .collect();
        let quantize = asked.quantize.map(|recipe| QuantizePlan::of_tensors(weights, recipe)).transpose()?;
        if let Some(plan) = &quantize {
            if asked.write.save.format != WeightsFormat::Safetensors {
                let what = "quantized weights are stored in safetensors files, as compressed-tensors lays them out";
                return Err(FinalizeError::refused(what, "--quantize and --format", "leave --format out"));
            }
            rows = plan.rows(rows);
        }
        let shards = ShardPlan::with_format(rows, asked.write.save.max_shard_size, asked.write.save.format);
        Ok(Self { shards, growing: Vec::new(), tokens: None, dtype: asked.write.dtype, quantize, gguf: None })
    }

    /// The same weights in a GGUF file, whose metadata hold configuration and tokenizer as they will be.
    pub(super) fn into_gguf(
        self,
        kind: GgufType,
        asked: &Finalize,
        source: &ModelFolder,
        config: &ModelConfig,
        tokenizer: &TokenizerFiles,
    ) -> Result<Self, FinalizeError> {
        let refused = |what: &str, origin: &str, advice: &str| Err(FinalizeError::refused(what, origin, advice));
        if asked.write.dtype.is_some() {
            return refused(
                "--gguf-type says how the numbers of a GGUF file are stored",
                "--dtype",
                "leave --dtype out",
            );
        }
        if asked.quantize.is_some() {
            return refused(
                "recipes are for safetensors files; --gguf-type says how a GGUF file is quantized",
                "--quantize and --format gguf",
                "leave one of them out",
            );
        }
        if asked.keep_optimizer {
            return refused(
                "an optimizer's state belongs to a checkpoint, and a GGUF file is not a checkpoint",
                "--keep-optimizer and --format gguf",
                "leave one of them out",
            );
        }
        let name = asked.destination.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let gguf = GgufPlan::new(source, config, tokenizer, kind, &name)?;
        Ok(Self { gguf: Some(gguf), ..self })
    }

    /// Returns the GGUF file, if it is one.
    pub(super) fn gguf(&self) -> Option<&GgufPlan> {
        self.gguf.as_ref()
    }

    /// Returns the files' names, the index last if there is one.
    pub(super) fn files(&self) -> Vec<String> {
        if self.gguf.is_some() {
            return vec![GGUF_FILE.to_owned()];
        }
        self.shards.file_names()
    }

    /// Returns the stored tensors.
    pub(super) fn table(&self) -> TensorTable {
        if let Some(gguf) = &self.gguf {
            return gguf.table();
        }
        TensorTable::from_rows(self.shards.shards().iter().flatten().cloned().collect()).sorted()
    }

    /// Returns what the files will hold, in a few words.
    pub(super) fn in_words(&self) -> String {
        let stored = match (&self.gguf, &self.quantize, self.dtype) {
            (Some(gguf), ..) => format!("stored as {}", gguf.kind().name()),
            (None, Some(plan), _) => format!("{}: {}", plan.recipe(), plan.scheme()),
            (None, None, Some(dtype)) => format!("cast to {dtype}"),
            (None, None, None) => "as the source stores them".to_owned(),
        };
        match &self.tokens {
            Some(plan) => format!("{stored}, with {} rows for tokens", plan.vocab_size()),
            None => stored,
        }
    }

    /// Bytes of tensor data.
    pub(super) fn bytes(&self) -> u64 {
        self.gguf.as_ref().map_or_else(|| self.shards.bytes(), |gguf| gguf.table().bytes())
    }

    /// Writes into config.json how the weights are stored.
    pub(super) fn describe(&self, config: &mut Value) {
        if let (Some(dtype), Some(fields)) = (self.dtype, config.as_object_mut()) {
            for key in ["dtype", "torch_dtype"] {
                fields.insert(key.to_owned(), json!(dtype.torch_name()));
            }
        }
        if let (Some(plan), Some(fields)) = (&self.quantize, config.as_object_mut()) {
            fields.insert("quantization_config".to_owned(), plan.config_block());
        }
    }

    /// How the linear layers are quantized, if they are.
    pub(super) fn quantization(&self) -> Option<&QuantizePlan> {
        self.quantize.as_ref()
    }

    /// Returns what the tensors are made of that are not the source's as they are. New rows may be the mean of old
    /// ones, which are read for it.
    fn pieces(&self, from: &Checkpoint) -> Result<HashMap<ParamPath, Vec<Piece>>, FinalizeError> {
        let Some(plan) = &self.tokens else { return Ok(HashMap::new()) };
        let pieces = self.growing.iter().map(|name| Ok((name.clone(), grown(plan, from, name)?)));
        pieces.collect()
    }

    /// Writes the files into `folder`; says how far each quantized weight is from what it was.
    pub(super) fn write(
        &self,
        folder: &Path,
        from: &Checkpoint,
        progress: &dyn Fn(u64),
    ) -> Result<(WrittenFiles, Vec<TensorError>), FinalizeError> {
        if let Some(gguf) = &self.gguf {
            let written = gguf.write(from, &self.pieces(from)?, &folder.join(GGUF_FILE), progress)?;
            return Ok((WrittenFiles { files: self.files(), bytes: written.bytes }, Vec::new()));
        }
        let copy = CheckpointCopy::new(from, self.pieces(from)?).on_progress(progress);
        let Some(plan) = &self.quantize else { return Ok((self.shards.write(folder, &copy)?, Vec::new())) };
        let source = plan.source(from, &copy, progress);
        let written = self.shards.write(folder, &source)?;
        Ok((written, source.into_errors()))
    }
}
