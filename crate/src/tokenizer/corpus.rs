//! Training texts: finds the files, and reads their documents a piece at a time.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::Value;

use super::TokenizerError;

/// A plain text is cut into pieces of about this many bytes.
const PIECE: usize = 64 << 10;

fn wrong(what: impl Into<String>, place: impl std::fmt::Display, advice: &str) -> TokenizerError {
    TokenizerError::Text { what: what.into(), place: place.to_string(), advice: advice.to_owned() }
}

/// Returns the files that paths and patterns name, in order, each once. `*` and `?` match inside a name, `**` any folders.
///
/// # Errors
/// [`TokenizerError::Text`] for a path that is not a file, and for a pattern that does not match any.
pub(super) fn expand(patterns: &[String]) -> Result<Vec<PathBuf>, TokenizerError> {
    let mut files: Vec<PathBuf> = Vec::new();
    for pattern in patterns {
        let mut found = Vec::new();
        if pattern.contains(['*', '?']) {
            let mut parts = pattern.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>();
            let start = if pattern.starts_with('/') { "/" } else { "" };
            // What stands before the first wildcard is a path.
            let fixed = parts.iter().take_while(|part| !part.contains(['*', '?'])).count();
            let root = parts.drain(..fixed).fold(PathBuf::from(start), |path, part| path.join(part));
            search(&root, &parts, &mut found);
            found.sort();
        } else if Path::new(pattern).is_file() {
            found.push(PathBuf::from(pattern));
        }
        if found.is_empty() {
            return Err(wrong(
                "there is no such file",
                pattern,
                "name text files, or a pattern such as 'texts/**/*.txt'",
            ));
        }
        for file in found {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

fn search(folder: &Path, parts: &[&str], found: &mut Vec<PathBuf>) {
    let Some((part, rest)) = parts.split_first() else { return };
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    if *part == "**" {
        search(folder, rest, found);
    }
    let name = regex::escape(part).replace("\\*", ".*").replace("\\?", ".");
    let Ok(name) = Regex::new(&format!("^{name}$")) else { return };
    for entry in std::fs::read_dir(here).into_iter().flatten().flatten() {
        let Some(file) = entry.file_name().to_str().map(str::to_owned) else { continue };
        let path = folder.join(&file);
        let hidden = file.starts_with('.') && !part.starts_with('.');
        if hidden || !name.is_match(&file) {
            continue;
        }
        // Links to folders are not followed: they may form a cycle.
        match (*part, rest.is_empty()) {
            ("**", _) if entry.file_type().is_ok_and(|kind| kind.is_dir()) => search(&path, parts, found),
            ("**", _) => {}
            (_, true) if path.is_file() => found.push(path),
            (_, false) if path.is_dir() => search(&path, rest, found),
            _ => {}
        }
    }
}

/// The pieces of one file, which together have the same words as the whole.
pub(super) struct Pieces<'a> {
    path: &'a Path,
    field: Option<&'a str>,
    lines: BufReader<File>,
    line: usize,
    /// A line that begins the next piece.
    ahead: Option<String>,
}

impl<'a> Pieces<'a> {
    /// Opens a file: plain text, or JSON lines of which `field` is the text.
    pub(super) fn open(path: &'a Path, field: Option<&'a str>) -> Result<Self, TokenizerError> {
        let file = File::open(path).map_err(|error| {
            wrong(format!("the text cannot be read: {error}"), path.display(), "check the file and its permissions")
        })?;
        Ok(Self { path, field, lines: BufReader::with_capacity(1 << 20, file), line: 0, ahead: None })
    }

    fn read_line(&mut self) -> Result<Option<String>, TokenizerError> {
        let mut line = Vec::new();
        let read = self.lines.read_until(b'\n', &mut line);
        self.line += 1;
        let place = format!("{}:{}", self.path.display(), self.line);
        match read {
            Ok(0) => Ok(None),
            Ok(_) => String::from_utf8(line)
                .map(Some)
                .map_err(|_| wrong("the text is not UTF-8", place, "convert it, for example with iconv")),
            Err(error) => Err(wrong(format!("the text cannot be read: {error}"), place, "check the file and the disk")),
        }
    }

    /// Returns the next piece: a document of JSON lines, or some lines of a plain text.
    pub(super) fn next_piece(&mut self) -> Result<Option<String>, TokenizerError> {
        match self.field {
            Some(field) => loop {
                let Some(line) = self.read_line()? else { return Ok(None) };
                if !line.trim().is_empty() {
                    return self.document(&line, field).map(Some);
                }
            },
            None => self.plain(),
        }
    }

    fn document(&self, line: &str, field: &str) -> Result<String, TokenizerError> {
        let place = || format!("{}:{}", self.path.display(), self.line);
        let object: Value = serde_json::from_str(line).map_err(|error| {
            wrong(format!("not a line of JSON: {error}"), place(), "write one JSON object per line")
        })?;
        match object.get(field) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => {
                Err(wrong(format!("the field `{field}` is not text"), place(), "name another with --text-field"))
            }
            None => {
                let known: Vec<&str> = object.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
                let advice = format!("name another with --text-field; there is: {}", known.join(", "));
                Err(wrong(format!("there is no field `{field}`"), place(), &advice))
            }
        }
    }

    /// Cuts only where one line end stands between two printed characters. There the words of the pieces are those of
    /// the whole; a cut elsewhere would split a run of white space, which is a word.
    fn plain(&mut self) -> Result<Option<String>, TokenizerError> {
        let mut piece = match self.ahead.take() {
            Some(line) => line,
            None => match self.read_line()? {
                Some(line) => line,
                None => return Ok(None),
            },
        };
        while let Some(line) = self.read_line()? {
            let before = piece.strip_suffix('\n').and_then(|text| text.chars().next_back());
            let cut = before.is_some_and(|c| !c.is_whitespace()) && line.starts_with(|c: char| !c.is_whitespace());
            if cut && piece.len() >= PIECE {
                self.ahead = Some(line);
                break;
            }
            piece.push_str(&line);
        }
        Ok(Some(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_name_files_in_order() {
        let temp = std::env::temp_dir().join(format!("chandlery-corpus-{}", std::process::id()));
        std::fs::create_dir_all(temp.join("a/b")).unwrap();
        for file in ["2.txt", "1.txt", "a/3.txt", "a/b/4.txt", "a/b/.hidden.txt", "a/b/4.md"] {
            std::fs::write(temp.join(file), "x").unwrap();
        }
        let found = |pattern: &str| {
            let files = expand(&[format!("{}/{pattern}", temp.display())]).unwrap_or_default();
            let names = files.iter().map(|file| file.strip_prefix(&temp).unwrap().display().to_string());
            names.collect::<Vec<_>>()
        };
        assert_eq!(found("*.txt"), ["1.txt", "2.txt"]);
        assert_eq!(found("**/*.txt"), ["1.txt", "2.txt", "a/3.txt", "a/b/4.txt"]);
        assert_eq!(found("a/*/?.*"), ["a/b/4.md", "a/b/4.txt"]);
        assert_eq!(found("*.gone"), [""; 0]);
        std::fs::remove_dir_all(temp).unwrap();
    }

    #[test]
    fn pieces_of_a_text_are_cut_where_no_word_is() {
        let path = std::env::temp_dir().join(format!("chandlery-pieces-{}.txt", std::process::id()));
        let text = "word\n\n  indented\n\nmore words here\nand here\n".repeat(5_000);
        std::fs::write(&path, &text).unwrap();
        let mut pieces = Pieces::open(&path, None).unwrap();
        let mut all = Vec::new();
        while let Some(piece) = pieces.next_piece().unwrap() {
            all.push(piece);
        }
        assert!(all.len() > 2);
        assert_eq!(all.concat(), text);
        for piece in &all[1..] {
            assert!(piece.starts_with("word") || piece.starts_with("and"), "{}", &piece[..20]);
        }
        std::fs::remove_file(path).unwrap();
    }
}
