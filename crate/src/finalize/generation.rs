//! generation_config.json of the new folder.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Map, Value};

use super::FinalizeError;
use crate::checkpoint::CheckpointError;

/// The source's generation_config.json with the token ids of the configuration, or a minimal one.
pub(super) fn carried(source: &Path, config: &Value) -> Result<Value, FinalizeError> {
    let path = source.join("generation_config.json");
    let mut fields = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Map::new(),
        Err(error) => return Err(CheckpointError::io("reading", &path)(error).into()),
        Ok(text) => serde_json::from_str(&text).map_err(|error| {
            FinalizeError::refused(
                format!("generation_config.json is not a JSON object: {error}"),
                path.display(),
                "correct it, or pass --generation-config none",
            )
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
