//! Completion, inspection and completeness from what the engine knows, answered while a cell runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use chandlery::cell::{Variable, short_type_name};
use chandlery::display::MimeBundle;

use super::paths;
use super::subject;
use crate::engine::direct::directives;
use crate::engine::direct::read::attributes;
use crate::engine::direct::read::split::split;
use crate::engine::direct::read::syntax::{self, Open};
use crate::engine::{Assist, Completeness, Completions, VariableSummary};
use crate::language::{Language, LanguageReply, documentation};

/// The names in scope: variables with their types, and definitions.
#[derive(Default)]
pub(crate) struct Names {
    variables: Mutex<BTreeMap<String, String>>,
    /// A short description of each variable's value. May contain variables that no longer exist.
    values: Mutex<BTreeMap<String, String>>,
    items: Mutex<Vec<String>>,
    scope: Mutex<String>,
    /// The process whose working folder is the one that cells see.
    worker: Mutex<Option<u32>>,
    language: Option<Language>,
}

/// Names that are in scope without an import.
const ALWAYS: &[&str] = &[
    "MimeBundle",
    "View",
    "emit",
    "chandlery",
    "println!",
    "print!",
    "format!",
    "vec!",
    "assert!",
    "assert_eq!",
    "Vec",
    "String",
    "Option",
    "Some",
    "None",
    "Result",
    "Ok",
    "Err",
    "Box",
    "let",
    "let mut",
    "fn",
    "struct",
    "enum",
    "impl",
    "for",
    "while",
    "match",
    "true",
    "false",
    "use",
    "return",
];

impl Names {
    /// Creates the names with a language process, which is asked first.
    pub(crate) fn with(language: Language) -> Self {
        Self { language: Some(language), ..Self::default() }
    }

    /// Sets the names after a cell. `scope` is their source, for the language process.
    pub(crate) fn set<'a>(
        &self,
        variables: impl Iterator<Item = (&'a str, &'a str)>,
        items: impl Iterator<Item = &'a str>,
        scope: String,
    ) {
        let variables = variables.map(|(name, kind)| (name.to_owned(), short_type_name(kind))).collect();
        *lock(&self.variables) = variables;
        *lock(&self.items) = items.map(str::to_owned).collect();
        *lock(&self.scope) = scope;
    }

    /// Sets the process that runs the cells.
    pub(crate) fn set_worker(&self, worker: Option<u32>) {
        *lock(&self.worker) = worker;
    }

    /// Returns the working folder of the cells.
    fn folder(&self) -> PathBuf {
        let worker = *lock(&self.worker);
        let folder = worker.and_then(|id| std::fs::read_link(format!("/proc/{id}/cwd")).ok());
        folder.unwrap_or_else(|| PathBuf::from("."))
    }

    /// Returns the language process, if the engine has one.
    pub(crate) fn language(&self) -> Option<&Language> {
        self.language.as_ref()
    }

    /// Asks the language process about `code`, with everything in scope that earlier cells left. Returns the answer and the
    /// offset to add to its positions to get positions in `code`.
    fn ask(&self, code: &str, cursor: usize, inspect: bool, since: Instant) -> Option<(LanguageReply, isize)> {
        let language = self.language.as_ref()?;
        // The line of a directive contains no Rust, so the text before the cursor is as long as the Rust part alone.
        let before = directives::parse(code.get(..cursor)?).ok()?.rust;
        let mut text = lock(&self.scope).clone();
        if text.is_empty() {
            text.push_str(PRELUDE);
        }
        text.push_str(&before);
        let sent = text.len();
        text.push_str(code.get(cursor..)?);
        let shift = cursor.checked_signed_diff(sent)?;
        Some((language.ask(&text, sent, inspect, since)?, shift))
    }

    /// Returns what the language process finds by analyzing the code.
    fn analyzed(&self, code: &str, cursor: usize) -> Option<Completions> {
        let (LanguageReply::Completions { matches, start, end, .. }, shift) =
            self.ask(code, cursor, false, Instant::now())?
        else {
            return None;
        };
        let (start, end) = (start.checked_add_signed(shift)?, end.checked_add_signed(shift)?);
        // The front end replaces this range of its text, so it must be a valid range.
        code.get(start..end).filter(|_| !matches.is_empty())?;
        let (matches, kinds) = matches.into_iter().map(|found| (found.text, found.kind)).unzip();
        Some(Completions { matches, kinds, start, end })
    }

    /// Completes inside a string literal: paths, or the variables that a format string prints.
    fn in_text(&self, text: &str, code: &str, cursor: usize) -> Completions {
        let is_format = text.rfind('{').is_some_and(|open| !text[open..].contains('}'));
        let matches = if is_format || text.contains('\n') { Vec::new() } else { paths::complete(text, &self.folder()) };
        if matches.is_empty() {
            let nothing = Completions { start: cursor, end: cursor, ..Completions::default() };
            return if is_format { self.analyzed(code, cursor).unwrap_or(nothing) } else { nothing };
        }
        let kinds = vec!["path".to_owned(); matches.len()];
        Completions { matches, kinds, start: cursor - text.len(), end: cursor }
    }

    /// Returns what is known about a name without analyzing code.
    fn named(&self, before: &str) -> Completions {
        let start = subject::word_start(before);
        let typed = &before[start..];
        let mut found: Vec<(String, &str)> = Vec::new();
        if !before[..start].ends_with('.') {
            found.extend(lock(&self.variables).keys().map(|name| (name.clone(), "instance")));
            found.extend(lock(&self.items).iter().map(|name| (name.clone(), "")));
            let always = ALWAYS.iter().filter(|_| !typed.is_empty());
            found.extend(always.map(|name| ((*name).to_owned(), "")));
        }
        found.retain(|(name, _)| name.starts_with(typed));
        found.dedup_by(|later, earlier| later.0 == earlier.0);
        let (matches, kinds) = found.into_iter().map(|(name, kind)| (name, kind.to_owned())).unzip();
        Completions { matches, kinds, start, end: before.len() }
    }
}

