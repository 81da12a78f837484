//! The fields of config.json that a model's sources read, and the model's own values of them.

use serde::Serialize;
use serde_json::{Value, json};

use super::blueprint::{Blueprint, runs_of};
use crate::spec::{Dropouts, ModelConfig, NormPlacement};

/// One field: its name, its default in Python and its type in Rust.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) python: String,
    pub(super) rust: &'static str,
    /// What Rust takes if config.json does not have the field; nothing if it always does.
    pub(super) otherwise: Option<String>,
}

/// The fields that the parts of this model read, rotary parameters aside.
pub(super) fn fields_of(config: &ModelConfig, blueprint: &Blueprint) -> Vec<Field> {
    let runs = runs_of(config);
    let any = |holds: &dyn Fn(&ModelConfig) -> bool| runs.iter().any(|(_, own)| holds(own));
    let mut fields = Vec::new();
    let mut size = |used: bool, name, value: usize| {
        if used {
            fields.push(Field { name, python: value.to_string(), rust: "usize", otherwise: None });
        }
    };
    size(true, "vocab_size", config.vocab_size);
    size(true, "hidden_size", config.hidden_size);
    size(!blueprint.feedforwards.is_empty(), "intermediate_size", config.intermediate_size);
    size(true, "num_hidden_layers", config.num_hidden_layers);
    size(blueprint.any.multi_head, "num_attention_heads", config.num_attention_heads);
    size(blueprint.any.grouped, "num_key_value_heads", config.num_key_value_heads);
    size(blueprint.any.multi_head, "head_dim", config.head_dim);
    size(true, "max_position_embeddings", config.max_position_embeddings);
    if blueprint.any.window {
        let python = config.sliding_window.map_or("None".to_owned(), |window| window.to_string());
        // Layers that have a window say so themselves, or all have the model's.
        let rust = if blueprint.shared.window { "usize" } else { "Option<usize>" };
        let otherwise = (!blueprint.shared.window).then(|| "None".to_owned());
        fields.push(Field { name: "sliding_window", python, rust, otherwise });
    }
    let mut number = |name, value: f64, always: bool| {
        let text = literal(value);
        let otherwise = (!always).then(|| text.clone());
        fields.push(Field { name, python: text, rust: "f64", otherwise });
    };
    let norms = config.final_norm.then_some(config.norm).into_iter().chain(runs.iter().map(|(_, own)| own.norm));
    let mut seen = Vec::new();
    for norm in norms {
        if !seen.contains(&norm.kind) {
            number(norm.kind.eps_field(), norm.eps, norm.kind == config.norm.kind);
            seen.push(norm.kind);
        }
    }
    if let Some(alpha) = runs.iter().find_map(|(_, own)| match own.placement {
        NormPlacement::DeepNet { alpha } => alpha,
        NormPlacement::Pre | NormPlacement::Post => None,
    }) {
        number("deepnet_alpha", alpha, true);
    }
    for (index, (name, value)) in config.dropout.fields().into_iter().enumerate() {
        let used = |dropout: &Dropouts| dropout.fields()[index].1 > 0.0;
        // The embedding belongs to the model, all else to its layers.
        if if name == "embedding_dropout" { used(&config.dropout) } else { any(&|own| used(&own.dropout)) } {
            number(name, value, true);
        }
    }
    fields
}

/// A number as Python and Rust write it, so that it reads back as it is.
pub(super) fn literal(value: f64) -> String {
    format!("{value:?}")
}

/// A JSON value as Python writes it.
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

/// The runs of a stack of unequal layers as config.json has them.
pub(super) fn runs_json(config: &ModelConfig) -> Value {
    let runs = config.layers.iter().map(|run| {
        let mut entry = run.set.clone();
        entry.insert("count".to_owned(), json!(run.count));
        Value::Object(entry)
    });
    runs.collect()
}
