//! Which architecture and version a config.json says it is.

use serde_json::Value;

use super::{UpdateError, Version};
use crate::model_folder::ModelFolderError;
use crate::spec::{Architecture, ModelConfig, Naming};

/// Forgather's folders have numbers of their own for what is one form to us.
const FORGATHER: u64 = 0;

/// Returns the architecture by name and the version, read or told.
pub(super) fn provenance(
    config: &Value,
    origin: &str,
    told: (Option<&str>, Option<&Version>),
) -> Result<(Architecture, Version), UpdateError> {
    if ModelConfig::naming_of(config) == Naming::HuggingFace && config.get("model_type").is_some_and(Value::is_string) {
        return Err(UpdateError::refused(
            "this folder has Hugging Face's names, which have no versions",
            origin,
            "make a native folder of it with `chandlery convert`",
        ));
    }
    let found = ModelConfig::identify(config, origin).map_err(ModelFolderError::from)?;
    let text = |key: &str| config.get(key).and_then(Value::as_str);
    let architecture = match told.0.or(text("chandlery_arch")) {
        None => found,
        Some(name) => Architecture::from_name(name).ok_or_else(|| {
            let known = Architecture::all().map(Architecture::name).collect::<Vec<_>>().join(", ");
            let place = if told.0.is_some() { "--arch" } else { origin };
            UpdateError::refused(format!("there is no architecture `{name}`"), place, format!("use one of: {known}"))
        })?,
    };
    if let Some(version) = told.1 {
        return Ok((architecture, version.clone()));
    }
    let version = match config.get("chandlery_arch_version") {
        Some(stamp) => Version::from_json(stamp).ok_or_else(|| {
            UpdateError::refused(
                format!("invalid version {stamp} in `chandlery_arch_version`"),
                origin,
                "name it with --from-version",
            )
        })?,
        None if is_forgather(config) => Version::from(FORGATHER),
        None => {
            return Err(UpdateError::refused(
                "config.json does not say which version of the architecture it is",
                origin,
                "name it with --from-version: 0 for Forgather's form",
            ));
        }
    };
    Ok((architecture, version))
}

fn is_forgather(config: &Value) -> bool {
    let made = config.get("model_type").and_then(Value::as_str).is_some_and(|name| name.starts_with("forgather"));
    made || config.get("forgather_arch").is_some()
}
