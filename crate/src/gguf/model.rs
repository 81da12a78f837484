//! A GGUF file as a model to compute with: its settings, and its weights under our names.

use std::ops::Range;
use std::path::{Path, PathBuf};

use candle_core::{DType as CandleType, Device, Tensor};
use serde_json::{Value, json};

use super::names::{ROPE_FACTORS, expert_of, gguf_name};
use crate::checkpoint::{Checkpoint, GGUF_FILE, GgufMetadata, TensorData, WEIGHTS_NAMES, checkpoints_of};
use crate::model::{CausalLm, ModelError, StreamedLm, Weights, candle_dtype, tensor_from};
use crate::model_folder::{ModelFolderError, read_config};
use crate::naming::{Families, IncompleteError, TensorMisfit};
use crate::spec::{DType, ModelConfig, ModelSpec, ParamPath, Role, TensorTable};

/// A GGUF file, opened by its header, and the model that it describes.
#[derive(Debug)]
pub struct GgufModel {
    path: PathBuf,
    checkpoint: Checkpoint,
    config: ModelConfig,
    /// Whether pairs that are rotated together are adjacent.
    interleaved: bool,
}

/// Returns the GGUF file that a path names: itself, or the only weights of a folder.
pub fn gguf_in(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        let others = WEIGHTS_NAMES.iter().any(|name| path.join(name).exists())
            || checkpoints_of(path).is_ok_and(|checkpoints| !checkpoints.is_empty());
        return Some(path.join(GGUF_FILE)).filter(|file| !others && file.is_file());
    }
    path.extension().is_some_and(|extension| extension == "gguf").then(|| path.to_owned())
}

impl GgufModel {
    /// Opens a file. The configuration is the config.json beside it, if there is one, else what the file's metadata
    /// say.
    ///
    /// # Errors
    /// [`ModelFolderError`] for files that cannot be read, models of other architectures than `llama`, `qwen2` and `qwen3`, and
    /// what metadata cannot say.
    pub fn open(path: &Path) -> Result<Self, ModelFolderError> {
        let checkpoint = Checkpoint::open(path)?;
        let Some(metadata) = checkpoint.gguf() else {
            return Err(unfit("this is not a GGUF file", path, "name a file whose name ends in .gguf"));
        };
        let architecture = metadata.text("general.architecture").unwrap_or_default().to_owned();
        if !["llama", "qwen2", "qwen3"].contains(&architecture.as_str()) {
            let what = format!("GGUF models of the architecture `{architecture}` cannot be computed");
            return Err(unfit(&what, path, "use a file of the architecture llama, qwen2 or qwen3; inspect shows all"));
        }
        let folder = folder_of(path);
        let config = if folder.join("config.json").exists() {
            let origin = folder.join("config.json").display().to_string();
            Families::built_in()?.read_config(&read_config(folder)?, &origin)?.0
        } else {
            let described = described(metadata, checkpoint.table(), &architecture, path)?;
            Families::built_in()?.read_config(&described, &path.display().to_string())?.0
        };
        Ok(Self { path: path.to_owned(), checkpoint, config, interleaved: architecture == "llama" })
    }

    /// Returns the configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Returns the weights.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Returns the folder that the file lies in.
    pub fn folder(&self) -> &Path {
        folder_of(&self.path)
    }

    /// Loads the model to compute in `dtype` on `device`; blocks become numbers of that type.
    ///
    /// # Errors
    /// [`ModelFolderError::Incomplete`] listing what does not fit the configuration, or what reading fails with.
    pub fn load(&self, dtype: DType, device: &Device) -> Result<CausalLm, ModelFolderError> {
        self.require_complete()?;
        Ok(CausalLm::build(&self.config, Box::new(self.weights()), dtype, device, false)?)
    }

