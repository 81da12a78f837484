//! Completion, inspection and completeness from what the engine knows, answered while a cell runs.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use chandlery::cell::short_type_name;
use chandlery::display::MimeBundle;

use super::split::split;
use crate::engine::{Assist, Completeness, Completions};

/// The names in scope: variables with their types, and definitions.
#[derive(Default)]
pub(super) struct Names {
    variables: Mutex<BTreeMap<String, String>>,
    items: Mutex<Vec<String>>,
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
    /// Takes over the state after a cell.
    pub(super) fn set<'a>(
        &self,
        variables: impl Iterator<Item = (&'a str, &'a str)>,
        items: impl Iterator<Item = &'a str>,
    ) {
        let variables = variables.map(|(name, kind)| (name.to_owned(), short_type_name(kind))).collect();
        *self.variables.lock().unwrap_or_else(PoisonError::into_inner) = variables;
        *self.items.lock().unwrap_or_else(PoisonError::into_inner) = items.map(str::to_owned).collect();
    }
}

impl Assist for Names {
    fn complete(&self, code: &str, cursor: usize) -> Completions {
        let before = code.get(..cursor).unwrap_or(code);
        let end = before.len();
        let line = before.rsplit('\n').next().unwrap_or("").trim_start();
        let signed = line.strip_prefix('%').or_else(|| line.strip_prefix(':'));
        if let Some(words) = signed.filter(|words| words.contains(char::is_whitespace)) {
            let (typed, matches) = super::directives::complete(words);
            return Completions { matches, start: end - typed.len(), end };
        }
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let start =
            before.rfind(|c| !word(c)).map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        let typed = &before[start..];
        let mut matches: Vec<String> = if signed.map(|name| name.trim_start_matches('%')) == Some(typed) {
            super::directives::names().map(str::to_owned).collect()
        } else if signed.is_some() || before[..start].ends_with('.') {
            Vec::new()
        } else {
            let variables = self.variables.lock().unwrap_or_else(PoisonError::into_inner);
            let items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
            let always = ALWAYS.iter().map(|name| (*name).to_owned()).filter(|_| !typed.is_empty());
            variables.keys().cloned().chain(items.iter().cloned()).chain(always).collect()
        };
        matches.retain(|name| name.starts_with(typed));
        matches.dedup();
        Completions { matches, start, end }
    }

    fn inspect(&self, code: &str, cursor: usize) -> Option<MimeBundle> {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let cursor = (0..=cursor.min(code.len())).rev().find(|at| code.is_char_boundary(*at))?;
        let start =
            code[..cursor].rfind(|c| !word(c)).map_or(0, |at| at + code[at..].chars().next().map_or(1, char::len_utf8));
        let end = code[cursor..].find(|c| !word(c)).map_or(code.len(), |at| cursor + at);
        let name = code.get(start..end)?;
        let variables = self.variables.lock().unwrap_or_else(PoisonError::into_inner);
        variables.get(name).map(|kind| MimeBundle::text(format!("{name}: {kind}")))
    }

    fn is_complete(&self, code: &str) -> Completeness {
        // An error in a directive is best told by running it.
        let Ok(parsed) = super::directives::parse(code) else { return Completeness::Complete };
        match split(&parsed.rust, 0) {
            Ok(_) => Completeness::Complete,
            Err(error) if error.incomplete => {
                let last = code.lines().last().unwrap_or("");
                let indent: String = last.chars().take_while(|c| *c == ' ').collect();
                let deeper = if last.trim_end().ends_with(['{', '(', '[']) { "    " } else { "" };
                Completeness::Incomplete(indent + deeper)
            }
            Err(_) => Completeness::Invalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completes_variables_and_verbs() {
        let names = Names::default();
        names.set([("model", "a::Model")].into_iter(), ["modify"].into_iter());
        let found = names.complete("let x = mod", 11);
        assert_eq!((found.start, found.end), (8, 11));
        assert_eq!(found.matches, ["model", "modify"]);
        assert_eq!(names.complete("%con", 4).matches, ["convert"]);
        let found = names.complete("%model -p qwen3 construct --hid", 31);
        assert_eq!((found.start, found.end, found.matches), (26, 31, vec!["--hidden-size".to_owned()]));
        assert!(names.complete("x.mod", 5).matches.is_empty());
        assert_eq!(names.inspect("f(model)", 4).unwrap().plain(), "model: Model");
        assert_eq!(names.inspect("f(other)", 4), None);
    }

    #[test]
    fn completeness() {
        let names = Names::default();
        assert_eq!(names.is_complete("%help\nlet x = 1;"), Completeness::Complete);
        assert_eq!(names.is_complete("for i in 0..3 {"), Completeness::Incomplete("    ".into()));
        assert_eq!(names.is_complete("let = 3;"), Completeness::Invalid);
    }
}
