//! Completion of a verb's words: flags, the project's arguments, projects and configurations.

use clap::Command;

use super::arguments::{Named, value_among, verb_with_declared};
use super::verbs::{config_argument, verb_of, verbs};
use crate::project::{ArgumentType, Project};
use crate::spec::parts::PARTS;

/// What the word `typed` may become after the words `before` it: `["model", "-t"]` and `""` give the configurations.
/// Nothing is run; a project that cannot be opened adds nothing.
pub fn complete(before: &[String], typed: &str) -> Vec<String> {
    if let Some((flag, value)) = typed.split_once('=').filter(|_| typed.starts_with("--")) {
        let values = values_of(before, flag).into_iter().filter(|found| found.starts_with(value));
        return values.map(|found| format!("{flag}={found}")).collect();
    }
    let values = before.last().map(|last| values_of(before, last)).unwrap_or_default();
    let mut found = if !values.is_empty() {
        values
    } else if verb_of(before).is_some() {
        words_of(before, typed.starts_with('-'))
    } else {
        verbs().map(str::to_owned).collect()
    };
    found.retain(|word| word.starts_with(typed));
    found.dedup();
    found
}

/// Returns the possible values of a flag, if they are a list.
fn values_of(before: &[String], flag: &str) -> Vec<String> {
    match flag {
        "-p" | "--project-dir" | "--from" => {
            let mut names = Project::names();
            let found = Project::below(".".as_ref()).into_iter();
            let folders = found.filter_map(|found| Some(found.folder.strip_prefix(".").ok()?.to_str()?.to_owned()));
            names.extend(folders.filter(|folder| !folder.is_empty()));
            names
        }
        "-t" if verb_of(before).is_some_and(|verb| config_argument(verb).is_none()) => Vec::new(),
        "-t" | "--config-template" => Named::among(before).map(|named| named.project.configs()).unwrap_or_default(),
        _ => {
            let Some(name) = flag.strip_prefix("--") else { return Vec::new() };
            let Ok(named) = Named::among(before) else { return Vec::new() };
            let declared = named.project.arguments().iter().find(|argument| argument.flag() == name);
            match declared.map(|argument| (argument.kind, &argument.choices)) {
                Some((ArgumentType::Choices, choices)) => choices.clone(),
                _ => Vec::new(),
            }
        }
    }
}

/// The definition of the verb among the words, with the arguments of the project that they name.
pub(super) fn command_of(words: &[String]) -> Option<Command> {
    let named = config_argument(verb_of(words)?).and_then(|_| Named::among(words).ok());
    verb_with_declared(words, named.as_ref())
}

/// The flags of a verb, or else the words that choose what it does.
fn words_of(before: &[String], flags: bool) -> Vec<String> {
    let Some(command) = command_of(before) else { return Vec::new() };
    let chosen = command.get_subcommands().find(|inner| before.iter().any(|word| word == inner.get_name()));
    if !flags {
        if chosen.is_some_and(|inner| (command.get_name(), inner.get_name()) == ("project", "fields")) {
            return PARTS.iter().map(|part| part.name.to_owned()).collect();
        }
        let names = command.get_subcommands().map(|inner| inner.get_name().to_owned());
        return if chosen.is_some() { Vec::new() } else { names.collect() };
    }
    let of = |command: &Command| -> Vec<String> {
        let longs = command.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set());
        longs.filter_map(|arg| arg.get_long()).map(|long| format!("--{long}")).collect()
    };
    let mut found = chosen.map(of).unwrap_or_default();
    found.extend(of(&command));
    found.extend(["--json", "--as", "--help"].map(str::to_owned));
    if config_argument(&command).is_some() {
        found.retain(|flag| flag != "--config-template");
        found.extend(["--project-dir", "--config-template"].map(str::to_owned));
    }
    if value_among(before, "-p", "--project-dir").is_some() {
        found.retain(|flag| flag != "--project-dir");
    }
    found
}
