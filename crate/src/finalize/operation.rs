//! Finalizing: resolve the checkpoint, stream it into a staged folder, link it at the root, let it appear.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::checkpoint::{
    AtomicFolder, CheckpointCopy, CheckpointError, DEFAULT_MAX_SHARD_SIZE, ShardPlan, latest_checkpoint, step_of,
};
use crate::convert::{ConvertError, ModelFolder};
use crate::spec::{DType, ParamPath, TensorRow, TensorTable};
use crate::tokenizer::{TokenizerError, TokenizerFiles};

/// Why a model could not be finalized.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FinalizeError {
    /// The source folder.
    #[error(transparent)]
    Source(#[from] ConvertError),
    /// Its weights, or the destination.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A file that is not what it should be, or an option that does not fit.
    #[error("{what}\n  where: {origin}\n  do: {advice}")]
    Refused {
        /// What is wrong.
        what: String,
        /// The file or option.
        origin: String,
        /// What to do.
        advice: String,
    },
}

/// A finalization to be run; see [`finalize`].
#[derive(Clone, Debug)]
pub struct Finalize {
    source: PathBuf,
    destination: PathBuf,
    checkpoint: Option<PathBuf>,
    root_copy: bool,
    generation_config: bool,
    dtype: Option<DType>,
    max_shard_size: u64,
    dry_run: bool,
}

/// A finalization that ran, or would run.
#[derive(Clone, Debug, PartialEq)]
pub struct Finalization {
    /// The source folder.
    pub source: PathBuf,
    /// The checkpoint whose weights were taken.
    pub checkpoint: PathBuf,
    /// The destination folder.
    pub destination: PathBuf,
    /// Every path in it, relative, in order; links with their targets.
    pub files: Vec<(String, Option<String>)>,
    /// The tensors.
    pub table: TensorTable,
    /// What a person should know: a missing chat template, for instance.
    pub warnings: Vec<String>,
    /// True for a dry run: nothing was written.
    pub dry_run: bool,
}

/// Starts finalizing the model folder `source` into the new folder `destination`.
///
/// ```no_run
/// chandlery::finalize("output_models/llama_4m", "out/llama_4m_final").run()?;
/// # Ok::<(), chandlery::finalize::FinalizeError>(())
/// ```
pub fn finalize(source: impl AsRef<Path>, destination: impl AsRef<Path>) -> Finalize {
    finalize_paths(source.as_ref(), destination.as_ref())
}

fn finalize_paths(source: &Path, destination: &Path) -> Finalize {
    Finalize {
        source: source.to_owned(),
        destination: destination.to_owned(),
        checkpoint: None,
        root_copy: false,
        generation_config: true,
        dtype: None,
        max_shard_size: DEFAULT_MAX_SHARD_SIZE,
        dry_run: false,
    }
}

impl Finalize {
    /// Takes the weights of this checkpoint folder instead of the latest.
    pub fn checkpoint(mut self, folder: Option<PathBuf>) -> Self {
        self.checkpoint = folder;
        self
    }

    /// Writes the weights at the root instead of into `checkpoints/checkpoint-N` with links at the root.
    pub fn root_copy(mut self, root_copy: bool) -> Self {
        self.root_copy = root_copy;
        self
    }

    /// Whether to write generation_config.json: the source's, else a minimal one (default: yes).
    pub fn generation_config(mut self, write: bool) -> Self {
        self.generation_config = write;
        self
    }

    /// Casts the weights; without it their element type stays.
    pub fn dtype(mut self, dtype: Option<DType>) -> Self {
        self.dtype = dtype;
        self
    }

    /// Closes a shard before it exceeds this many bytes.
    pub fn max_shard_size(mut self, bytes: u64) -> Self {
        self.max_shard_size = bytes;
        self
    }

