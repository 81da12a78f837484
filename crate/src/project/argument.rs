//! Arguments that a project declares: typed, with help, readable from the words of a command line.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::yaml;
use crate::spec::{FieldKind, PartFieldKind, UserPart, parts};

/// What an argument holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArgumentType {
    /// A whole number, or `null`.
    Int,
    /// A number, or `null`.
    Float,
    /// `true` or `false` (also yes, no, on, off, 1, 0).
    Bool,
    /// Text.
    Str,
    /// A file or folder, or `null`. On a command line, `~` is the home folder, and what exists below the current folder
    /// is meant as it is seen from there.
    Path,
    /// An object, in JSON or in YAML's flow form, or `null`.
    Dict,
    /// A list, in JSON or in YAML's flow form, or `null`: of fields alone, no project declares one.
    #[serde(skip_deserializing)]
    List,
    /// One of the words that the declaration lists under `choices`, or `null`.
    Choices,
}

/// One declared argument.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Argument {
    /// Its name in templates, with underscores; the flag has dashes.
    pub name: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: ArgumentType,
    /// One line of help.
    pub help: String,
    /// The words of [`ArgumentType::Choices`].
    #[serde(default)]
    pub choices: Vec<String>,
    /// What the templates use when it is not given, for the help alone. Where this is left out, the help shows what the
    /// chosen configuration renders to.
    #[serde(default)]
    pub default: Option<Value>,
}

impl Argument {
    /// Returns the arguments that every project has, declared or not: the output folder, the model's name, and how
    /// attention is computed. Only the name means something to templates.
    pub fn base() -> Vec<Self> {
        let base = |name: &str, kind, help: &str, choices: &[&str]| Self {
            name: name.to_owned(),
            kind,
            help: help.to_owned(),
            choices: choices.iter().map(|choice| (*choice).to_owned()).collect(),
            default: None,
        };
        let attention = ["eager", "sdpa", "flash_attention_2", "flex_attention"];
        vec![
            base("output_dir", ArgumentType::Path, "Output folder", &[]),
            base("model_name", ArgumentType::Str, "Name of the model and of its output folder", &[]),
            base("attn_implementation", ArgumentType::Choices, "How attention is computed", &attention),
        ]
    }

    /// The argument for the key `tokenizer` of a definition.
    pub(super) fn tokenizer() -> Self {
        Self {
            name: "tokenizer".to_owned(),
            kind: ArgumentType::Path,
            help: "Tokenizer: a built-in one by name, or the path of a folder or tokenizer.json".to_owned(),
            choices: Vec::new(),
            default: None,
        }
    }

    /// Returns the argument for a field that some part of a model declares; `None` for token ids, which are the
    /// tokenizer's.
    pub fn of_field(name: &str) -> Option<Self> {
        let Some(field) = parts::fields().find(|field| field.name == name) else { return Self::of_user_field(name) };
        let (kind, choices) = match field.kind {
            FieldKind::Size | FieldKind::OptionalSize => (ArgumentType::Int, &[][..]),
            FieldKind::Number | FieldKind::OptionalNumber => (ArgumentType::Float, &[][..]),
            FieldKind::Flag | FieldKind::OptionalFlag => (ArgumentType::Bool, &[][..]),
            // The configuration knows the parts that it may name.
            FieldKind::WordOrPart(_) => (ArgumentType::Str, &[][..]),
            FieldKind::Word(words) | FieldKind::WordOrList(words) => (ArgumentType::Choices, words),
            FieldKind::Object => (ArgumentType::Dict, &[][..]),
            FieldKind::List => (ArgumentType::List, &[][..]),
            FieldKind::Id | FieldKind::Ids => return None,
        };
        Some(Self {
            name: name.to_owned(),
            kind,
            help: field.help().to_owned(),
            choices: choices.iter().map(|choice| (*choice).to_owned()).collect(),
            default: None,
        })
    }

    /// Returns the argument for a field of a user's part.
    fn of_user_field(name: &str) -> Option<Self> {
        let parts = UserPart::all();
        let field = parts.iter().flat_map(|part| part.fields()).find(|field| field.name == name)?;
        let (kind, choices) = match &field.kind {
            PartFieldKind::Number => (ArgumentType::Float, &[][..]),
            PartFieldKind::Size => (ArgumentType::Int, &[][..]),
            PartFieldKind::Flag => (ArgumentType::Bool, &[][..]),
            PartFieldKind::Word(words) => (ArgumentType::Choices, words.as_slice()),
        };
        Some(Self {
            name: name.to_owned(),
            kind,
            help: field.help.to_owned(),
            choices: choices.iter().map(|choice| (*choice).to_owned()).collect(),
            default: None,
        })
    }

