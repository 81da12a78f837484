//! The cells of this and earlier sessions, for `history_request`.

use std::collections::HashSet;
use std::path::PathBuf;

use jupyter_protocol::{HistoryEntry, HistoryReply};
use wildmatch::WildMatch;

use super::history_file::{HistoryFile, HistoryLine};
use crate::log::log;
use crate::server::HistoryRequest;

/// A remembered cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its execution count.
    pub number: u32,
    /// Its source.
    pub code: String,
    /// The text of its result, if it had one.
    pub result: Option<String>,
}

/// Every counted cell of a session, oldest first, and the file for those of all sessions.
#[derive(Debug, Default)]
pub struct History {
    entries: Vec<Entry>,
    kept: Option<(HistoryFile, usize)>,
}

/// The environment variable that names the history file, or is `off`.
const PLACE: &str = "CHANDLERY_HISTORY";

/// The number of a session whose history is not kept.
const ONLY_SESSION: usize = 1;

impl History {
    /// Opens this user's history: in the file that `CHANDLERY_HISTORY` names, or in the user's data folder.
    /// It is only in memory if that variable is `off`, or if the file cannot be written.
    pub fn of_this_user() -> Self {
        let named = std::env::var_os(PLACE).filter(|place| !place.is_empty());
        let path = match named {
            Some(place) if place == "off" => None,
            Some(place) => Some(PathBuf::from(place)),
            None => data_folder().map(|folder| folder.join("chandlery").join("history.jsonl")),
        };
        path.map_or_else(Self::default, Self::kept_in)
    }

    /// Opens a history that is kept in a file, together with that of other sessions.
    pub fn kept_in(path: PathBuf) -> Self {
        match HistoryFile::begin(path.clone()) {
            Ok(kept) => Self { entries: Vec::new(), kept: Some(kept) },
            Err(error) => {
                log(format_args!("the history is not kept: {}: {error}", path.display()));
                Self::default()
            }
        }
    }

    fn session(&self) -> usize {
        self.kept.as_ref().map_or(ONLY_SESSION, |(_, session)| *session)
    }

    pub(super) fn push(&mut self, number: u32, code: &str, result: Option<String>) {
        if let Some((file, session)) = &self.kept {
            let line = HistoryLine { session: *session, number, code: code.to_owned(), result: result.clone() };
            if let Err(error) = file.add(line) {
                log(format_args!("cell {number} is not in the kept history: {error}"));
            }
        }
        self.entries.push(Entry { number, code: code.to_owned(), result });
    }

    /// Returns the cells of this session, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the cells of all sessions, with those of this session last, even if the file was lost.
    fn all(&self) -> Vec<(usize, Entry)> {
        let session = self.session();
        let earlier = self.kept.iter().flat_map(|(file, _)| file.cells()).filter(|line| line.session != session);
        let earlier =
            earlier.map(|HistoryLine { session, number, code, result }| (session, Entry { number, code, result }));
        earlier.chain(self.entries.iter().map(|entry| (session, entry.clone()))).collect()
    }

    /// Returns the cells that a front end asks for.
    pub fn answer(&self, query: &HistoryRequest) -> HistoryReply {
        let found = match query.hist_access_type.as_str() {
            "range" => self.range(query),
            "search" => self.search(query),
            _ => tail(self.all(), query.n),
        };
        let entry = |(session, Entry { number, code, result }): (usize, Entry)| {
            if query.output {
                HistoryEntry::InputOutput(session, number as usize, (code, result.unwrap_or_default()))
            } else {
                HistoryEntry::Input(session, number as usize, code)
            }
        };
        HistoryReply::new(found.into_iter().map(entry).collect())
    }

    /// Returns the cells `start..stop` of one session: 0 is this one, -1 the one before.
    fn range(&self, query: &HistoryRequest) -> Vec<(usize, Entry)> {
        let wanted = match query.session.unwrap_or(0) {
            back @ ..=0 => i64::try_from(self.session()).unwrap_or(i64::MAX).saturating_add(back),
            session => session,
        };
        let numbers = query.start.unwrap_or(0)..query.stop.unwrap_or(i64::MAX);
        let inside = |(session, entry): &(usize, Entry)| {
            i64::try_from(*session) == Ok(wanted) && numbers.contains(&i64::from(entry.number))
        };
        self.all().into_iter().filter(inside).collect()
    }

