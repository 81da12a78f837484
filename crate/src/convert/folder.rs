//! A model folder of either side: its configuration, its weights' headers, and how to load it.

use std::path::{Path, PathBuf};

use candle_core::Device;
use serde_json::Value;

use super::{ConvertError, Family, RemapPlan};
use crate::checkpoint::Checkpoint;
use crate::model::{CausalLm, CheckpointWeights};
use crate::spec::{DType, ModelConfig, ModelSpec, Quantization, Side, TensorTable};

/// A model folder, opened by its config.json and the headers of its weights.
#[derive(Debug)]
pub struct ModelFolder {
    path: PathBuf,
    json: Value,
    config: ModelConfig,
    side: Side,
    checkpoint: Checkpoint,
}

impl ModelFolder {
    /// Opens a folder; the weights are those of the folder itself, else of its latest checkpoint.
    ///
    /// # Errors
    /// [`ConvertError`] if config.json or the weights are missing or invalid.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ConvertError> {
        Self::open_checkpoint(path.as_ref(), None)
    }

    /// As [`open`](Self::open), with the weights of one checkpoint.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_checkpoint(path: &Path, checkpoint: Option<&Path>) -> Result<Self, ConvertError> {
        let json = read_config(path)?;
        let origin = path.join("config.json").display().to_string();
        let (mut config, side) = ModelConfig::from_json(&json, &origin)?;
        if side == Side::HuggingFace {
            config.quantization = config.quantization.as_ref().map(|own| native_names(own, &config)).transpose()?;
        }
        let checkpoint = Checkpoint::open(checkpoint.unwrap_or(path))?;
        // Old configurations do not say their element type: then it is that of the weights.
        if ["dtype", "torch_dtype"].iter().all(|key| json.get(key).is_none_or(Value::is_null)) {
            let stored = checkpoint.table().rows().iter().map(|row| row.dtype).find(|dtype| dtype.is_weight_float());
            config.dtype = stored.unwrap_or(config.dtype);
        }
        Ok(Self { path: path.to_owned(), json, config, side, checkpoint })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// config.json as it stands.
    pub fn config_json(&self) -> &Value {
        &self.json
    }

    /// The configuration in normal form.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Whose names the weights have.
    pub fn side(&self) -> Side {
        self.side
    }

    /// The weights.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The table of the model that the configuration describes, by native names.
    pub fn native_table(&self) -> TensorTable {
        ModelSpec::resolve(&self.config).table(self.config.dtype)
    }

    /// The rules of the folder's family.
    ///
    /// # Errors
    /// [`ConvertError::Remap`] if they cannot be read.
    pub fn family(&self) -> Result<Family, ConvertError> {
        Ok(Family::of(self.config.architecture)?)
    }

    /// Checks that the weights are those of the configuration: nothing missing, left over, or of another shape.
    ///
    /// # Errors
    /// [`ConvertError::Incomplete`] listing what does not fit.
    pub fn require_complete(&self) -> Result<(), ConvertError> {
        let family = self.family()?;
        RemapPlan::new(&self.checkpoint, self.side, &self.native_table(), &family, None).require_complete()
    }

    /// Loads the model to compute in `dtype` on `device`, after checking that all tensors fit.
    ///
    /// # Errors
    /// [`ConvertError::Incomplete`] listing what does not fit, or what reading fails with.
    pub fn load(&self, dtype: DType, device: &Device, trainable: bool) -> Result<CausalLm, ConvertError> {
        self.load_rounded(dtype, None, device, trainable)
    }

    /// As [`load`](Self::load), with every weight first rounded to another type.
    pub(super) fn load_rounded(
        &self,
        dtype: DType,
        rounding: Option<DType>,
        device: &Device,
        trainable: bool,
    ) -> Result<CausalLm, ConvertError> {
        self.require_complete()?;
        let family = self.family()?;
        self.check_packed_shapes(&family)?;
        let side = self.side;
        let weights = CheckpointWeights::new(&self.checkpoint, rounding, move |native| family.name_on(side, native));
        Ok(CausalLm::build(&self.config, Box::new(weights), dtype, device, trainable)?)
    }
}

impl ModelFolder {
    /// Packed weights say their shape once more, in numbers of their own.
    fn check_packed_shapes(&self, family: &Family) -> Result<(), ConvertError> {
        let mut wrong = Vec::new();
        for map in ModelSpec::resolve(&self.config).linear_maps() {
            if map.quantized.is_none_or(|scheme| !scheme.packed) {
                continue;
            }
            let name = family.name_on(self.side, &map.path.join("weight_shape"));
            let data = self.checkpoint.read(&name)?;
            let number = |raw: &[u8]| raw.iter().rev().fold(0i64, |number, byte| number << 8 | i64::from(*byte));
            let found: Vec<i64> = data.bytes.chunks(8).map(number).collect();
            if found != [map.outputs as i64, map.inputs as i64] {
                wrong.push(format!("`{name}` says {found:?}, the model needs [{}, {}]", map.outputs, map.inputs));
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let more = if wrong.len() > 1 { format!(", and {} more", wrong.len() - 1) } else { String::new() };
        Err(ConvertError::Folder {
            what: format!("{}{more}", wrong[0]),
            path: self.path.clone(),
            advice: "check that config.json belongs to these weights".to_owned(),
        })
    }
}

/// A quantization whose names are Hugging Face's, by native ones.
fn native_names(quantization: &Quantization, config: &ModelConfig) -> Result<Quantization, ConvertError> {
    let family = Family::of(config.architecture)?;
    let modules: Vec<(String, String)> = ModelSpec::resolve(config)
        .linear_maps()
        .into_iter()
        .map(|map| {
            let weight = family.name_on(Side::HuggingFace, &map.path.join("weight"));
            (weight.as_str().trim_end_matches(".weight").to_owned(), map.path.to_string())
        })
        .collect();
    Ok(quantization.renamed(&modules))
}

/// Reads the config.json of a folder.
///
/// # Errors
/// [`ConvertError::Folder`] if the folder or the file is missing, or it is not JSON.
pub(crate) fn read_config(folder: &Path) -> Result<Value, ConvertError> {
    if !folder.is_dir() {
        return Err(ConvertError::Folder {
            what: if folder.exists() { "this is not a folder" } else { "there is no such folder" }.to_owned(),
            path: folder.to_owned(),
            advice: "name a model folder: config.json and weights".to_owned(),
        });
    }
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path).map_err(|error| ConvertError::Folder {
        what: match error.kind() {
            std::io::ErrorKind::NotFound => "config.json is missing".to_owned(),
            _ => format!("config.json cannot be read: {error}"),
        },
        path: folder.to_owned(),
        advice: "name a model folder: config.json and weights".to_owned(),
    })?;
    serde_json::from_str(&text).map_err(|error| ConvertError::Folder {
        what: format!("config.json is not valid JSON: {error}"),
        path,
        advice: "correct the file at that line and column".to_owned(),
    })
}
