//! The verbs, defined once for the shell (`chandlery convert …`) and the notebook (`%convert …`).

mod arguments;
mod check;
mod compare;
mod complete;
mod convert;
mod explain;
mod failure;
mod finalize;
mod inspect;
mod model;
mod project;
mod tokenizer;
mod update;
mod values;

use std::any::Any;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::Value;

use crate::display::MimeBundle;

pub use check::{Checked, check};
pub use complete::complete;
pub use explain::{explain, explain_field};

/// What a verb has to say when it is done.
pub struct Outcome {
    /// The rendering: printed as text by the shell, displayed by the notebook.
    pub view: MimeBundle,
    /// The `--json` report.
    pub json: Value,
    /// False when the verb ran but its result is a failure (a validation that did not pass): the shell exits 1.
    pub passed: bool,
    /// The result as a Rust value, for `--as NAME` in notebooks.
    pub value: Option<KeptValue>,
}

/// A verb's result together with the public path of its type, so that a later Rust cell can name it.
pub struct KeptValue {
    /// The value.
    pub value: Box<dyn Any>,
    /// Its type as a cell may write it, such as `chandlery::Conversion`.
    pub type_path: &'static str,
}

/// Why a verb did not run to its end.
#[derive(Debug)]
pub enum Failure {
    /// Words that do not parse (exit 2), or a request for help or version (exit 0); the text is clap's.
    Usage {
        /// What to print.
        text: String,
        /// True for `--help` and `--version`.
        help: bool,
    },
    /// The work failed (exit 1): what, where and what to do, one line each.
    Failed {
        /// The error's kind, such as `CheckpointError`.
        name: String,
        /// The message.
        message: String,
    },
    /// The user interrupted it.
    Interrupted,
}

/// The verbs this module runs, in the order `--help` lists them.
pub const VERBS: &[&str] =
    &["model", "convert", "finalize", "update", "inspect", "compare", "logits", "project", "tokenizer"];

/// The verbs that work on a model project.
const WITH_PROJECT: &[&str] = &["model", "project"];

/// The flags that may stand before the verb, each with a value.
const LEADING: &[&str] = &["-p", "--project-dir", "-t", "--config-template"];

/// The verb among the words, if it is one of [`VERBS`]: the first word that is neither a leading flag nor its value.
pub fn verb_of(words: &[String]) -> Option<&'static str> {
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        if LEADING.contains(&word) {
            words.next();
        } else if !word.starts_with('-') {
            return VERBS.iter().copied().find(|verb| *verb == word);
        }
    }
    None
}

/// Every verb's definition, with a one-line description each.
pub fn definitions() -> Vec<Command> {
    vec![
        model::definition(None),
        convert::definition(),
        finalize::definition(),
        update::definition(),
        inspect::definition(),
        compare::definition(),
        compare::logits_definition(),
        project::definition(None),
        tokenizer::definition(),
    ]
}

/// Runs one verb. `words` are those after `chandlery` or `%`, such as `["inspect", "some/folder"]`.
///
/// # Errors
/// [`Failure`], which says whether the words or the work were at fault.
pub fn run(words: &[String]) -> Result<Outcome, Failure> {
    crate::display::show_progress();
    // The project's arguments are part of the verb's definition, so the project is looked up first.
    let named = if names_project(words) { Some(arguments::Named::among(words)?) } else { None };
    // `project fields` names parts of the project, so they are known before its words are parsed.
    let early = verb_of(words) == Some("project") && named.is_none();
    if early && let Some(name) = arguments::value_among(words, "-p", "--project-dir") {
        crate::project::project(name)?.load_parts()?;
    }
    let matches = parser(words, named.as_ref()).try_get_matches_from(words)?;
    let project = matches.subcommand().and_then(|(_, inner)| given::<String>(inner, "project-dir"));
    if let (None, false, Some(name)) = (&named, early, project) {
        // Its parts are what the models of the command may be made of.
        crate::project::project(&name)?.load_parts()?;
    }
    match matches.subcommand() {
        Some(("model", matches)) => model::run(matches),
        Some(("convert", matches)) => convert::run(matches),
        Some(("finalize", matches)) => finalize::run(matches),
        Some(("update", matches)) => update::run(matches),
        Some(("inspect", matches)) => inspect::run(matches),
        Some(("compare", matches)) => compare::run(matches),
        Some(("logits", matches)) => compare::run_logits(matches),
        Some(("project", matches)) => project::run(matches),
        Some(("tokenizer", matches)) => tokenizer::run(matches),
        _ => Err(Failure::Usage { text: "name a command; see --help".to_owned(), help: false }),
    }
}

/// Whether the words may give values to arguments that a project declares.
fn names_project(words: &[String]) -> bool {
    match verb_of(words) {
        Some("model") => true,
        Some("project") => words.iter().any(|word| word == "show"),
        _ => false,
    }
}

/// What the words are parsed with.
fn parser(words: &[String], named: Option<&arguments::Named>) -> Command {
    let verb = verb_of(words);
    let verbs = match verb {
        Some("model") => vec![model::definition(named)],
        Some("project") => vec![project::definition(named)],
        Some(verb) => definitions().into_iter().filter(|command| command.get_name() == verb).collect(),
        None => definitions(),
    };
    let mut root =
        Command::new("chandlery").no_binary_name(true).subcommand_required(true).arg_required_else_help(true);
    let with_project = verb.is_none_or(|verb| WITH_PROJECT.contains(&verb));
    let project = match with_project {
        true => "Model project: its folder, or the name of a built-in one",
        false => "Model project whose own parts the models are made of",
    };
    root = root.arg(flag_value('p', "project-dir", "PROJECT", project).global(true));
    // Elsewhere -t is the chat template.
    if with_project {
        root = root.arg(flag_value('t', "config-template", "CONFIG", "Configuration of the project").global(true));
    }
    root.arg(Arg::new("json").long("json").global(true).action(ArgAction::SetTrue).help("Print one JSON report"))
        .subcommands(verbs)
}

fn flag_value(short: char, long: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(long).short(short).long(long).value_name(value).help(help)
}

/// An option with a value.
fn option(long: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(long).long(long).value_name(value).help(help)
}

/// A flag without a value.
fn flag(long: &'static str, help: &'static str) -> Arg {
    Arg::new(long).long(long).action(ArgAction::SetTrue).help(help)
}

/// A positional path.
fn path(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).required(true).value_parser(values::path()).help(help)
}

fn given<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> Option<T> {
    matches.try_get_one::<T>(name).ok().flatten().cloned()
}

fn set(matches: &ArgMatches, name: &str) -> bool {
    given::<bool>(matches, name).unwrap_or(false)
}