    /// Returns the flag without its dashes: `hidden-size`.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Returns what it takes, in words.
    fn expected(&self) -> String {
        match self.kind {
            ArgumentType::Int => "a whole number, or null".to_owned(),
            ArgumentType::Float => "a number, or null".to_owned(),
            ArgumentType::Bool => "true or false".to_owned(),
            ArgumentType::Str => "text".to_owned(),
            ArgumentType::Path => "a path, or null".to_owned(),
            ArgumentType::Dict => "an object such as '{\"rope_theta\": 500000.0}', or null".to_owned(),
            ArgumentType::List => "a list such as '[{\"count\": 2}]', or null".to_owned(),
            ArgumentType::Choices => format!("one of {}", self.choices.join(", ")),
        }
    }

    /// Reads a word of the command line. `null` and `none` stand for "not set" where that makes sense.
    ///
    /// # Errors
    /// What was expected, as text.
    pub fn parse(&self, word: &str) -> Result<Value, String> {
        let null = matches!(word, "null" | "none" | "None");
        let value = match self.kind {
            ArgumentType::Str => Some(Value::from(word)),
            ArgumentType::Bool => match word.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some(Value::from(true)),
                "false" | "no" | "off" | "0" => Some(Value::from(false)),
                _ => None,
            },
            _ if null => Some(Value::Null),
            ArgumentType::Int => word.parse::<i64>().ok().map(Value::from),
            ArgumentType::Float => word.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from),
            ArgumentType::Path => Some(Value::from(seen_from_here(word))),
            ArgumentType::Dict => yaml::parse(word).ok().filter(Value::is_object),
            ArgumentType::List => yaml::parse(word).ok().filter(Value::is_array),
            ArgumentType::Choices => Some(Value::from(word)),
        };
        let value = value.ok_or_else(|| self.expected())?;
        self.check(&value)?;
        Ok(value)
    }

    /// Checks a value given from Rust.
    ///
    /// # Errors
    /// What was expected, as text.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let fits = match self.kind {
            ArgumentType::Int => value.is_null() || value.is_i64() || value.is_u64(),
            ArgumentType::Float => value.is_null() || value.is_number(),
            ArgumentType::Bool => value.is_boolean(),
            ArgumentType::Str => value.is_string(),
            ArgumentType::Path => value.is_null() || value.as_str().is_some_and(|path| !path.is_empty()),
            ArgumentType::Dict => value.is_null() || value.is_object(),
            ArgumentType::List => value.is_null() || value.is_array(),
            ArgumentType::Choices => match value {
                Value::Null => true,
                Value::String(word) => self.choices.contains(word),
                _ => false,
            },
        };
        if fits { Ok(()) } else { Err(self.expected()) }
    }

    /// Checks the declaration itself.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn check_declaration(&self) -> Result<(), String> {
        let Self { name, choices, .. } = self;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(plain) {
            return Err(format!("invalid argument name `{name}`: use lowercase letters, digits and underscores"));
        }
        match (self.kind == ArgumentType::Choices, choices.is_empty()) {
            (true, true) => Err(format!("argument `{name}` has no `choices`")),
            (false, false) => Err(format!("argument `{name}` has `choices`, so its type must be `choices`")),
            _ => Ok(()),
        }
    }
}

/// Returns a path as the one who typed it means it: the project's folder is another place than the current one.
fn seen_from_here(word: &str) -> String {
    let path = match (word.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => Path::new(word).to_owned(),
    };
    let absolute = if path.exists() { std::path::absolute(&path).unwrap_or(path) } else { path };
    absolute.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argument(kind: ArgumentType) -> Argument {
        let choices = if kind == ArgumentType::Choices { vec!["silu".to_owned(), "relu".to_owned()] } else { vec![] };
        Argument { name: "x".to_owned(), kind, help: String::new(), choices, default: None }
    }

    #[test]
    fn words_become_typed_values() {
        use ArgumentType::{Bool, Choices, Dict, Float, Int, List, Path, Str};
        for (kind, word, expected) in [
            (Int, "8", "8"),
            (Int, "none", "null"),
            (Float, "1e-5", "0.00001"),
            (Bool, "off", "false"),
            (Str, "none", "\"none\""),
            (Path, "null", "null"),
            (Path, "not/there/yet", "\"not/there/yet\""),
            (Dict, "{\"rope_theta\": 5e5}", "{\"rope_theta\":500000.0}"),
            (Dict, "{rope_theta: 500000.0, rope_type: llama3}", "{\"rope_theta\":500000.0,\"rope_type\":\"llama3\"}"),
            (Choices, "relu", "\"relu\""),
            (List, "[{count: 2}]", "[{\"count\":2}]"),
        ] {
            assert_eq!(argument(kind).parse(word).map(|value| value.to_string()), Ok(expected.to_owned()), "{word}");
        }
    }

    #[test]
    fn other_words_are_refused_with_what_was_expected() {
        use ArgumentType::{Bool, Choices, Dict, Float, Int};
        for (kind, word) in [
            (Int, "8.5"),
            (Int, ""),
            (Float, "inf"),
            (Bool, "perhaps"),
            (Dict, "[1]"),
            (Dict, "{a: .inf}"),
            (Dict, "{a"),
            (Choices, "Relu"),
        ] {
            let refused = argument(kind).parse(word).expect_err(word);
            assert_eq!(refused, argument(kind).expected());
        }
    }
}
