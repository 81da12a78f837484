//! The cells of this session, for `history_request`.

use jupyter_protocol::{HistoryEntry, HistoryReply};
use serde::Deserialize;

/// One remembered cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its execution count.
    pub number: u32,
    /// Its source.
    pub code: String,
    /// The text of its result, if it had one.
    pub result: Option<String>,
}

/// Every counted cell of a session, oldest first. Kept in memory only.
#[derive(Debug, Default)]
pub struct History {
    entries: Vec<Entry>,
}

/// Front ends leave out what they do not need, so every field has a default.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct HistoryQuery {
    hist_access_type: String,
    output: bool,
    session: Option<i64>,
    start: Option<i64>,
    stop: Option<i64>,
    n: Option<usize>,
    pattern: Option<String>,
    unique: bool,
}

impl Default for HistoryQuery {
    fn default() -> Self {
        Self {
            hist_access_type: "tail".to_owned(),
            output: false,
            session: None,
            start: None,
            stop: None,
            n: None,
            pattern: None,
            unique: false,
        }
    }
}

/// The number this session has in history replies; there is no other, because nothing is kept on disk.
const THIS_SESSION: usize = 1;

impl History {
    pub(super) fn push(&mut self, number: u32, code: &str, result: Option<String>) {
        self.entries.push(Entry { number, code: code.to_owned(), result });
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn answer(&self, query: &HistoryQuery) -> HistoryReply {
        let found = match query.hist_access_type.as_str() {
            "range" => self.range(query),
            "search" => self.search(query),
            _ => tail(self.entries.iter().collect(), query.n),
        };
        let entry = |entry: &Entry| {
            let (number, code) = (entry.number as usize, entry.code.clone());
            if query.output {
                HistoryEntry::InputOutput(THIS_SESSION, number, (code, entry.result.clone().unwrap_or_default()))
            } else {
                HistoryEntry::Input(THIS_SESSION, number, code)
            }
        };
        HistoryReply::new(found.into_iter().map(entry).collect())
    }

    /// Numbers `start..stop` of this session, which front ends call 0 or 1; earlier ones (negative) are not kept.
    fn range(&self, query: &HistoryQuery) -> Vec<&Entry> {
        if !matches!(query.session.unwrap_or(0), 0 | 1) {
            return Vec::new();
        }
        let start = query.start.unwrap_or(0);
        let stop = query.stop.unwrap_or(i64::MAX);
        self.entries.iter().filter(|entry| (start..stop).contains(&i64::from(entry.number))).collect()
    }

    fn search(&self, query: &HistoryQuery) -> Vec<&Entry> {
        let pattern: Vec<char> = query.pattern.as_deref().unwrap_or("*").chars().collect();
        let mut found: Vec<&Entry> = Vec::new();
        for entry in &self.entries {
            if !glob(&pattern, &entry.code.chars().collect::<Vec<_>>()) {
                continue;
            }
            if query.unique {
                found.retain(|earlier| earlier.code != entry.code);
            }
            found.push(entry);
        }
        tail(found, query.n)
    }
}

fn tail(mut entries: Vec<&Entry>, n: Option<usize>) -> Vec<&Entry> {
    let skip = n.map_or(0, |n| entries.len().saturating_sub(n));
    entries.drain(..skip);
    entries
}

/// Shell-style matching of the whole text: `*` any text, `?` any one character.
fn glob(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    p = star + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
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
}
