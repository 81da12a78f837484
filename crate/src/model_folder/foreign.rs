//! Folders whose weights are not what a model computes with: quantized by other tools, or with an adapter beside them.

use std::path::Path;

use serde_json::Value;

use super::ModelFolderError;
use crate::checkpoint::{ADAPTER_CONFIG, Checkpoint, CheckpointError};
use crate::naming::Families;
use crate::spec::{DType, ModelConfig};

/// The block of config.json that says how weights are quantized.
const KEY: &str = "quantization_config";

/// Methods whose weights can be dequantized, and are not computed with as they are.
const METHODS: &[&str] = &["fp8", "fbgemm_fp8", "mxfp4", "gptq", "awq", "bitsandbytes", "modelopt"];

/// Returns the block of config.json that says how weights are quantized, taken out of it if they are to be dequantized.
/// `outer` is the block of the configuration around that of a text model.
///
/// # Errors
/// [`ModelFolderError::Options`] for a method that is read only dequantized.
pub(super) fn quantization(
    path: &Path,
    json: &mut Value,
    outer: Option<Value>,
    families: &Families,
) -> Result<Option<Value>, ModelFolderError> {
    let own = json.get(KEY).cloned().filter(|block| !block.is_null()).or(outer).filter(|block| !block.is_null());
    let method = own.as_ref().and_then(|block| block.get("quant_method")).and_then(Value::as_str).unwrap_or_default();
    if families.dequantizes() {
        if let Some(fields) = json.as_object_mut() {
            fields.remove(KEY);
            fields.remove("compression_config");
        }
        return Ok(own);
    }
    if METHODS.contains(&method) {
        return Err(ModelFolderError::Options {
            what: format!(
                "the weights are quantized by `{method}`, which is read only as the numbers that they stand for"
            ),
            origin: format!("{}: {KEY}.quant_method", path.join("config.json").display()),
            advice: "add --dequantize, or take the model's weights before they were quantized".to_owned(),
        });
    }
    Ok(own)
}

/// Returns the type of dequantized weights: that of config.json, if it is one that models compute in, else bfloat16.
pub(super) fn dequantized_type(json: &Value, config: &ModelConfig) -> DType {
    match ModelConfig::leaves_dtype_open(json) {
        false if config.dtype.is_weight_float() => config.dtype,
        _ => DType::BF16,
    }
}

/// Merges the adapters that were asked for.
///
/// # Errors
/// [`ModelFolderError::Folder`] for a folder with an adapter that was not: its weights are not those of the model that was
/// trained.
pub(super) fn adapted(
    mut checkpoint: Checkpoint,
    path: &Path,
    families: &Families,
) -> Result<Checkpoint, ModelFolderError> {
    let adapters = families.adapters_to_merge();
    let same = |other: &Path| match (other.canonicalize(), path.canonicalize()) {
        (Ok(other), Ok(own)) => other == own,
        _ => false,
    };
    if path.join(ADAPTER_CONFIG).is_file() && !adapters.iter().any(|adapter| same(adapter)) {
        return Err(ModelFolderError::Folder {
            what: "the folder holds an adapter, without which its weights are not the trained model".to_owned(),
            path: path.join(ADAPTER_CONFIG),
            advice: format!("merge it with --adapter {}, or move it to another folder", path.display()),
        });
    }
    for adapter in adapters {
        if !adapter.join(ADAPTER_CONFIG).is_file() {
            return Err(CheckpointError::Adapter {
                what: format!("there is no adapter: {ADAPTER_CONFIG} is missing"),
                path: adapter.clone(),
                advice: "name the folder that peft saved".to_owned(),
            }
            .into());
        }
        checkpoint = checkpoint.with_adapter(adapter)?;
    }
    Ok(checkpoint)
}