    /// Says what would be written, from headers only.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`FinalizeError`]; the destination appears whole or not at all.
    pub fn run(&self) -> Result<Finalization, FinalizeError> {
        if let Some(dtype) = self.dtype.filter(|dtype| !dtype.is_weight_float()) {
            return Err(FinalizeError::Refused {
                what: format!("weights cannot be stored as {dtype}"),
                origin: "--dtype".to_owned(),
                advice: "use float32, bfloat16, float16 or float64".to_owned(),
            });
        }
        let chosen = match &self.checkpoint {
            Some(folder) => Some(folder.clone()),
            None => latest_checkpoint(&self.source)?,
        };
        // Weights at the root serve where there are no checkpoints.
        let checkpoint = chosen.unwrap_or_else(|| self.source.clone());
        let source = ModelFolder::open_checkpoint(&self.source, Some(&checkpoint))?;
        let weights = source.checkpoint();
        // PyTorch files hold a tied tensor under both names; one of them is enough.
        let (family, native) = (source.family(), source.native_table());
        let tied = native.rows().iter().filter(|row| row.tied_to.is_some());
        let tied: Vec<ParamPath> = tied.map(|row| family.name_on(source.side(), &row.path)).collect();
        let rows: Vec<TensorRow> = weights
            .stored_order()
            .filter(|name| !tied.contains(name))
            .filter_map(|name| weights.table().get(&name).cloned())
            .map(|row| TensorRow {
                dtype: self.dtype.filter(|_| row.dtype.is_weight_float()).unwrap_or(row.dtype),
                ..row
            })
            .collect();
        let plan = ShardPlan::new(rows.iter().cloned(), self.max_shard_size);
        let tokenizer = TokenizerFiles::read(&self.source)?;
        let sources =
            crate::export::sources_in(&self.source).map_err(CheckpointError::io("reading sources", &self.source))?;
        let mut config = source.config_json().clone();
        sync_config(&mut config, &tokenizer, self.dtype);
        let generation = if self.generation_config { Some(self.generation_json(&config)?) } else { None };

        let inside = match self.root_copy {
            true => String::new(),
            false => format!("checkpoints/checkpoint-{}/", step_of(&checkpoint).unwrap_or(0)),
        };
        let mut result = Finalization {
            source: self.source.clone(),
            checkpoint,
            destination: self.destination.clone(),
            files: self.layout(&plan, &tokenizer, generation.is_some(), &inside),
            table: TensorTable::from_rows(rows).sorted(),
            warnings: Vec::new(),
            dry_run: self.dry_run,
        };
        result.files.splice(1..1, sources.iter().map(|(name, _)| (name.clone(), None)));
        let templated = tokenizer.names().any(|name| name == "chat_template.jinja") || tokenizer.has_chat_template();
        if !templated {
            result.warnings.push("the tokenizer has no chat template".to_owned());
        }
        if self.dry_run {
            return Ok(result);
        }

        let stage = AtomicFolder::create(&self.destination)?;
        stage.write_json("config.json", &config)?;
        for (name, bytes) in tokenizer.to_write() {
            stage.write(&name, bytes)?;
        }
        for (name, text) in &sources {
            stage.write(name, text)?;
        }
        if let Some(generation) = &generation {
            stage.write_json("generation_config.json", generation)?;
        }
        let folder = stage.path().join(&inside);
        std::fs::create_dir_all(&folder).map_err(CheckpointError::io("creating", &folder))?;
        let meter = crate::progress::bytes("finalizing", plan.bytes());
        let advance = |bytes| meter.advance(bytes);
        let written = plan.write(&folder, &CheckpointCopy::new(weights, Default::default()).on_progress(&advance))?;
        meter.finish();
        if !self.root_copy {
            let manifest = json!({
                "components": { "model": { "files": written.files, "size_bytes": written.bytes } },
                "metadata": { "finalized": true },
            });
            stage.write_json(&format!("{inside}checkpoint_manifest.json"), &manifest)?;
            for name in &written.files {
                let link = stage.path().join(name);
                symlink(format!("{inside}{name}"), &link).map_err(CheckpointError::io("linking", &link))?;
            }
        }
        stage.commit()?;
        Ok(result)
    }

