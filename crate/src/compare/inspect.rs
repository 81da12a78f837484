//! What a folder or file of weights holds, from its headers.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::checkpoint::{Checkpoint, CheckpointChoice, CheckpointError, GgufMetadata};
use crate::gguf::gguf_in;
use crate::naming::{Families, Family};
use crate::sealed::Sealed;
use crate::spec::{ModelConfig, ModelSpec, Naming, ParamPath, Scheme, TensorRow, TensorTable, parse_json};

/// The tensors of a folder or file, and the configuration beside them if there is a readable one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Inspection {
    /// What was opened.
    pub path: PathBuf,
    /// Which weights these are of a folder, and which newer ones were passed over.
    pub choice: CheckpointChoice,
    /// Its tensors, in natural order.
    pub table: TensorTable,
    /// Number of weights files.
    pub shards: usize,
    /// The configuration and whose names the tensors have.
    pub config: Option<(Sealed<ModelConfig>, Naming)>,
    /// The metadata of a GGUF file.
    pub gguf: Option<Sealed<GgufMetadata>>,
    /// Weights that are stored as low-bit weights, in natural order; the table has the tensors that they are stored as.
    pub quantized: Sealed<Vec<QuantizedTensors>>,
}

/// The tensors that a quantized weight is stored as.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedTensors {
    /// The name that the weight has where it is not quantized.
    pub path: ParamPath,
    /// `[outputs, inputs]`.
    pub shape: [usize; 2],
    /// How it is stored.
    pub scheme: Scheme,
    /// The names of numbers, scales and what else belongs to it.
    pub parts: Vec<ParamPath>,
    /// Their bytes together.
    pub bytes: u64,
}

impl QuantizedTensors {
    /// Parameters of the weight.
    pub fn parameters(&self) -> u64 {
        self.shape.iter().map(|&dim| dim as u64).product()
    }
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
    inspect_path(path.as_ref(), None)
}

/// As [`inspect`], of one checkpoint of a model folder.
///
/// # Errors
/// As there, and [`CheckpointError::NotACheckpoint`].
pub fn inspect_checkpoint(model: &Path, checkpoint: Option<&Path>) -> Result<Inspection, CheckpointError> {
    inspect_path(model, checkpoint)
}

// Generic public functions call one that is not, because cells compile generic code themselves.
fn inspect_path(path: &Path, named: Option<&Path>) -> Result<Inspection, CheckpointError> {
    let file = gguf_in(path).filter(|_| named.is_none());
    let checkpoint = Checkpoint::choose(file.as_deref().unwrap_or(path), named)?;
    // Weights are shown without a configuration, too; other commands report one that cannot be read.
    // Names in a GGUF file are those of neither naming.
    let config = Some(path.join("config.json"))
        .filter(|_| checkpoint.gguf().is_none())
        .and_then(|path| std::fs::read_to_string(path).ok())
        .and_then(|text| parse_json(&text).ok())
        .and_then(|json| Families::built_in().ok()?.read_config(&json, "config.json").ok())
        .map(|(config, naming)| (Sealed::new(config), naming));
    let (mut table, shards) = (checkpoint.table().clone(), checkpoint.shards());
    if let Some((config, naming)) = &config {
        table = mark_tied(&table, config, *naming);
    }
    let quantized = config.as_ref().map(|(config, naming)| quantized(&table, config, *naming)).unwrap_or_default();
    let gguf = checkpoint.gguf().cloned().map(Sealed::new);
    let choice = checkpoint.choice().clone();
    Ok(Inspection { path: path.to_owned(), choice, table, shards, config, gguf, quantized: Sealed::new(quantized) })
}

/// Returns the weights of linear layers that the configuration says are quantized, and whose numbers are there.
fn quantized(table: &TensorTable, config: &ModelConfig, naming: Naming) -> Vec<QuantizedTensors> {
    let (Some(quantization), Ok(family)) = (&config.quantization, Family::of(config.architecture)) else {
        return Vec::new();
    };
    let plain = ModelConfig { quantization: None, ..config.clone() };
    let mut found: Vec<QuantizedTensors> = ModelSpec::resolve(&plain)
        .linear_layers()
        .into_iter()
        .filter_map(|map| {
            let path = family.name_on(naming, &map.path.join("weight"));
            let module = path.as_str().trim_end_matches(".weight");
            let scheme = quantization.scheme_of(module)?;
            let parts = scheme.params(map.inputs, map.outputs).into_iter();
            let rows: Vec<&TensorRow> =
                parts.filter_map(|part| table.get(&format!("{module}.{}", part.name).into())).collect();
            let bytes = rows.iter().map(|row| row.bytes()).sum();
            let parts: Vec<ParamPath> = rows.into_iter().map(|row| row.path.clone()).collect();
            let shape = [map.outputs, map.inputs];
            (!parts.is_empty()).then_some(QuantizedTensors { path, shape, scheme, parts, bytes })
        })
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// A tied tensor that a file holds under both names counts once.
fn mark_tied(table: &TensorTable, config: &ModelConfig, naming: Naming) -> TensorTable {
    // The rules take milliseconds to prepare: only for models that are tied.
    if !config.tie_word_embeddings {
        return table.clone();
    }
    let Ok(family) = Family::of(config.architecture) else { return table.clone() };
    let mut rows = table.rows().to_vec();
    for tie in ModelSpec::resolve(config).ties {
        let (alias, target) = (family.name_on(naming, &tie.alias), family.name_on(naming, &tie.target));
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
        let plain = ModelConfig { quantization: None, ..(**config).clone() };
        Some(ModelSpec::resolve(&plain).table(config.dtype).parameters())
    }

    /// Parameters of the stored model, a quantized weight's counted as what it stands for.
    pub fn parameters(&self) -> u64 {
        let parts: HashSet<&ParamPath> = self.quantized.iter().flat_map(|weight| &weight.parts).collect();
        let others = self.table.rows().iter().filter(|row| !parts.contains(&row.path));
        others.map(TensorRow::parameters).sum::<u64>()
            + self.quantized.iter().map(QuantizedTensors::parameters).sum::<u64>()
    }

    /// Returns the table as a polars frame; see [`TensorTable::frame`].
    ///
    /// # Errors
    /// As there.
    pub fn frame(&self) -> polars::prelude::PolarsResult<polars::prelude::DataFrame> {
        self.table.frame()
    }

    /// Returns the `--json` report.
    pub fn report(&self) -> Value {
        let rows = self.table.rows().iter();
        let rows = rows.map(|row| json!({ "name": row.path, "shape": row.shape, "dtype": row.dtype.torch_name() }));
        json!({
            "path": self.path,
            "checkpoint": self.choice.path,
            "choice": self.choice.report(),
            "warnings": self.choice.warnings(),
            "model_type": self.config.as_ref().map(|(config, _)| config.architecture.name()),
            "names": self.config.as_ref().map(|(_, naming)| match naming { Naming::Native => "native", Naming::HuggingFace => "huggingface" }),
            "parameters": { "total": self.parameters() },
            "bytes": self.table.bytes(),
            "shards": self.shards,
            "gguf": self.gguf.as_ref().map(|metadata| metadata.iter().map(|(key, value)| (key.to_owned(), json!(GgufMetadata::shown(value)))).collect::<serde_json::Map<_, _>>()),
            "tensors": rows.collect::<Vec<_>>(),
            "quantized": self.quantized.iter().map(|weight| json!({
                "name": weight.path,
                "shape": weight.shape,
                "scheme": weight.scheme.to_string(),
                "bytes": weight.bytes,
            })).collect::<Vec<_>>(),
        })
    }
}
