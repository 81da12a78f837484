//! The list of verbs: the shell, the notebook, help, completion and checks read it off one enum.

use std::sync::LazyLock;

use clap::{Arg, Args, Command, Subcommand};
use serde_json::Value;

use super::compare::{CompareArgs, LogitsArgs};
use super::convert::ConvertArgs;
use super::families::FamiliesArgs;
use super::finalize::FinalizeArgs;
use super::inspect::InspectArgs;
use super::model::ModelArgs;
use super::project::{ProjectAction, ProjectArgs};
use super::shared::ConfigArgs;
use super::tokenizer::TokenizerArgs;
use super::update::UpdateArgs;
use super::{Failure, Outcome};

/// A verb and its arguments, in the order in which `--help` lists them.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Construct or test a model of a project
    Model(Box<ModelArgs>),
    /// Convert a model folder: Hugging Face names to native ones, or back
    Convert(Box<ConvertArgs>),
    /// Make a clean folder of a trained model: one checkpoint, tokenizer, configuration
    Finalize(Box<FinalizeArgs>),
    /// Bring a native model folder to the names and fields of a newer version of its architecture
    Update(Box<UpdateArgs>),
    /// Parameter table of a model folder, checkpoint or safetensors file, from headers
    Inspect(InspectArgs),
    /// Compare the logits of two model folders, or of one with a file of reference logits
    Compare(Box<CompareArgs>),
    /// Write the float32 logits of a model folder for given token ids
    Logits(Box<LogitsArgs>),
    /// List the families of models that conversion knows, or the fields of one
    Families(FamiliesArgs),
    /// List model projects, show a rendered configuration, or start a project from a copy
    Project(ProjectArgs),
    /// Train a byte-level BPE vocabulary, show a tokenizer, render a chat, plan new tokens
    Tokenizer(TokenizerArgs),
}

/// What a verb does with its arguments.
pub(super) trait Run {
    /// The type of the result as a cell may write it, such as `chandlery::Conversion`; `None` if there is none.
    fn result_type(&self) -> Option<&'static str>;

    /// Does the work.
    fn run(&self, context: &Context) -> Result<Outcome, Failure>;
}

/// The rest of a command line, besides the verb's own arguments.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) leading: LeadingArgs,
    /// Values of arguments that the project declares, by name.
    pub(super) declared: Vec<(String, Value)>,
}

/// The flags of every verb. They may also stand before it.
#[derive(Debug, Args)]
pub(super) struct LeadingArgs {
    /// Model project that defines the parts of the models
    #[arg(short, long, value_name = "PROJECT", global = true)]
    pub(super) project_dir: Option<String>,
    /// Print one JSON report
    #[arg(long, global = true)]
    pub(super) json: bool,
}

impl Verb {
    /// Returns the arguments as the work that they ask for.
    pub(super) fn work(&self) -> &dyn Run {
        match self {
            Self::Model(args) => &**args,
            Self::Convert(args) => &**args,
            Self::Finalize(args) => &**args,
            Self::Update(args) => &**args,
            Self::Inspect(args) => args,
            Self::Compare(args) => &**args,
            Self::Logits(args) => &**args,
            Self::Families(args) => args,
            Self::Project(args) => args,
            Self::Tokenizer(args) => args,
        }
    }

    /// Whether this verb takes the arguments that a project declares.
    pub(super) fn takes_declared(&self) -> bool {
        match self {
            Self::Model(_) => true,
            Self::Project(args) => matches!(args.action, ProjectAction::Show(_)),
            _ => false,
        }
    }
}

/// Returns every verb's definition, in the order of the help.
pub fn definitions() -> &'static [Command] {
    static DEFINITIONS: LazyLock<Vec<Command>> =
        LazyLock::new(|| Verb::augment_subcommands(Command::new("")).get_subcommands().cloned().collect());
    &DEFINITIONS
}

/// Returns the definition of the verb of this name.
pub fn definition(name: &str) -> Option<&'static Command> {
    definitions().iter().find(|verb| verb.get_name() == name)
}

/// Returns the names of all verbs, in the order of the help.
pub fn verbs() -> impl Iterator<Item = &'static str> {
    definitions().iter().map(Command::get_name)
}

/// Finds the verb: the first word that is neither a flag nor the value of a flag that may precede the verb.
pub(super) fn verb_of(words: &[String]) -> Option<&'static Command> {
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        if ["-p", "--project-dir", "-t", "--config-template"].contains(&word) {
            words.next();
        } else if !word.starts_with('-') {
            return definition(word);
        }
    }
    None
}

