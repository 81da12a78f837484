//! Resolves the tokenizer that a configuration names: a built-in one, or files by path.

use std::path::{Path, PathBuf};

use super::builtin::TOKENIZERS;
use super::error::{ProjectError, unknown};
use crate::tokenizer::TokenizerFiles;

/// The tokenizer of configurations that do not name one.
pub(super) const DEFAULT: &str = "2k";

/// Returns the names of the built-in tokenizers.
pub fn tokenizer_names() -> Vec<String> {
    TOKENIZERS.iter().map(|(known, _)| (*known).to_owned()).collect()
}

/// Returns a tokenizer: a built-in one by name, or a folder with `tokenizer.json`, or such a file itself, seen from the
/// current folder.
///
/// # Errors
/// [`ProjectError`] if it does not exist, which says what was searched for.
pub fn tokenizer(name: &str) -> Result<TokenizerFiles, ProjectError> {
    find(name, None, "the command line")
}

/// As [`tokenizer`], with paths seen from `folder`; `place` is who asked.
pub(super) fn find(name: &str, folder: Option<&Path>, place: &str) -> Result<TokenizerFiles, ProjectError> {
    if let Some((_, files)) = TOKENIZERS.iter().find(|(known, _)| *known == name) {
        let files = files.iter().map(|(file, bytes)| ((*file).to_owned(), bytes.to_vec())).collect();
        return Ok(TokenizerFiles::from_parts(&format!("the built-in tokenizer {name}"), files));
    }
    let path = folder.map_or_else(|| PathBuf::from(name), |folder| folder.join(name));
    let known = tokenizer_names();
    if !path.exists() {
        let looked = std::path::absolute(&path).unwrap_or(path).display().to_string();
        return Err(match unknown("tokenizer", name, place, &known) {
            ProjectError::Unknown { kind, name, hint, place, known } => ProjectError::Unknown {
                kind,
                name,
                hint,
                place: format!("{place} (no such built-in tokenizer, and no file or folder {looked})"),
                known: format!("{known}, or the path of a Hugging Face tokenizer folder or tokenizer.json"),
            },
            other => other,
        });
    }
    let file = path.is_file();
    let home = if file { path.parent().unwrap_or(Path::new(".")) } else { &path };
    let own_name = path.file_name().and_then(|name| name.to_str()) == Some("tokenizer.json");
    if file && !own_name || !home.join("tokenizer.json").is_file() {
        let lacking = if file { "is not a tokenizer.json" } else { "has no tokenizer.json" };
        return Err(ProjectError::Refused {
            what: format!("the tokenizer `{name}` {lacking}"),
            place: format!("{}, asked for by {place}", path.display()),
            advice: format!("name a Hugging Face tokenizer folder, a tokenizer.json, or one of: {}", known.join(", ")),
        });
    }
    Ok(TokenizerFiles::read(home)?)
}
