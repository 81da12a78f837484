//! Arguments that a project declares: typed, with help, readable from the words of a command line.

use serde::Deserialize;
use serde_json::Value;

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
    /// A JSON object, or `null`.
    Dict,
}

/// One declared argument.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Argument {
    /// Its name in templates, with underscores; the flag has dashes.
    pub name: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: ArgumentType,
    /// One line of help.
    pub help: String,
}

impl Argument {
    /// The flag without its dashes: `hidden-size`.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Reads a word of the command line. `null` and `none` stand for "not set" where that makes sense.
    ///
    /// # Errors
    /// What was expected, as text.
    pub fn parse(&self, word: &str) -> Result<Value, String> {
        let null = matches!(word, "null" | "none" | "None");
        match self.kind {
            ArgumentType::Str => Ok(Value::from(word)),
            ArgumentType::Bool => match word.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Ok(Value::from(true)),
                "false" | "no" | "off" | "0" => Ok(Value::from(false)),
                _ => Err("true or false".to_owned()),
            },
            _ if null => Ok(Value::Null),
            ArgumentType::Int => word.parse::<i64>().map(Value::from).map_err(|_| "a whole number, or null".to_owned()),
            ArgumentType::Float => {
                let number = word.parse::<f64>().ok().filter(|number| number.is_finite());
                number.map(Value::from).ok_or_else(|| "a number, or null".to_owned())
            }
            ArgumentType::Dict => match serde_json::from_str(word) {
                Ok(Value::Object(fields)) => Ok(Value::Object(fields)),
                _ => Err("a JSON object such as '{\"rope_theta\": 500000.0}', or null".to_owned()),
            },
        }
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
            ArgumentType::Dict => value.is_null() || value.is_object(),
        };
        if fits { Ok(()) } else { Err(format!("a value of type {:?}", self.kind).to_lowercase()) }
    }
}
