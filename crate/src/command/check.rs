//! The words of a command, read without running it.

use clap::{Command, FromArgMatches};

use super::arguments::{Named, value_among, verb_with_declared};
use super::verbs::{Verb, parser};
use super::{Failure, names_project, read};
use crate::project::Project;

/// What is known about a command without running it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// The type of its result, as a cell may write it; `None` if it has none.
    pub type_path: Option<&'static str>,
    /// What could not be checked.
    pub note: Option<String>,
}

/// Reads words as [`run`](super::run) does, and runs nothing: names, flags, values, the project, its arguments and
/// configurations. A project or configuration in a folder may yet be made by an earlier command, so that it is not there
/// is a note and no failure. Files and model folders are not looked for.
///
/// # Errors
/// [`Failure`], as `run` would fail before its work begins; a request for help, too.
pub fn check(words: &[String]) -> Result<Checked, Failure> {
    let absent = if names_project(words) { absent_project(words) } else { None };
    if absent.is_some() {
        // Which arguments it declares is not known, so flags that are not ours may be its own.
        let parser = parser(verb_with_declared(words, None));
        let words = without_unknown_flags(words, &parser);
        let verb = Verb::from_arg_matches(&parser.try_get_matches_from(words)?)?;
        return Ok(Checked { type_path: verb.work().result_type(), note: absent });
    }
    let named = if names_project(words) { Some(Named::among(words)?) } else { None };
    let parser = parser(verb_with_declared(words, named.as_ref()));
    let (verb, _) = read(&parser.try_get_matches_from(words)?, named.as_ref())?;
    let config = value_among(words, "-t", "--config-template");
    let note = match (&named, config) {
        (Some(Named { project, .. }), Some(config)) => match (project.config(config), project.folder()) {
            (Ok(_), _) => None,
            (Err(error), None) => return Err(error.into()),
            (Err(error), Some(_)) => Some(error.to_string()),
        },
        _ => None,
    };
    Ok(Checked { type_path: verb.work().result_type(), note })
}

/// Says so if the project is named by a folder that does not exist.
fn absent_project(words: &[String]) -> Option<String> {
    let name = value_among(words, "-p", "--project-dir")?;
    let absent = !Project::names().iter().any(|known| known == name) && !std::path::Path::new(name).exists();
    // A name without `/` is that of a built-in project, so it is wrong.
    (absent && name.contains('/'))
        .then(|| format!("there is no project at `{name}` yet, so its arguments are not known"))
}

/// The words without the flags that are not the command's own, and their values.
fn without_unknown_flags(words: &[String], command: &Command) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let flag = word.strip_prefix("--").and_then(|flag| flag.split('=').next());
        if flag.is_none_or(|flag| flag == "help" || has_flag(command, flag)) {
            kept.push(word.clone());
        } else if !word.contains('=') {
            words.next_if(|value| !value.starts_with('-') && !has_subcommand(command, value));
        }
    }
    kept
}

fn has_flag(command: &Command, flag: &str) -> bool {
    command.get_arguments().any(|argument| argument.get_long() == Some(flag))
        || command.get_subcommands().any(|inner| has_flag(inner, flag))
}

fn has_subcommand(command: &Command, name: &str) -> bool {
    command.get_subcommands().any(|inner| inner.get_name() == name || has_subcommand(inner, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(line: &str) -> Result<Checked, Failure> {
        check(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    fn refused(line: &str) -> String {
        match checked(line).unwrap_err() {
            Failure::Usage { text, .. } => text,
            Failure::Failed { diagnostic, .. } => diagnostic.to_string(),
            Failure::Interrupted => "interrupted".to_owned(),
        }
    }

    #[test]
    fn the_type_of_the_result_is_known_without_the_work() {
        let keeps = |line: &str| checked(line).unwrap().type_path;
        assert_eq!(keeps("convert a/b c/d"), Some("chandlery::Conversion"));
        assert_eq!(keeps("-p llama model construct"), Some("chandlery::Construction"));
        assert_eq!(keeps("model test --steps 3"), Some("chandlery::smoke_test::SmokeTestReport"));
        assert_eq!(keeps("tokenizer chat a --messages b"), Some("String"));
        assert_eq!(keeps("compare a --reference b"), None);
        assert_eq!(keeps("compare a b"), Some("chandlery::validation::LogitDiff"));
        assert_eq!(keeps("project list"), None);
    }

    #[test]
    fn words_that_do_not_fit_are_refused() {
        assert!(refused("convert a b --dtyp float32").contains("--dtype"));
        assert!(refused("convert a").contains("DST"));
        assert!(refused("model construct --device gpu").contains("meta, cpu, cuda"));
        assert!(refused("model construct --hidden-sizes 7").contains("--hidden-size"));
        assert!(refused("model -t 4B construct").contains("4B"));
        assert!(refused("model -p lama construct").contains("llama"));
    }

    #[test]
    fn what_an_earlier_cell_may_make_is_a_note() {
        let checked = checked("model -p made/later -t new --own-argument 7 construct").unwrap();
        assert_eq!(checked.type_path, Some("chandlery::Construction"));
        assert!(checked.note.unwrap().contains("made/later"));
    }
}
