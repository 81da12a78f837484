//! The help for a word of a command line, for front ends that show it beside the text.

use clap::{Arg, Command};

use super::arguments::verb_with_declared;
use super::complete::command_of;
use super::verbs::{config_argument, parser};
use crate::display::View;
use crate::spec::{Field, UserPart, parts};

/// Returns the help for the word at `at`: of a flag, or else of the verb. `None` if there is no verb.
pub fn explain(words: &[String], at: usize) -> Option<String> {
    let word = words.get(at)?;
    let command = command_of(words)?;
    let chosen = command.get_subcommands().find(|inner| words.iter().any(|word| word == inner.get_name()));
    if let Some(flag) = word.strip_prefix('-') {
        let flag = flag.split('=').next().unwrap_or(flag);
        let root = parser(verb_with_declared(words, None));
        let mut arguments = chosen.into_iter().chain([&command, &root]).flat_map(Command::get_arguments);
        let named = |arg: &&Arg| match flag.strip_prefix('-') {
            Some(long) => arg.get_long() == Some(long),
            None => arg.get_short().is_some_and(|short| flag.starts_with(short)),
        };
        let own = || own(word);
        return arguments.find(named).map(flag_help).or_else(own).or_else(|| explain_verb(&command, chosen));
    }
    explain_verb(&command, chosen)
}

/// Explains a field of a model's configuration.
pub fn explain_field(name: &str) -> Option<String> {
    parts::field(name)
        .map(Field::explanation)
        .or_else(|| UserPart::find(name).map(|part| part.view().plain().to_owned()))
}

fn explain_verb(command: &Command, chosen: Option<&Command>) -> Option<String> {
    let verb = command.get_name();
    let project = if config_argument(command).is_some() { "-p PROJECT " } else { "" };
    let help = |command: &Command, name: &str| {
        let mut shown = command.clone().bin_name(format!("%{project}{name}"));
        shown.render_long_help().to_string().trim_end().to_owned()
    };
    let whole = help(command, verb);
    let Some(inner) = chosen else { return Some(whole) };
    // What follows is said of all that the verb does.
    let own = help(inner, &format!("{verb} {}", inner.get_name()));
    Some(if command.get_arguments().next().is_some() { format!("{own}\n\n{whole}") } else { own })
}

/// Flags that every verb takes.
fn own(word: &str) -> Option<String> {
    let what = match word.split('=').next()? {
        "--as" => "--as <NAME>\n\nKeep the result as the variable NAME, for the Rust cells that follow",
        "--json" => "--json\n\nPrint one JSON report",
        "--help" | "-h" => "--help\n\nPrint help",
        _ => return None,
    };
    Some(what.to_owned())
}

fn flag_help(arg: &Arg) -> String {
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let mut text = [short, long].into_iter().flatten().collect::<Vec<_>>().join(", ");
    if arg.get_action().takes_values() {
        let names = arg.get_value_names().unwrap_or_default();
        text.extend(names.iter().map(|name| format!(" <{name}>")));
    }
    let help = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
    text.push_str(&format!("\n\n{help}"));
    let values: Vec<String> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if arg.get_action().takes_values() && !values.is_empty() {
        text.push_str(&format!("\n\nPossible values: {}", values.join(", ")));
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if arg.get_action().takes_values() && !defaults.is_empty() {
        text.push_str(&format!("\n\nDefault: {}", defaults.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(line: &str) -> Option<String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        explain(&words, words.len() - 1)
    }

    #[test]
    fn verbs_and_flags_have_their_help() {
        let verb = explained("convert").unwrap();
        assert!(verb.contains("Usage: %convert") && verb.contains("--dtype"), "{verb}");
        let flag = explained("convert a b --dtype").unwrap();
        assert!(flag.starts_with("--dtype <"), "{flag}");
        assert!(explained("-p qwen3 model construct --hidden-size").unwrap().starts_with("--hidden-size <"));
        assert!(explained("-p llama model -t").unwrap().contains("--config-template"));
        assert!(explained("model test").unwrap().contains("Usage: %-p PROJECT model test"));
        assert!(explained("convert --as").unwrap().contains("variable"));
        assert!(explained("convert --no-such-flag").unwrap().contains("Usage: %convert"));
        let words = ["-p", "llama", "model"].map(str::to_owned);
        assert!(explain(&words, 0).unwrap().starts_with("-p, --project-dir <PROJECT>"));
        assert_eq!(explained("no-such-verb"), None);
    }
}
