//! The arguments that a project declares, as flags: of `model` and of `project show`, in the shell and in the notebook.

use std::collections::BTreeMap;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::Value;

use super::shared::ConfigArgs;
use super::verbs::{Context, definition, verb_of};
use super::{Failure, Outcome};
use crate::diagnostic::Diagnostic;
use crate::project::{Argument, ArgumentType, Project, ProjectConfig, own_parts, project};

/// The heading of the flags in `--help`.
const HEADING: &str = "Arguments of the project";

/// The project that a command line names, and the defaults of its arguments.
pub(super) struct Named {
    pub(super) project: Project,
    /// Those of its arguments that are flags of the verb; the verb's own flags go first.
    flags: Vec<Argument>,
    defaults: BTreeMap<String, Value>,
}

impl Named {
    /// Reads the words before they are parsed, because the project adds to what they may be. Without `-p` it is the
    /// project around the current folder, else a built-in one.
    pub(super) fn among(words: &[String]) -> Result<Self, Failure> {
        let project = match value_among(words, "-p", "--project-dir") {
            Some(name) => project(name)?,
            None => Project::here()?,
        };
        // The fields of its parts are flags. If nothing can compile them, rendering the configuration reports that.
        if own_parts::compiles() {
            project.load_parts()?;
        }
        let taken =
            |verb: &str, argument: &Argument| definition(verb).is_some_and(|verb| is_taken(declaring(verb), argument));
        let clash = project.declared().iter().find(|argument| taken("model", argument) && !is_base(argument));
        if let Some(argument) = clash {
            let (name, flag) = (&argument.name, argument.flag());
            let what = format!("the project declares `{name}`, but --{flag} means something else already");
            let folder = project.folder().map(|folder| folder.display().to_string());
            let place = folder.unwrap_or_else(|| project.name().to_owned());
            let diagnostic = Diagnostic::new(what).at(place).advise("rename the argument");
            return Err(Failure::Failed { name: "ProjectError".to_owned(), diagnostic });
        }
        // Only the help shows them, and a configuration that cannot be rendered says so when it is used.
        let help = words.iter().any(|word| word == "--help" || word == "-h");
        let config = value_among(words, "-t", "--config-template").unwrap_or(project.default_config());
        let config = help.then(|| project.config(config)).and_then(Result::ok);
        let defaults = config.map(|config| config.defaults()).unwrap_or_default();
        let verb = verb_of(words).map_or("model", Command::get_name);
        let flags = project.arguments().iter().filter(|argument| !taken(verb, argument)).cloned().collect();
        Ok(Self { project, flags, defaults })
    }

    /// The verb with the project's arguments beside its own.
    fn added_to(&self, verb: Command) -> Command {
        let flags: Vec<Arg> = self.flags.iter().map(|argument| self.flag(argument)).collect();
        if verb.find_subcommand(SHOW).is_some() {
            return verb.mut_subcommand(SHOW, |show| show.args(flags));
        }
        verb.args(flags)
    }

    /// The values of the project's arguments that were given.
    pub(super) fn values(&self, matches: &ArgMatches) -> Vec<(String, Value)> {
        let mut matches = matches;
        while let Some((_, inner)) = matches.subcommand() {
            matches = inner;
        }
        let value =
            |argument: &Argument| Some((argument.name.clone(), matches.get_one::<Value>(&argument.name)?.clone()));
        self.flags.iter().filter_map(value).collect()
    }

    fn flag(&self, declared: &Argument) -> Arg {
        let mut help = declared.help.clone();
        if let Some(default) = self.defaults.get(&declared.name).filter(|default| !default.is_null()) {
            help.push_str(&format!(
                " [default: {}]",
                default.as_str().map_or_else(|| default.to_string(), str::to_owned)
            ));
        }
        let parse = declared.clone();
        let parser =
            ValueParser::from(move |word: &str| parse.parse(word).map_err(|expected| format!("expected {expected}")));
        let arg = Arg::new(declared.name.clone()).long(declared.flag()).help(help).global(true).help_heading(HEADING);
        let arg = arg.value_parser(parser).action(ArgAction::Set);
        match declared.kind {
            // `--flag`, `--flag=true` and `--flag=false`.
            ArgumentType::Bool => {
                arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("BOOL")
            }
            ArgumentType::Int => arg.value_name("N").allow_negative_numbers(true),
            ArgumentType::Float => arg.value_name("X").allow_negative_numbers(true),
            ArgumentType::Dict => arg.value_name("DICT"),
            ArgumentType::List => arg.value_name("LIST"),
            ArgumentType::Str => arg.value_name("TEXT"),
            ArgumentType::Path => arg.value_name("PATH"),
            ArgumentType::Choices => arg.value_name(declared.choices.join("|")),
        }
    }
}

/// The part of `project` that takes the project's arguments; `model` takes them itself.
const SHOW: &str = "show";

/// The part of a verb that takes the project's arguments.
fn declaring(verb: &Command) -> &Command {
    verb.find_subcommand(SHOW).unwrap_or(verb)
}

/// The definition of the verb among the words, with the arguments of the project that they name.
pub(super) fn verb_with_declared(words: &[String], named: Option<&Named>) -> Option<Command> {
    let verb = verb_of(words)?.clone();
    Some(match named {
        Some(named) => named.added_to(verb),
        None => verb,
    })
}

/// The value of a flag that takes one, however it is attached.
pub(super) fn value_among<'a>(words: &'a [String], short: &str, long: &str) -> Option<&'a str> {
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        if word == short || word == long {
            return words.next();
        }
        let attached = word.strip_prefix(long).and_then(|rest| rest.strip_prefix('='));
        let attached = attached.or_else(|| word.strip_prefix(short).filter(|_| !word.starts_with("--")));
        if let Some(value) = attached {
            return Some(value.strip_prefix('=').unwrap_or(value));
        }
    }
    None
}

fn is_base(argument: &Argument) -> bool {
    Argument::base().iter().any(|base| base.name == argument.name)
}

/// True if the command, a subcommand, or every command has this flag already.
fn is_taken(command: &Command, argument: &Argument) -> bool {
    let flag = argument.flag();
    let has = |command: &Command| command.get_arguments().any(|arg| arg.get_long() == Some(flag.as_str()));
    let everywhere = ["help", "version", "json", "project-dir", "config-template", "as"];
    everywhere.contains(&flag.as_str()) || has(command) || command.get_subcommands().any(has)
}

/// The configuration that the words chose, with its arguments.
pub(super) fn chosen(config: &ConfigArgs, context: &Context) -> Result<ProjectConfig, Failure> {
    let project = match &context.leading.project_dir {
        Some(name) => project(name)?,
        None => Project::here()?,
    };
    let name = config.config_template.as_deref().unwrap_or(project.default_config());
    let mut config = project.config(name)?;
    for (name, value) in &context.declared {
        config = config.set(name, value.clone())?;
    }
    Ok(config)
}

/// Says with the result how the project was found, where that may surprise.
pub(super) fn with_note(mut outcome: Outcome, project: &Project) -> Outcome {
    if let Some(note) = project.note() {
        outcome.view = outcome.view.with_note(note);
        if let Value::Object(report) = &mut outcome.json {
            report.insert("note".to_owned(), Value::from(note));
        }
    }
    outcome
}
