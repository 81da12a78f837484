//! The output folder: configuration, tokenizer and perhaps weights, never half of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use candle_core::{DType as CandleType, Device as CandleDevice, Tensor};
use serde_json::{Value, json};

use super::{ConstructError, Construction};
use crate::checkpoint::{AtomicFolder, CheckpointError, ShardPlan, TensorSource, WEIGHTS_FILE, WEIGHTS_INDEX};
use crate::spec::{ParamPath, TensorRow};
use crate::tokenizer::TokenizerFiles;

/// What to write, and what may be replaced.
pub(super) struct Request<'a> {
    pub(super) folder: &'a Path,
    pub(super) tokenizer: TokenizerFiles,
    pub(super) save: bool,
    pub(super) refresh: bool,
    pub(super) force: bool,
    pub(super) max_shard_size: u64,
}

/// Writes the folder, unless it is there already as it should be. Returns the names of the weights' files.
pub(super) fn write(request: &Request<'_>, construction: &Construction) -> Result<Vec<String>, ConstructError> {
    let config = construction.config.to_native_json(None);
    let replaced = existing(request, &config)?;
    if let Existing::Same = replaced {
        return Ok(Vec::new());
    }
    if let Some(parent) = request.folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(CheckpointError::io("creating", parent))?;
    }
    // The old folder steps aside under a hidden name, and comes back if anything below fails.
    let aside = match replaced {
        Existing::Replace => Some(Aside::new(request.folder)?),
        _ => None,
    };
    let stage = AtomicFolder::create(request.folder)?;
    stage.write_json("config.json", &config)?;
    let generation = json!({
        "bos_token_id": config["bos_token_id"],
        "eos_token_id": config["eos_token_id"],
        "pad_token_id": config["pad_token_id"],
    });
    stage.write_json("generation_config.json", &generation)?;
    for (name, bytes) in request.tokenizer.to_write() {
        stage.write(&name, bytes)?;
    }
    let mut files = Vec::new();
    if let (true, Some(model)) = (request.save, &construction.model) {
        let tensors = InMemory(model.parameters().tensors().into_iter().collect());
        let plan = ShardPlan::new(construction.table.rows().iter().cloned(), request.max_shard_size);
        files = plan.write(stage.path(), &tensors)?.files;
    }
    stage.commit()?;
    if let Some(aside) = aside {
        aside.discard()?;
    }
    Ok(files)
}

enum Existing {
    None,
    Same,
    Replace,
}

/// Decides about a folder that is there already.
fn existing(request: &Request<'_>, config: &Value) -> Result<Existing, ConstructError> {
    let folder = request.folder;
    if folder.symlink_metadata().is_err() {
        return Ok(Existing::None);
    }
    let refuse = |what: String, advice: &str| {
        Err(ConstructError::Refused { what, origin: folder.display().to_string(), advice: advice.to_owned() })
    };
    let found = std::fs::read_to_string(folder.join("config.json")).ok();
    let Some(found) = found.and_then(|text| serde_json::from_str::<Value>(&text).ok()) else {
        return refuse("the output folder exists and holds no model".to_owned(), "name another with --output-dir");
    };
    let weights: Vec<&str> =
        [WEIGHTS_FILE, WEIGHTS_INDEX, "checkpoints", "pytorch_model.bin", "pytorch_model.bin.index.json"]
            .into_iter()
            .filter(|name| folder.join(name).exists())
            .collect();
    if request.refresh {
        if !weights.is_empty() && !request.force {
            let what = format!("the output folder holds {}", weights.join(", "));
            return refuse(what, "keep it and name another with --output-dir, or add --force to delete it");
        }
        return Ok(Existing::Replace);
    }
    let different: Vec<String> = config
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, value)| found.get(key.as_str()) != Some(value))
        .map(|(key, value)| format!("{key}: {} → {value}", found.get(key.as_str()).unwrap_or(&Value::Null)))
        .collect();
    if !different.is_empty() {
        let what = format!("the output folder holds another configuration: {}", different.join(", "));
        return refuse(what, "rebuild it with -r, or name another with --output-dir");
    }
    match (request.save, weights.is_empty()) {
        (false, _) => Ok(Existing::Same),
        (true, true) => Ok(Existing::Replace),
        (true, false) => {
            let what = format!("the output folder holds {} already", weights.join(", "));
            refuse(what, "name another with --output-dir, or replace it with -r --force")
        }
    }
}

/// An old folder moved out of the way until its replacement is in place.
struct Aside<'a> {
    folder: &'a Path,
    hidden: std::path::PathBuf,
}

impl<'a> Aside<'a> {
    fn new(folder: &'a Path) -> Result<Self, CheckpointError> {
        let name = folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let hidden = folder.with_file_name(format!(".{name}.old-{}", std::process::id()));
        std::fs::rename(folder, &hidden).map_err(CheckpointError::io("moving aside", folder))?;
        Ok(Self { folder, hidden })
    }

    fn discard(self) -> Result<(), CheckpointError> {
        std::fs::remove_dir_all(&self.hidden).map_err(CheckpointError::io("removing the old folder", &self.hidden))
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        // Something failed before the replacement stood: the old folder returns. After discard() there is none.
        if self.hidden.exists() && !self.folder.exists() {
            let _ = std::fs::rename(&self.hidden, self.folder);
        }
    }
}

/// Tensors of a model in memory.
struct InMemory(BTreeMap<ParamPath, Tensor>);

impl TensorSource for InMemory {
    fn append(&self, rows: &[TensorRow], out: &mut &File, path: &Path) -> Result<(), CheckpointError> {
        for row in rows {
            let missing = || CheckpointError::NoTensor { tensor: row.path.to_string(), path: path.to_owned() };
            let bytes = bytes_of(self.0.get(&row.path).ok_or_else(missing)?).map_err(|error| {
                CheckpointError::io("fetching a tensor", path)(std::io::Error::other(error.to_string()))
            })?;
            out.write_all(&bytes).map_err(CheckpointError::io("writing", path))?;
            crate::interrupt::check()?;
        }
        Ok(())
    }
}

/// Little-endian bytes of a float tensor, from any device.
fn bytes_of(tensor: &Tensor) -> candle_core::Result<Vec<u8>> {
    let flat = tensor.flatten_all()?.to_device(&CandleDevice::Cpu)?;
    Ok(match flat.dtype() {
        CandleType::BF16 => flat.to_vec1::<half::bf16>()?.iter().flat_map(|value| value.to_le_bytes()).collect(),
        CandleType::F16 => flat.to_vec1::<half::f16>()?.iter().flat_map(|value| value.to_le_bytes()).collect(),
        CandleType::F64 => flat.to_vec1::<f64>()?.iter().flat_map(|value| value.to_le_bytes()).collect(),
        _ => flat.to_dtype(CandleType::F32)?.to_vec1::<f32>()?.iter().flat_map(|value| value.to_le_bytes()).collect(),
    })
}