    /// Returns the model, to compute logits in float32 with a layer in memory at a time.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn stream(&self, device: &Device) -> Result<StreamedLm<'_>, ModelFolderError> {
        self.require_complete()?;
        Ok(StreamedLm::new(&self.config, Box::new(self.weights()), device)?)
    }

    fn weights(&self) -> GgufWeights<'_> {
        GgufWeights { of: self, table: ModelSpec::resolve(&self.config).table(DType::F32) }
    }

    fn require_complete(&self) -> Result<(), ModelFolderError> {
        let table = ModelSpec::resolve(&self.config).table(DType::F32);
        let mut faults = Vec::new();
        for row in table.stored() {
            let found = gguf_name(row).and_then(|name| self.checkpoint.table().get(&name));
            let expected = match expert_of(row) {
                Some(_) => [&[self.config.num_experts], row.shape.as_slice()].concat(),
                None => row.shape.clone(),
            };
            match found {
                None => faults.push(TensorMisfit { tensor: row.path.clone(), expected, found: None }),
                Some(found) if found.shape != expected => {
                    faults.push(TensorMisfit { tensor: found.path.clone(), expected, found: Some(found.shape.clone()) })
                }
                Some(_) => {}
            }
        }
        match faults.is_empty() {
            true => Ok(()),
            false => Err(IncompleteError::Gguf { tensors: faults, path: self.path.clone() }.into()),
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn unfit(what: &str, path: &Path, advice: &str) -> ModelFolderError {
    ModelFolderError::Options { what: what.to_owned(), origin: path.display().to_string(), advice: advice.to_owned() }
}

/// The weights under our names.
struct GgufWeights<'a> {
    of: &'a GgufModel,
    table: TensorTable,
}

impl Weights for GgufWeights<'_> {
    fn tensor(&self, path: &ParamPath, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor, ModelError> {
        Ok(self.narrow(path, shape, dtype, device)?.to_dtype(candle_dtype(dtype))?)
    }

    fn narrow(&self, path: &ParamPath, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor, ModelError> {
        crate::interrupt::check()?;
        let row = self.table.get(path);
        let name = self.name(path);
        let data = match row.and_then(expert_of) {
            Some(expert) => self.expert(&name, expert, shape)?,
            None => self.of.checkpoint.read(&name)?,
        };
        if data.shape != shape {
            return Err(ModelError::Shape {
                path: name.to_string(),
                expected: shape.to_vec(),
                found: data.shape,
                origin: self.of.path.display().to_string(),
            });
        }
        let mut tensor = tensor_from(&data, &Device::Cpu)?;
        if self.of.interleaved && row.and_then(|row| row.role).is_some_and(Role::is_rotated) {
            // Rows (0, n/2), (1, n/2 + 1) … of each head back into two halves.
            let half = self.of.config.head_dim / 2;
            let heads = shape[0] / (2 * half);
            let wide = [&[heads, half, 2], &shape[1..]].concat();
            tensor = tensor.reshape(wide)?.transpose(1, 2)?.contiguous()?.reshape(shape)?;
        }
        Ok(kept_narrow(tensor, dtype)?.to_device(device)?)
    }

    fn rows(
        &self,
        path: &ParamPath,
        shape: &[usize],
        rows: Range<usize>,
        dtype: DType,
        device: &Device,
    ) -> Result<Option<Tensor>, ModelError> {
        crate::interrupt::check()?;
        let name = self.name(path);
        let rotated = self.table.get(path).and_then(|row| row.role).is_some_and(Role::is_rotated);
        let Some(stored) = self.of.checkpoint.table().get(&name).filter(|row| row.shape == shape && !rotated) else {
            return Ok(None);
        };
        let (elements, bytes) = stored.dtype.unit();
        let width: usize = shape[1..].iter().product();
        if !width.is_multiple_of(elements) {
            return Ok(None);
        }
        let row_bytes = width / elements * bytes;
        let mut data = TensorData {
            dtype: stored.dtype,
            shape: [&[rows.len()], &shape[1..]].concat(),
            bytes: vec![0; rows.len() * row_bytes],
        };
        self.of.checkpoint.read_at(&name, (rows.start * row_bytes) as u64, &mut data.bytes)?;
        Ok(Some(kept_narrow(tensor_from(&data, &Device::Cpu)?, dtype)?.to_device(device)?))
    }
}

impl GgufWeights<'_> {
    /// Reads what a tensor of several experts holds of one.
    fn expert(&self, name: &ParamPath, expert: usize, shape: &[usize]) -> Result<TensorData, ModelError> {
        let stored = self.of.checkpoint.table().get(name).filter(|row| row.shape.get(1..) == Some(shape));
        let Some(stored) = stored else { return Ok(self.of.checkpoint.read(name)?) };
        let (elements, bytes) = stored.dtype.unit();
        let size = shape.iter().product::<usize>() / elements * bytes;
        let mut data = TensorData { dtype: stored.dtype, shape: shape.to_vec(), bytes: vec![0; size] };
        self.of.checkpoint.read_at(name, (expert * size) as u64, &mut data.bytes)?;
        Ok(data)
    }

    /// Returns what the file calls a parameter.
    fn name(&self, path: &ParamPath) -> ParamPath {
        self.table.get(path).and_then(gguf_name).unwrap_or_else(|| path.clone())
    }
}

/// As it is in bfloat16 or float16, else in `dtype`.
fn kept_narrow(tensor: Tensor, dtype: DType) -> candle_core::Result<Tensor> {
    let halves = matches!(tensor.dtype(), CandleType::BF16 | CandleType::F16);
    if halves { Ok(tensor) } else { tensor.to_dtype(candle_dtype(dtype)) }
}

/// Returns the metadata as a configuration of Hugging Face's class.
fn described(
    metadata: &GgufMetadata,
    table: &TensorTable,
    architecture: &str,
    path: &Path,
) -> Result<Value, ModelFolderError> {
    let beside = "put the model's config.json beside the file";
    let has = |name: &str| table.get(&name.into()).is_some();
    if has(ROPE_FACTORS) {
        let what =
            format!("the file stretches its rotary frequencies (`{ROPE_FACTORS}`), but does not say by which rule");
        return Err(unfit(&what, path, beside));
    }
    let key = |key: &str| format!("{architecture}.{key}");
    for beyond in ["rope.scaling.type", "expert_count"] {
        let set = metadata.text(&key(beyond)).is_some_and(|kind| kind != "none")
            || metadata.unsigned(&key(beyond)).is_some_and(|count| count > 0);
        if set {
            return Err(unfit(&format!("models with {beyond} cannot be computed"), path, beside));
        }
    }
    let size = |name: &str| {
        metadata.unsigned(&key(name)).ok_or_else(|| unfit(&format!("the key `{}` is missing", key(name)), path, beside))
    };
    let heads = size("attention.head_count")?;
    let hidden = size("embedding_length")?;
    let window = metadata.unsigned(&key("attention.sliding_window")).filter(|_| architecture == "llama");
    let id = |role: &str| metadata.unsigned(&format!("tokenizer.ggml.{role}_token_id"));
    let rows = table.get(&"token_embd.weight".into()).and_then(|row| row.shape.first().copied());
    let head_dim = metadata.unsigned(&key("attention.key_length")).or(metadata.unsigned(&key("rope.dimension_count")));
    Ok(json!({
        "model_type": if window.is_some() { "mistral" } else { architecture },
        "vocab_size": rows,
        "hidden_size": hidden,
        "intermediate_size": size("feed_forward_length")?,
        "num_hidden_layers": size("block_count")?,
        "num_attention_heads": heads,
        "num_key_value_heads": metadata.unsigned(&key("attention.head_count_kv")).unwrap_or(heads),
        "head_dim": head_dim.unwrap_or(hidden / heads.max(1)),
        "max_position_embeddings": metadata.unsigned(&key("context_length")),
        "rms_norm_eps": metadata.number(&key("attention.layer_norm_rms_epsilon")).unwrap_or(1e-5),
        "rope_theta": metadata.number(&key("rope.freq_base")).unwrap_or(10_000.0),
        "sliding_window": window,
        "attention_bias": has("blk.0.attn_q.bias"),
        "mlp_bias": has("blk.0.ffn_up.bias"),
        "tie_word_embeddings": !has("output.weight"),
        "bos_token_id": id("bos"),
        "eos_token_id": id("eos"),
        "pad_token_id": id("padding"),
        "dtype": "float32",
    }))
}
