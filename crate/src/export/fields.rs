//! The fields of config.json that a model's sources read, and the model's own values of them.

use serde::Serialize;
use serde_json::{Value, json};

use super::blueprint::runs_of;
use crate::spec::{Field as Declared, FieldKind, ModelConfig, parts};

/// The type in Rust of a number that only some layers have.
pub(super) const OPTIONAL_NUMBER: &str = "Option<f64>";

/// One field: its name, its default in Python and its type in Rust.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) python: String,
    pub(super) rust: &'static str,
    /// Rust's default where config.json lacks the field; `None` if the field is always there.
    pub(super) otherwise: Option<String>,
}

/// Returns the fields that the parts of this model read, except rotary parameters: those of their declarations, sizes
/// first.
pub(super) fn fields_of(config: &ModelConfig) -> Vec<Field> {
    let runs = runs_of(config);
    let final_eps = config.final_norm.then(|| config.norm.kind.eps_field());
    let read = |field: &&Declared| {
        runs.iter().any(|(_, own)| field.is_exported(own)) || final_eps.is_some_and(|eps| eps == field.name)
    };
    let mut fields: Vec<(u8, Field)> = parts::fields()
        .filter(read)
        .filter_map(|field| {
            let own = field.value(config);
            let name = field.name;
            match field.kind {
                FieldKind::Size => {
                    // A size that only some layers have is stored with them.
                    let of_layers = || runs.iter().find_map(|(_, own)| field.value(own));
                    let python = own.clone().or_else(of_layers)?.to_string();
                    let otherwise = (own.is_none() || !field.has_effect(config)).then(|| python.clone());
                    Some((0, Field { name, python, rust: "usize", otherwise }))
                }
                FieldKind::OptionalSize => {
                    let python = python_literal(&own.unwrap_or_default());
                    // Layers that have a size of their own say so themselves, or all have the model's.
                    let shared = runs.iter().all(|(_, layer)| field.value(layer) == field.value(config));
                    let rust = if shared { "usize" } else { "Option<usize>" };
                    let otherwise = (!shared).then(|| "None".to_owned());
                    Some((1, Field { name, python, rust, otherwise }))
                }
                FieldKind::Number | FieldKind::OptionalNumber => {
                    if own.as_ref().is_some_and(Value::is_null) {
                        let (python, otherwise) = ("None".to_owned(), Some("None".to_owned()));
                        return Some((2, Field { name, python, rust: "Option<f64>", otherwise }));
                    }
                    // A number that only some layers use is stored with them.
                    let number = |config: &ModelConfig| field.value(config).filter(Value::is_number);
                    let own = number(config);
                    let otherwise = || runs.iter().find_map(|(_, own)| number(own));
                    let text = literal(own.clone().or_else(otherwise)?.as_f64()?);
                    // Layers without the number may say so.
                    let some = runs.iter().any(|(_, layer)| field.value(layer).is_some_and(|value| value.is_null()));
                    let rust = if some { OPTIONAL_NUMBER } else { "f64" };
                    let otherwise = own.is_none().then(|| if some { "None".to_owned() } else { text.clone() });
                    Some((2, Field { name, rust, otherwise, python: text }))
                }
                _ => None,
            }
        })
        .collect();
    fields.sort_by_key(|(rank, _)| *rank);
    fields.into_iter().map(|(_, field)| field).collect()
}

/// Returns a number as Python and Rust write it, so that it reads back as it is.
pub(super) fn literal(value: f64) -> String {
    format!("{value:?}")
}

/// Returns a JSON value as Python writes it.
pub(super) fn python_literal(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(python_literal).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("\"{name}\": {}", python_literal(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

/// As [`python_literal`], with one line for each entry where one line for all would be long.
pub(super) fn python_block(value: &Value, indent: usize) -> String {
    let whole = python_literal(value);
    if whole.len() + indent <= 90 {
        return whole;
    }
    let inside = " ".repeat(indent + 4);
    let block = |open: char, entries: Vec<String>, close: char| {
        let lines: String = entries.iter().map(|entry| format!("{inside}{entry},\n")).collect();
        format!("{open}\n{lines}{}{close}", " ".repeat(indent))
    };
    match value {
        Value::Array(items) => block('[', items.iter().map(|item| python_block(item, indent + 4)).collect(), ']'),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("\"{name}\": {}", python_block(value, indent + 4)));
            block('{', fields.collect(), '}')
        }
        _ => whole,
    }
}

/// Returns the runs of a stack of unequal layers as config.json has them.
pub(super) fn runs_json(config: &ModelConfig) -> Value {
    let runs = config.layers.iter().map(|run| {
        let mut entry = run.set.clone();
        entry.insert("count".to_owned(), json!(run.count));
        Value::Object(entry)
    });
    runs.collect()
}