/// Returns `-t CONFIG`, if the verb works on a model project.
pub(super) fn config_argument(verb: &Command) -> Option<&Arg> {
    let mut all = std::iter::once(verb).chain(verb.get_subcommands()).flat_map(Command::get_arguments);
    all.find(|argument| argument.get_id() == "config_template")
}

/// Returns the parser of a whole line, for one verb if it is known, else for all of them.
pub(super) fn parser(verb: Option<Command>) -> Command {
    let root = Command::new("chandlery").no_binary_name(true).subcommand_required(true).arg_required_else_help(true);
    let mut root = LeadingArgs::augment_args(root);
    let config = match &verb {
        Some(verb) => config_argument(verb).cloned(),
        None => config_argument(&ConfigArgs::augment_args(Command::new(""))).cloned(),
    };
    if let Some(config) = config {
        let help = "Model project: its folder, or the name of a built-in one";
        root = root.mut_arg("project_dir", |project| project.help(help)).arg(config);
    }
    match verb {
        Some(verb) => root.subcommand(verb),
        None => root.subcommands(definitions().iter().cloned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::FromArgMatches;

    use super::*;

    /// Every command that does something, with the words that call it.
    fn leaves() -> Vec<(Vec<String>, Command)> {
        let mut leaves = Vec::new();
        for verb in definitions() {
            let name = verb.get_name().to_owned();
            if verb.has_subcommands() {
                for inner in verb.get_subcommands() {
                    // The flags of the verb are those of all that it does.
                    let all = inner.clone().args(verb.get_arguments().cloned());
                    leaves.push((vec![name.clone(), inner.get_name().to_owned()], all));
                }
            } else {
                leaves.push((vec![name], verb.clone()));
            }
        }
        leaves
    }

    #[test]
    fn every_flag_gives_a_value_of_its_field() {
        let values = "1 x float32 cpu pytorch q8_0 int4-weight-only eager device=cpu DEBUG hidden_size true".split(' ');
        for (words, command) in leaves() {
            let required = command.get_arguments().filter(|argument| argument.is_required_set());
            let required = required.map(|argument| match argument.get_long() {
                Some(long) => format!("--{long}=1"),
                None => "x".to_owned(),
            });
            let line: Vec<String> = words.iter().cloned().chain(required).collect();
            for argument in command.get_arguments() {
                let Some(long) = argument.get_long() else { continue };
                let given = |value: &str| match argument.get_action().takes_values() {
                    true => format!("--{long}={value}"),
                    false => format!("--{long}"),
                };
                // What others need beside them.
                let extra = [&[][..], &["b"], &["--quantize=int4-weight-only"]];
                let tried = values.clone().flat_map(|value| extra.map(|extra| (value, extra)));
                let mut lines = tried.map(|(value, extra)| {
                    let kept = line.iter().filter(|word| !word.starts_with(&format!("--{long}="))).cloned();
                    kept.chain([given(value)]).chain(extra.iter().map(|word| (*word).to_owned())).collect::<Vec<_>>()
                });
                let matches =
                    lines.find_map(|line| parser(definition(&words[0]).cloned()).try_get_matches_from(line).ok());
                let matches = matches.unwrap_or_else(|| panic!("no value fits {words:?} --{long}"));
                Verb::from_arg_matches(&matches).unwrap();
            }
        }
    }

    #[test]
    fn flags_are_named_as_their_fields_and_exclude_known_ones() {
        for (words, command) in leaves() {
            for argument in command.get_arguments() {
                // Panics if one is not an argument of the command.
                command.get_arg_conflicts_with(argument);
                if let Some(long) = argument.get_long() {
                    assert_eq!(argument.get_id().as_str(), long.replace('-', "_"), "{words:?}");
                }
            }
        }
    }

    #[test]
    fn flags_of_several_verbs_have_the_same_help() {
        // What the flag means depends on the verb.
        let own = [
            "device",
            "dtype",
            "force",
            "format",
            "prompt",
            "converter-path",
            "input-ids",
            "vocab-size",
            "output-dir",
            "no-validate",
        ];
        let mut helps: BTreeMap<String, BTreeMap<String, Vec<String>>> = BTreeMap::new();
        for (words, command) in leaves() {
            for argument in command.get_arguments() {
                let Some(long) = argument.get_long().filter(|long| !own.contains(long)) else { continue };
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                helps.entry(long.to_owned()).or_default().entry(help).or_default().push(words.join(" "));
            }
        }
        let several = helps.iter().filter(|(_, helps)| helps.len() > 1).collect::<Vec<_>>();
        assert!(several.is_empty(), "{several:#?}");
    }
}
