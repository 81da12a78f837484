//! Completion of directives: names, flags and configurations of verbs, paths. It never waits.

use std::path::Path;

use super::{list, written};
use crate::engine::direct::assist::paths;

/// What the text before the cursor is.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::engine::direct) enum Completed<'a> {
    /// A directive, with the completions of its last word.
    Words { typed: &'a str, matches: Vec<String> },
    /// Rust code.
    Rust,
}

/// Completes the end of a text on the line of a directive or in a shell script.
/// Paths are relative to `folder`.
pub(in crate::engine::direct) fn complete<'a>(before: &'a str, folder: &Path) -> Completed<'a> {
    let line = before.rsplit('\n').next().unwrap_or("").trim_start();
    let first = before.lines().find(|line| !line.trim().is_empty()).map(str::trim).unwrap_or("");
    let is_script = written(first).is_some_and(|w| w.whole && list::find(w.name).is_some_and(|e| e.name == "bash"));
    let typed = line.rsplit(char::is_whitespace).next().unwrap_or("");
    if is_script && !std::ptr::eq(line, first) && before.trim_start().contains('\n') {
        return Completed::Words { typed, matches: paths::complete(typed, folder) };
    }
    let Some(signed) = line.strip_prefix('%').or_else(|| line.strip_prefix(':').filter(|rest| !rest.starts_with(':')))
    else {
        return Completed::Rust;
    };
    let words = signed.trim_start_matches('%');
    let Some((name, rest)) = words.split_once(char::is_whitespace) else {
        let mut matches: Vec<String> =
            list::names().filter(|name| name.starts_with(words)).map(str::to_owned).collect();
        matches.dedup();
        return Completed::Words { typed: words, matches };
    };
    let one_of = |all: &[&str]| all.iter().filter(|word| word.starts_with(typed)).map(|w| (*w).to_owned()).collect();
    let matches = match list::find(name).map(|entry| entry.name) {
        Some("time") if !rest.trim().is_empty() => return Completed::Rust,
        Some("bash") => paths::complete(typed, folder),
        Some("timing") => one_of(&["on", "off"]),
        Some("opt") => one_of(&["0", "1", "2", "3"]),
        Some(_) => Vec::new(),
        None => verb(&words[..words.len() - typed.len()], typed, folder),
    };
    Completed::Words { typed, matches }
}

/// Completes the words of one of the toolkit's verbs, or paths where it expects none of its words.
fn verb(before: &str, typed: &str, folder: &Path) -> Vec<String> {
    // An unclosed quote is the word being typed.
    let before = crate::worker::words::split(before).unwrap_or_default();
    let mut found = chandlery::command::complete(&before, typed);
    if found.is_empty() || typed.contains('/') && !typed.starts_with('-') {
        match typed.split_once('=').filter(|_| typed.starts_with("--")) {
            Some((flag, path)) => {
                found.extend(paths::complete(path, folder).into_iter().map(|path| format!("{flag}={path}")))
            }
            None if typed.starts_with('-') => {}
            None => {
                found.extend(paths::complete(typed, folder));
                found.sort();
                found.dedup();
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(before: &str) -> Vec<String> {
        match complete(before, Path::new(".")) {
            Completed::Words { matches, .. } => matches,
            Completed::Rust => panic!("{before} is not a directive"),
        }
    }

    #[test]
    fn names_after_either_sign() {
        assert_eq!(words("%con"), ["convert"]);
        assert_eq!(words("let x = 1;\n:ti"), ["time", "timing"]);
        assert_eq!(words("%%rel"), ["release"]);
        assert_eq!(complete("let x = y::z", Path::new(".")), Completed::Rust);
        assert_eq!(complete("::std", Path::new(".")), Completed::Rust);
    }

    #[test]
    fn flags_configurations_and_values_of_words() {
        assert_eq!(words("%model -p qwen3 construct --hid"), ["--hidden-size"]);
        assert!(words("%model -p llama -t 4").contains(&"4M".to_owned()));
        assert!(words("%model -p lla").contains(&"llama".to_owned()));
        assert_eq!(words("%timing o"), ["on", "off"]);
        assert!(words("%vars x").is_empty());
    }

    #[test]
    fn paths_and_code_where_they_belong() {
        // Tests run in the folder of their package.
        assert_eq!(words("%inspect sr"), ["src/"]);
        assert_eq!(words("%bash cat Cargo.to"), ["Cargo.toml"]);
        assert_eq!(words("%%bash\ncat src/m"), ["src/main.rs"]);
        assert_eq!(complete("%time model.for", Path::new(".")), Completed::Rust);
    }
}
