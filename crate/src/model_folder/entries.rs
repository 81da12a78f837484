//! The files of a model's folder beside its weights.

use std::path::Path;

use serde_json::Value;

use super::ModelFolderError;
use crate::checkpoint::{ADAPTER_CONFIG, inside, settle, weights_entries};
use crate::spec::parse_json;
use crate::tokenizer::TokenizerFiles;

/// Reads the config.json of a folder.
///
/// # Errors
/// [`ModelFolderError::Folder`] if the folder or the file is missing, or it is not JSON.
pub(crate) fn read_config(folder: &Path) -> Result<Value, ModelFolderError> {
    if !folder.is_dir() {
        return Err(ModelFolderError::Folder {
            what: if folder.exists() { "this is not a folder" } else { "there is no such folder" }.to_owned(),
            path: folder.to_owned(),
            advice: "name a model folder: config.json and weights".to_owned(),
        });
    }
    settle(folder)?;
    let path = folder.join("config.json");
    if path.exists() {
        inside(folder, &path)?;
    }
    if !path.exists() && folder.join(ADAPTER_CONFIG).is_file() {
        let base = std::fs::read_to_string(folder.join(ADAPTER_CONFIG)).ok().and_then(|text| parse_json(&text).ok());
        let base = base.as_ref().and_then(|json| json["base_model_name_or_path"].as_str()).unwrap_or("its base model");
        return Err(ModelFolderError::Folder {
            what: format!("the folder holds an adapter of {base}, not a model"),
            path: folder.join(ADAPTER_CONFIG),
            advice: format!("name the folder of {base}, and add --adapter {}", folder.display()),
        });
    }
    let text = std::fs::read_to_string(&path).map_err(|error| ModelFolderError::Folder {
        what: match error.kind() {
            std::io::ErrorKind::NotFound => "config.json is missing".to_owned(),
            _ => format!("config.json cannot be read: {error}"),
        },
        path: folder.to_owned(),
        advice: "name a model folder: config.json and weights".to_owned(),
    })?;
    parse_json(&text).map_err(|error| ModelFolderError::Folder {
        what: format!("config.json is not valid JSON: {error}"),
        path,
        advice: "correct the file at that line and column".to_owned(),
    })
}

/// Returns the entries of a folder that belong to the model in it, and that another model would contradict.
pub(crate) fn entries_of_a_model(folder: &Path) -> Vec<String> {
    let mut entries = weights_entries(folder);
    entries.extend(TokenizerFiles::all_names());
    entries.push("generation_config.json".to_owned());
    entries
}

/// Returns the small files of a folder beside config.json and the weights, with their names: those of the tokenizer, and
/// texts of its top level such as preprocessor_config.json.
///
/// # Errors
/// [`ModelFolderError`] if one cannot be read, or leads out of the folder.
pub(crate) fn other_files(folder: &Path) -> Result<Vec<(String, Vec<u8>)>, ModelFolderError> {
    const TEXTS: &[&str] = &["json", "jinja", "txt", "model", "py", "md"];
    const LARGEST: u64 = 64 << 20;
    let weights = weights_entries(folder);
    let tokenizer: Vec<String> = TokenizerFiles::all_names();
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    for name in names {
        let path = folder.join(&name);
        let is_text = path.extension().and_then(|ending| ending.to_str()).is_some_and(|ending| TEXTS.contains(&ending));
        let own = name == "config.json" || weights.contains(&name) || name.starts_with('.');
        if own || !(is_text || tokenizer.contains(&name)) || !path.is_file() {
            continue;
        }
        inside(folder, &path)?;
        let fault = |error: std::io::Error| ModelFolderError::Folder {
            what: format!("{name} cannot be read: {error}"),
            path: path.clone(),
            advice: "check its permissions".to_owned(),
        };
        if std::fs::metadata(&path).map_err(fault)?.len() <= LARGEST {
            found.push((name.clone(), std::fs::read(&path).map_err(fault)?));
        }
    }
    Ok(found)
}

/// Returns a small JSON file of a folder, its bytes and its content, if it is there.
///
/// # Errors
/// [`ModelFolderError::Folder`] if it cannot be read or is not JSON.
pub(crate) fn read_json(folder: &Path, name: &str) -> Result<Option<(Vec<u8>, Value)>, ModelFolderError> {
    let path = folder.join(name);
    if !path.is_file() {
        return Ok(None);
    }
    let fault =
        |what: String, advice: &str| ModelFolderError::Folder { what, path: path.clone(), advice: advice.to_owned() };
    let bytes = std::fs::read(&path)
        .map_err(|error| fault(format!("{name} cannot be read: {error}"), "check its permissions"))?;
    let json = parse_json(&String::from_utf8_lossy(&bytes)).map_err(|error| {
        fault(format!("{name} is not valid JSON: {error}"), "correct the file at that line and column, or remove it")
    })?;
    Ok(Some((bytes, json)))
}