/// The first line of every cell.
pub(crate) const PRELUDE: &str = "use chandlery::prelude::*;\n";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Names {
    /// Sets the descriptions of values that the worker sent.
    pub(crate) fn set_values(&self, stored: &[Variable]) {
        let values = stored.iter().map(|variable| (variable.name.clone(), variable.summary.clone())).collect();
        *lock(&self.values) = values;
    }
}

impl Assist for Names {
    fn complete(&self, code: &str, cursor: usize) -> Completions {
        let before = code.get(..cursor).unwrap_or(code);
        match directives::complete(before, &self.folder()) {
            directives::Completed::Words { typed, matches } => {
                let kinds = vec!["magic".to_owned(); matches.len()];
                let end = before.len();
                Completions { matches, kinds, start: end - typed.len(), end }
            }
            directives::Completed::Rust => match subject::text(before) {
                Some(text) => self.in_text(text, code, cursor),
                None => self.analyzed(code, cursor).unwrap_or_else(|| self.named(before)),
            },
        }
    }

    fn inspect(&self, code: &str, cursor: usize) -> Option<MimeBundle> {
        let cursor = (0..=cursor.min(code.len())).rev().find(|at| code.is_char_boundary(*at))?;
        if let Some(help) = directives::explain(code, cursor) {
            return Some(help);
        }
        let directives::Completed::Rust = directives::complete(&code[..cursor], Path::new(".")) else { return None };
        let since = Instant::now();
        let documented = |at: usize| match self.ask(code, at, true, since) {
            Some((LanguageReply::Inspection { html, .. }, _)) => Some(documentation::bundle(&html)),
            _ => None,
        };
        let word = subject::word(code, cursor);
        // A configuration field is explained if it is asked for by name, or if nothing else is known.
        let field = word.map(|(start, end)| &code[start..end]).and_then(|name| {
            let field = chandlery::command::explain_field(name).map(MimeBundle::text)?;
            Some((field, code.trim_matches(['?', ' ', '\n']) == name && !lock(&self.variables).contains_key(name)))
        });
        if let Some((field, true)) = field {
            return Some(field);
        }
        let known = word.and_then(|(start, end)| {
            // The called function is found by its opening parenthesis.
            let called = end + usize::from(code[end..].starts_with('('));
            let typed = |name: &str| Some(MimeBundle::text(format!("{name}: {}", lock(&self.variables).get(name)?)));
            documented(called).or_else(|| typed(&code[start..end]))
        });
        let known = known.or_else(|| documented(subject::call(code, cursor)?));
        let known = known.or_else(|| field.map(|(field, _)| field));
        known.or_else(|| word.and_then(|_| Some(MimeBundle::text(self.language.as_ref()?.excuse()?))))
    }

