//! The verbs, defined once for the shell (`chandlery convert …`) and the notebook (`%convert …`).

mod arguments;
mod check;
mod compare;
mod complete;
mod convert;
mod explain;
mod failure;
mod families;
mod finalize;
mod inspect;
mod model;
mod project;
mod shared;
mod tokenizer;
mod update;
mod values;
mod verbs;

use std::any::Any;

use clap::{ArgMatches, FromArgMatches};
use serde_json::Value;

use crate::diagnostic::{Diagnose, Diagnostic};
use crate::display::MimeBundle;

use arguments::Named;
pub use check::{Checked, check};
pub use complete::complete;
pub use explain::{explain, explain_field};
use verbs::{Context, LeadingArgs, Run, Verb, verb_of};
pub use verbs::{definition, definitions, verbs};

/// The result of a verb.
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

impl Outcome {
    /// Returns the outcome of completed work.
    fn new(view: MimeBundle, json: Value) -> Self {
        Self { view, json, passed: true, value: None }
    }

    /// Sets the verdict.
    fn with_passed(self, passed: bool) -> Self {
        Self { passed, ..self }
    }

    /// Sets the value, whose type is the verb's result type.
    fn keeping(self, verb: &dyn Run, value: impl Any) -> Self {
        let value = verb.result_type().map(|type_path| KeptValue { value: Box::new(value), type_path });
        Self { value, ..self }
    }
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
        /// What is wrong with the words, as fields.
        diagnostic: Diagnostic,
    },
    /// The work failed (exit 1).
    Failed {
        /// The error's kind, such as `CheckpointError`.
        name: String,
        /// What, where, and what to do.
        diagnostic: Diagnostic,
    },
    /// The user interrupted it.
    Interrupted,
}

impl Failure {
    /// Returns a failure of words that parse, and that do not fit together.
    fn usage(what: &str, advice: &str) -> Self {
        Self::Usage {
            text: format!("error: {what}: {advice}"),
            help: false,
            diagnostic: Diagnostic::new(what).advise(advice),
        }
    }
}

/// Runs one verb. `words` are those after `chandlery` or `%`, such as `["inspect", "some/folder"]`.
///
/// # Errors
/// [`Failure`], which says whether the words or the work were at fault.
pub fn run(words: &[String]) -> Result<Outcome, Failure> {
    crate::display::show_progress();
    // The project's arguments are part of the verb's definition, so the project is looked up first.
    let named = if names_project(words) { Some(Named::among(words)?) } else { None };
    // `project fields` names parts of the project, so they are known before its words are parsed.
    let early = named.is_none() && verb_of(words).is_some_and(|verb| verb.get_name() == "project");
    if early && let Some(name) = arguments::value_among(words, "-p", "--project-dir") {
        crate::project::project(name)?.load_parts()?;
    }
    let parser = verbs::parser(arguments::verb_with_declared(words, named.as_ref()));
    let (verb, context) = read(&parser.try_get_matches_from(words)?, named.as_ref())?;
    if let (None, false, Some(name)) = (&named, early, &context.leading.project_dir) {
        // Its parts are what the models of the command may be made of.
        crate::project::project(name)?.load_parts()?;
    }
    verb.work().run(&context)
}

/// The verb that was parsed, and what the line says beside it.
fn read(matches: &ArgMatches, named: Option<&Named>) -> Result<(Verb, Context), Failure> {
    let leading = LeadingArgs::from_arg_matches(matches)?;
    let verb = Verb::from_arg_matches(matches)?;
    let declared = match named {
        Some(named) if verb.takes_declared() => named.values(matches),
        _ => Vec::new(),
    };
    Ok((verb, Context { leading, declared }))
}

/// Whether the words may give values to arguments that a project declares.
fn names_project(words: &[String]) -> bool {
    match verb_of(words).map(clap::Command::get_name) {
        Some("model") => true,
        Some("project") => words.iter().any(|word| word == "show"),
        _ => false,
    }
}

/// An error in the value of an option, on the one line that clap has for it beside the option and the value.
fn on_one_line(error: impl Diagnose) -> String {
    let Diagnostic { what, advice, .. } = error.diagnostic();
    let Some(advice) = advice else { return what };
    if what.ends_with('?') { format!("{what} {advice}") } else { format!("{what}; {advice}") }
}
