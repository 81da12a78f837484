//! The history of all sessions of a user, on disk: a JSON line for each cell.

use std::fs::{File, OpenOptions};
use std::io::{Error, Result, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Above this size the file is truncated when a kernel starts.
const FULL: usize = 8 << 20;
/// The size that truncating keeps, of the newest lines.
const KEPT: usize = 4 << 20;
/// Results are kept up to this many characters.
const RESULT: usize = 2000;

/// One line: a cell, or the mark with which a session took its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HistoryLine {
    pub(super) session: usize,
    /// The cell's number; 0 in a mark.
    pub(super) number: u32,
    pub(super) code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<String>,
}

/// The file, shared by all kernels of a user.
#[derive(Debug)]
pub(super) struct HistoryFile {
    path: PathBuf,
}

impl HistoryFile {
    /// Opens the file, and takes a number that no other session has.
    pub(super) fn begin(path: PathBuf) -> Result<(Self, usize)> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = Self { path };
        let _lock = file.lock()?;
        let text = file.text();
        if text.len() > FULL {
            file.replace(newest(&text))?;
        }
        let session = parse(&text).map(|line| line.session).max().unwrap_or(0) + 1;
        file.write(&HistoryLine { session, number: 0, code: String::new(), result: None })?;
        Ok((file, session))
    }

    /// Adds a cell.
    pub(super) fn add(&self, mut line: HistoryLine) -> Result<()> {
        line.result = line.result.map(|result| result.chars().take(RESULT).collect());
        let _lock = self.lock()?;
        self.write(&line)
    }

    /// Returns the cells of all sessions, in the order in which they ran.
    pub(super) fn cells(&self) -> Vec<HistoryLine> {
        parse(&self.text()).filter(|line| line.number > 0).collect()
    }

    /// Lines that are not text, because of a crash while they were written, are skipped.
    fn text(&self) -> String {
        std::fs::read(&self.path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Takes the lock until it is dropped. It is not the file itself, because truncating replaces the file.
    fn lock(&self) -> Result<File> {
        let lock = open(&self.path.with_extension("lock"), false)?;
        lock.lock()?;
        Ok(lock)
    }

    fn write(&self, line: &HistoryLine) -> Result<()> {
        let mut text = serde_json::to_string(line).map_err(Error::other)?;
        text.push('\n');
        open(&self.path, true)?.write_all(text.as_bytes())
    }

    fn replace(&self, text: &str) -> Result<()> {
        let beside = self.path.with_extension("new");
        let _ = std::fs::remove_file(&beside);
        open(&beside, true)?.write_all(text.as_bytes())?;
        std::fs::rename(&beside, &self.path)
    }
}

/// Readable only by its user: cells may contain keys and passwords.
fn open(path: &Path, append: bool) -> Result<File> {
    OpenOptions::new().create(true).append(append).write(true).truncate(false).mode(0o600).open(path)
}

fn parse(text: &str) -> impl Iterator<Item = HistoryLine> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok())
}

/// Returns the last whole lines that fit into the kept size.
fn newest(text: &str) -> &str {
    let bytes = text.as_bytes();
    let from = bytes.len().saturating_sub(KEPT);
    let whole = bytes[from..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |at| from + at + 1);
    &text[whole..]
}

/// A folder of a test, which is removed after it.
#[cfg(test)]
pub(super) struct Scratch(pub(super) PathBuf);

#[cfg(test)]
impl Scratch {
    pub(super) fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("chandlery-history-{name}-{}", std::process::id())))
    }
}

#[cfg(test)]
impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(session: usize, number: u32, code: &str) -> HistoryLine {
        HistoryLine { session, number, code: code.to_owned(), result: None }
    }

    #[test]
    fn sessions_have_distinct_numbers_and_see_each_other() {
        let folder = Scratch::new("sessions");
        let path = folder.0.join("below/history.jsonl");
        let (first, one) = HistoryFile::begin(path.clone()).unwrap();
        let (second, two) = HistoryFile::begin(path.clone()).unwrap();
        assert_eq!((one, two), (1, 2));
        first.add(line(1, 1, "let a = 1;\nlet b = 2;")).unwrap();
        second.add(line(2, 1, "c")).unwrap();
        assert_eq!(first.cells(), [line(1, 1, "let a = 1;\nlet b = 2;"), line(2, 1, "c")]);

        // A line that a crash truncated.
        open(&path, true).unwrap().write_all(b"{\"session\": 2, \"num\xff\n").unwrap();
        assert_eq!(second.cells().len(), 2);
        assert_eq!(HistoryFile::begin(path).unwrap().1, 3);
    }

    #[test]
    fn a_full_file_keeps_its_newest_cells() {
        let folder = Scratch::new("full");
        let path = folder.0.join("history.jsonl");
        let (file, session) = HistoryFile::begin(path.clone()).unwrap();
        let long = "ä".repeat(FULL / 8);
        for number in 1..=6 {
            file.add(line(session, number, &long)).unwrap();
        }
        let (file, session) = HistoryFile::begin(path.clone()).unwrap();
        assert_eq!(session, 2);
        assert!(std::fs::metadata(&path).unwrap().len() <= KEPT as u64 + 100);
        let numbers: Vec<u32> = file.cells().iter().map(|line| line.number).collect();
        assert_eq!(numbers, [6], "each is above 2 MB");
    }
}