    /// The source's generation_config.json with the token ids of the configuration, or a minimal one.
    fn generation_json(&self, config: &Value) -> Result<Value, FinalizeError> {
        let path = self.source.join("generation_config.json");
        let mut fields = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Map::new(),
            Err(error) => return Err(CheckpointError::io("reading", &path)(error).into()),
            Ok(text) => serde_json::from_str(&text).map_err(|error| FinalizeError::Refused {
                what: format!("generation_config.json is not a JSON object: {error}"),
                origin: path.display().to_string(),
                advice: "correct it, or pass --generation-config none".to_owned(),
            })?,
        };
        for key in ["bos_token_id", "pad_token_id"] {
            if let Some(id) = config.get(key).filter(|id| !id.is_null()) {
                fields.insert(key.to_owned(), id.clone());
            }
        }
        // Stop tokens that the source knew stay; the configuration's are added behind them.
        let ids = |value: Option<&Value>| match value {
            Some(Value::Array(ids)) => ids.clone(),
            Some(Value::Null) | None => Vec::new(),
            Some(id) => vec![id.clone()],
        };
        let mut stops = ids(fields.get("eos_token_id"));
        for id in ids(config.get("eos_token_id")) {
            if !stops.contains(&id) {
                stops.push(id);
            }
        }
        match stops.len() {
            0 => {}
            1 => drop(fields.insert("eos_token_id".to_owned(), stops.remove(0))),
            _ => drop(fields.insert("eos_token_id".to_owned(), Value::Array(stops))),
        }
        Ok(Value::Object(fields))
    }

    fn layout(
        &self,
        plan: &ShardPlan,
        tokenizer: &TokenizerFiles,
        generation: bool,
        inside: &str,
    ) -> Vec<(String, Option<String>)> {
        let mut files = vec![("config.json".to_owned(), None)];
        files.extend(tokenizer.names().map(|name| (name.to_owned(), None)));
        if generation {
            files.push(("generation_config.json".to_owned(), None));
        }
        let mut weights: Vec<String> = (0..plan.shards().len()).map(|index| plan.file_name(index)).collect();
        if weights.len() > 1 {
            weights.push(crate::checkpoint::WEIGHTS_INDEX.to_owned());
        }
        if self.root_copy {
            files.extend(weights.into_iter().map(|name| (name, None)));
            return files;
        }
        files.extend(weights.iter().map(|name| (name.clone(), Some(format!("{inside}{name}")))));
        files.push((format!("{inside}checkpoint_manifest.json"), None));
        files.extend(weights.into_iter().map(|name| (format!("{inside}{name}"), None)));
        files
    }
}

/// The ids of the tokenizer's roles, and the new element type. End-of-sequence ids that the configuration has stay: it
/// may list several, of which the tokenizer names one.
fn sync_config(config: &mut Value, tokenizer: &TokenizerFiles, dtype: Option<DType>) {
    let Some(fields) = config.as_object_mut() else { return };
    for (key, role) in [("bos_token_id", "bos_token"), ("pad_token_id", "pad_token"), ("eos_token_id", "eos_token")] {
        let set = fields.get(key).is_some_and(|id| !id.is_null());
        if let Some(id) = tokenizer.role(role).filter(|_| !(set && key == "eos_token_id")) {
            fields.insert(key.to_owned(), json!(id));
        }
    }
    if let Some(dtype) = dtype {
        for key in ["dtype", "torch_dtype"] {
            fields.insert(key.to_owned(), json!(dtype.torch_name()));
        }
    }
}

impl Finalization {
    /// The `--json` report.
    pub fn report(&self) -> Value {
        json!({
            "passed": true,
            "source": self.source,
            "checkpoint": self.checkpoint,
            "destination": self.destination,
            "dry_run": self.dry_run,
            "tensors": self.table.len(),
            "bytes": self.table.bytes(),
            "files": self.files.iter().map(|(path, target)| json!({ "path": path, "link_to": target })).collect::<Vec<_>>(),
            "warnings": self.warnings,
        })
    }
}
