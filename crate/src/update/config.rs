//! config.json before and after the steps.

use serde_json::{Map, Value, json};

use super::{Step, UpdateError, Version};
use crate::checkpoint::Checkpoint;
use crate::model_folder::ModelFolderError;
use crate::spec::{Architecture, DType, ModelConfig};

/// Returns config.json after all steps. Fields that no step names stay, and those that shape the model are written in
/// full.
pub(super) fn migrated(
    old: &Value,
    chain: &[&Step],
    (architecture, to): (Architecture, &Version),
    dtype: Option<DType>,
) -> Result<Value, UpdateError> {
    let mut fields: Map<String, Value> = old.as_object().cloned().unwrap_or_default();
    for step in chain {
        step.change(&mut fields)?;
    }
    if let Some(dtype) = dtype {
        for key in ["dtype", "torch_dtype"] {
            fields.insert(key.to_owned(), json!(dtype.torch_name()));
        }
    }
    let after = "config.json after the migrations";
    let said = ModelConfig::identify(&Value::Object(fields.clone()), after).map_err(ModelFolderError::from)?;
    if said != architecture {
        // The given value takes precedence over that of the folder.
        fields.insert("model_type".to_owned(), json!(architecture.native_model_type()));
        fields.shift_remove("hf_model_type");
    }
    let config = ModelConfig::from_json(&Value::Object(fields.clone()), after).map_err(ModelFolderError::from)?;
    if let Value::Object(written) = config.to_native_json(None) {
        fields.extend(written);
    }
    fields.insert("chandlery_arch_version".to_owned(), json!(to.to_string()));
    fields.sort_keys();
    Ok(Value::Object(fields))
}

/// Returns the element type of the weights, where config.json does not say one.
pub(super) fn stored_dtype(config: &Value, weights: &Checkpoint) -> Option<DType> {
    let said = !ModelConfig::leaves_dtype_open(config);
    let mut types = weights.table().rows().iter().map(|row| row.dtype);
    if said { None } else { types.find(|dtype| dtype.is_weight_float()) }
}

/// Returns the fields that differ: name, old value, new value; null where there is none.
pub(super) fn difference(old: &Value, new: &Value) -> Vec<(String, Value, Value)> {
    let empty = Map::new();
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let changed = new.iter().filter(|(key, value)| old.get(key.as_str()).unwrap_or(&Value::Null) != *value);
    let removed = old.iter().filter(|(key, value)| !new.contains_key(key.as_str()) && !value.is_null());
    let changed = changed
        .map(|(key, value)| (key.clone(), old.get(key.as_str()).cloned().unwrap_or(Value::Null), value.clone()))
        .chain(removed.map(|(key, value)| (key.clone(), value.clone(), Value::Null)));
    let mut changed: Vec<_> = changed.collect();
    changed.sort_by(|a, b| a.0.cmp(&b.0));
    changed
}