    fn is_complete(&self, code: &str) -> Completeness {
        // An error in a directive is best reported by running it.
        let Ok(parsed) = directives::parse(code) else { return Completeness::Complete };
        let Ok(apart) = attributes::apart(&parsed.rust) else { return Completeness::Complete };
        match split(&apart.code, 0) {
            Ok(_) => Completeness::Complete,
            Err(_) if syntax::can_go_on(&apart.code) => {
                if syntax::open(&apart.code) == Open::Text {
                    // Blanks would be part of the string.
                    return Completeness::Incomplete(String::new());
                }
                let last = code.lines().last().unwrap_or("");
                let indent: String = last.chars().take_while(|c| *c == ' ').collect();
                let deeper = if last.trim_end().ends_with(['{', '(', '[']) { "    " } else { "" };
                Completeness::Incomplete(indent + deeper)
            }
            Err(_) => Completeness::Invalid,
        }
    }

    fn variables(&self) -> Vec<VariableSummary> {
        let variables = self.variables.lock().unwrap_or_else(PoisonError::into_inner);
        let values = lock(&self.values);
        let summary = |(name, kind): (&String, &String)| VariableSummary {
            name: name.clone(),
            type_name: kind.clone(),
            value: values.get(name).cloned(),
        };
        variables.iter().map(summary).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completes_variables_and_verbs() {
        let names = Names::default();
        names.set([("model", "a::Model")].into_iter(), ["modify"].into_iter(), String::new());
        let found = names.complete("let x = mod", 11);
        assert_eq!((found.start, found.end), (8, 11));
        assert_eq!(found.matches, ["model", "modify"]);
        assert_eq!(names.complete("%con", 4).matches, ["convert"]);
        let found = names.complete("%model -p qwen3 construct --hid", 31);
        assert_eq!((found.start, found.end, found.matches), (26, 31, vec!["--hidden-size".to_owned()]));
        assert!(names.complete("x.mod", 5).matches.is_empty());
        assert_eq!(names.inspect("f(model)", 4).unwrap().plain(), "model: Model");
        assert_eq!(names.inspect("f(other)", 4), None);
        assert!(names.inspect("?sliding_window", 5).unwrap().plain().starts_with("sliding_window: "));
    }

    #[test]
    fn paths_complete_in_texts_and_names_do_not() {
        let names = Names::default();
        names.set([("source", "i32")].into_iter(), [].into_iter(), String::new());
        // Tests run in the folder of their package.
        let code = "let t = std::fs::read(\"src/mai";
        let found = names.complete(code, code.len());
        assert_eq!((&code[found.start..], found.matches), ("src/mai", vec!["src/main.rs".to_owned()]));
        assert_eq!(names.complete("f(\"sr", 5).matches, ["src/"]);
        assert!(names.complete("f(\"sour", 7).matches.is_empty());
        assert_eq!(names.complete("f(\"a\", sour", 11).matches, ["source"]);
        assert!(names.inspect("%convert", 8).unwrap().plain().contains("Usage: %convert"));
    }

    #[test]
    fn completeness() {
        let names = Names::default();
        assert_eq!(names.is_complete("%help\nlet x = 1;"), Completeness::Complete);
        assert_eq!(names.is_complete("for i in 0..3 {"), Completeness::Incomplete("    ".into()));
        assert_eq!(names.is_complete("let = 3;"), Completeness::Invalid);
        assert_eq!(names.is_complete("#![allow(unused)]"), Completeness::Complete);
        assert_eq!(names.is_complete("    let s = \"open ("), Completeness::Incomplete(String::new()));
    }
}