    fn search(&self, query: &HistoryRequest) -> Vec<(usize, Entry)> {
        // `*` matches any text, `?` any one character.
        let pattern = WildMatch::new(query.pattern.as_deref().unwrap_or("*"));
        let mut found = self.all();
        found.retain(|(_, entry)| pattern.matches(&entry.code));
        if query.unique {
            let mut seen = HashSet::new();
            found.reverse();
            found.retain(|(_, entry)| seen.insert(entry.code.clone()));
            found.reverse();
        }
        tail(found, query.n)
    }
}

fn tail(mut entries: Vec<(usize, Entry)>, n: Option<usize>) -> Vec<(usize, Entry)> {
    let skip = n.map_or(0, |n| entries.len().saturating_sub(n));
    entries.drain(..skip);
    entries
}

/// Returns the folder for the data of a user.
fn data_folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
}

#[cfg(test)]
mod tests {
    use super::super::history_file::Scratch;
    use super::*;

    fn history() -> History {
        let mut history = History::default();
        history.push(1, "let a = 1;", None);
        history.push(2, "a + 1", Some("2".to_owned()));
        history.push(3, "a + 1", Some("2".to_owned()));
        history
    }

    fn numbers(query: serde_json::Value) -> Vec<usize> {
        let query = serde_json::from_value(query).unwrap();
        let entries = history().answer(&query).history;
        entries
            .iter()
            .map(|entry| match entry {
                HistoryEntry::Input(_, number, _) | HistoryEntry::InputOutput(_, number, _) => *number,
            })
            .collect()
    }

    #[test]
    fn tail_range_and_search() {
        use serde_json::json;
        assert_eq!(numbers(json!({"hist_access_type": "tail", "n": 2})), [2, 3]);
        assert_eq!(numbers(json!({"hist_access_type": "range", "start": 1, "stop": 3})), [1, 2]);
        assert_eq!(numbers(json!({"hist_access_type": "range", "session": -1})), [0usize; 0]);
        assert_eq!(numbers(json!({"hist_access_type": "search", "pattern": "a*1"})), [2, 3]);
        assert_eq!(numbers(json!({"hist_access_type": "search", "pattern": "*=?1;", "n": 5})), [1]);
        assert_eq!(numbers(json!({"hist_access_type": "search", "pattern": "a*", "unique": true})), [3]);
    }

    #[test]
    fn earlier_sessions_are_found_by_number_or_by_counting_back() {
        use serde_json::json;
        let folder = Scratch::new("earlier");
        let path = folder.0.join("history.jsonl");
        let mut first = History::kept_in(path.clone());
        first.push(1, "let a = 1;", None);
        first.push(2, "a + 1", Some("2".to_owned()));
        let mut second = History::kept_in(path);
        second.push(1, "a + 1", Some("5".to_owned()));
        let answer = |query| {
            let reply = second.answer(&serde_json::from_value(query).unwrap());
            serde_json::to_value(reply.history).unwrap()
        };
        assert_eq!(answer(json!({"hist_access_type": "tail", "n": 2})), json!([[1, 2, "a + 1"], [2, 1, "a + 1"]]));
        assert_eq!(answer(json!({"hist_access_type": "range", "session": 0})), json!([[2, 1, "a + 1"]]));
        assert_eq!(
            answer(json!({"hist_access_type": "range", "session": -1, "start": 2, "output": true})),
            json!([[1, 2, ["a + 1", "2"]]])
        );
        assert_eq!(
            answer(json!({"hist_access_type": "range", "session": 1, "stop": 2})),
            json!([[1, 1, "let a = 1;"]])
        );
        assert_eq!(
            answer(json!({"hist_access_type": "search", "pattern": "*", "unique": true})),
            json!([[1, 1, "let a = 1;"], [2, 1, "a + 1"]])
        );
    }

    #[test]
    fn an_unwritable_file_leaves_the_history_in_memory() {
        let mut history = History::kept_in(PathBuf::from("/proc/nowhere/history.jsonl"));
        history.push(1, "a", None);
        assert_eq!(history.answer(&HistoryRequest::default()).history.len(), 1);
    }
}
