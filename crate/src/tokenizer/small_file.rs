//! Small text files that people write by hand.

use std::io::Read;
use std::path::Path;

use super::TokenizerError;

/// Bytes of a file of tokens to add, a chat template, a conversation or a preset; they have a few thousand.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// Reads a file as text; `kind` names it in errors ("chat template").
pub(super) fn read(path: &Path, kind: &str) -> Result<String, TokenizerError> {
    let place = || path.display().to_string();
    let failed = |error: std::io::Error| {
        let advice = match error.kind() {
            std::io::ErrorKind::NotFound => "check the path",
            std::io::ErrorKind::PermissionDenied => "check the permissions of the file and its folder",
            _ => "name a readable file",
        };
        TokenizerError::refused(format!("the {kind} cannot be read: {error}"), place(), advice)
    };
    if path.is_dir() {
        return Err(TokenizerError::refused(format!("the {kind} is a folder"), place(), "name a file"));
    }
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(TokenizerError::refused(
            format!("the {kind} has more than {MAX_BYTES} bytes"),
            place(),
            "check the path; such a file has a few thousand",
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count();
        TokenizerError::refused(
            format!("the {kind} is not UTF-8 text"),
            format!("{}:{line}", path.display()),
            "save it as UTF-8",
        )
    })
}

/// `file:line: text of the line`, as far as it is known (lines count from 1).
pub(super) fn place(origin: &str, text: &str, line: Option<usize>) -> String {
    let Some(line) = line.filter(|line| *line > 0) else { return origin.to_owned() };
    match text.lines().nth(line - 1).map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) => format!("{origin}:{line}: {}", short(text)),
        None => format!("{origin}:{line}"),
    }
}

/// Returns one line of at most 100 characters.
pub(super) fn short(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= 100 { text } else { text.chars().take(99).chain(['…']).collect() }
}
