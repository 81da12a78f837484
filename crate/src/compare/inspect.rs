//! What a folder or file of weights holds, from its headers.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::checkpoint::{Checkpoint, CheckpointError, GgufMetadata};
use crate::convert::Family;
use crate::gguf::gguf_in;
use crate::sealed::Sealed;
use crate::spec::{ModelConfig, ModelSpec, Side, TensorTable};

/// The tensors of a folder or file, and the configuration beside them if there is a readable one.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// What was opened.
    pub path: PathBuf,
    /// Its tensors, in natural order.
    pub table: TensorTable,
    /// Number of weights files.
    pub shards: usize,
    /// The configuration and whose names the tensors have.
    pub config: Option<(Sealed<ModelConfig>, Side)>,
    /// The metadata of a GGUF file.
    pub gguf: Option<Sealed<GgufMetadata>>,
}

/// Reads the table of a model folder, checkpoint, `.safetensors`, `.bin` or `.gguf` file, or index. No tensor is read.
///
/// # Errors
/// [`CheckpointError`] if there are no weights or their headers are invalid.
///
/// ```no_run
/// let frame = chandlery::inspect("Llama-3.2-1B")?.frame()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn inspect(path: impl AsRef<Path>) -> Result<Inspection, CheckpointError> {
    inspect_path(path.as_ref())
}

// Public functions with a generic argument hand over to one without: a cell compiles what is generic itself.
fn inspect_path(path: &Path) -> Result<Inspection, CheckpointError> {
    let file = gguf_in(path);
    let checkpoint = Checkpoint::open(file.as_deref().unwrap_or(path))?;
    // The weights speak for themselves; a configuration that cannot be read is another command's concern.
    // Names in a GGUF file are those of neither side.
    let config = Some(path.join("config.json"))
        .filter(|_| checkpoint.gguf().is_none())
        .and_then(|path| std::fs::read_to_string(path).ok())
        .and_then(|text| serde_json::from_str::<Value>(&text).ok())
        .and_then(|json| ModelConfig::from_json(&json, "config.json").ok())
        .map(|(config, side)| (Sealed::new(config), side));
    let (mut table, shards) = (checkpoint.table().clone(), checkpoint.shards());
    if let Some((config, side)) = &config {
        table = mark_tied(&table, config, *side);
    }
    let gguf = checkpoint.gguf().cloned().map(Sealed::new);
    Ok(Inspection { path: path.to_owned(), table, shards, config, gguf })
}

/// A tied tensor that a file holds under both names counts once.
fn mark_tied(table: &TensorTable, config: &ModelConfig, side: Side) -> TensorTable {
    // The rules take milliseconds to prepare: only for models that are tied.
    if !config.tie_word_embeddings {
        return table.clone();
    }
    let Ok(family) = Family::of(config.architecture) else { return table.clone() };
    let mut rows = table.rows().to_vec();
    for tie in ModelSpec::resolve(config).ties {
        let (alias, target) = (family.name_on(side, &tie.alias), family.name_on(side, &tie.target));
        if table.get(&target).is_some()
            && let Some(row) = rows.iter_mut().find(|row| row.path == alias)
        {
            row.tied_to = Some(target);
        }
    }
    TensorTable::from_rows(rows)
}

impl Inspection {
    /// Parameters that the configuration asks for, if there is one.
    pub fn expected_parameters(&self) -> Option<u64> {
        let (config, _) = self.config.as_ref()?;
        Some(ModelSpec::resolve(config).table(config.dtype).parameters())
    }

    /// The table as a polars frame; see [`TensorTable::frame`].
    ///
    /// # Errors
    /// As there.
    pub fn frame(&self) -> polars::prelude::PolarsResult<polars::prelude::DataFrame> {
        self.table.frame()
    }

    /// The `--json` report.
    pub fn report(&self) -> Value {
        let rows = self.table.rows().iter();
        let rows = rows.map(|row| json!({ "name": row.path, "shape": row.shape, "dtype": row.dtype.torch_name() }));
        json!({
            "path": self.path,
            "model_type": self.config.as_ref().map(|(config, _)| config.architecture.name()),
            "names": self.config.as_ref().map(|(_, side)| match side { Side::Native => "native", Side::HuggingFace => "huggingface" }),
            "parameters": { "total": self.table.parameters() },
            "bytes": self.table.bytes(),
            "shards": self.shards,
            "gguf": self.gguf.as_ref().map(|metadata| metadata.iter().map(|(key, value)| (key.to_owned(), json!(GgufMetadata::shown(value)))).collect::<serde_json::Map<_, _>>()),
            "tensors": rows.collect::<Vec<_>>(),
        })
    }
}
