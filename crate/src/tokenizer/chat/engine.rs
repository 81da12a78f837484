//! Jinja as in transformers' chat templates: its functions and its JSON, without files, and with a limit on steps.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::LazyLock;
use std::time::SystemTime;

use chrono::{DateTime, Local};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};
use regex::Regex;
use serde_json::{Map, Value as Json, json};

use super::{Chat, python_json};

/// Steps for a template, and more for each byte of the conversation; a step pays for 64 bytes of text. Llama 3.1's takes
/// about 500 for a message.
const FUEL: u64 = 1_000_000;
const FUEL_PER_BYTE: u64 = 20;

/// Why a template could not be rendered, and on which line, if that is known.
#[derive(Debug)]
pub(super) enum Fault {
    /// The template called `raise_exception`.
    Raised { message: String, line: Option<usize> },
    /// It ran out of steps.
    Endless { line: Option<usize> },
    /// It is not a template, or its evaluation failed.
    Failed { reason: String, line: Option<usize> },
}

/// The error that `raise_exception` adds to the chain of causes.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

/// Renders a conversation; `tokens` are the texts of roles such as `bos_token`.
pub(super) fn render(template: &str, chat: &Chat, tokens: &[(&str, String)]) -> Result<String, Fault> {
    let mut context: Map<String, Json> = tokens.iter().map(|(role, text)| ((*role).to_owned(), json!(text))).collect();
    for (name, absent) in [("tools", Json::Null), ("documents", Json::Null), ("add_generation_prompt", json!(false))] {
        context.insert(name.to_owned(), absent);
    }
    context.extend(chat.fields.iter().map(|(name, value)| (name.clone(), value.clone())));
    if let Some(Json::Array(messages)) = context.get_mut("messages") {
        messages.iter_mut().for_each(name_reasoning);
    }
    let context = Json::Object(context);
    let mut environment = environment(chat.now);
    environment.set_fuel(Some(FUEL + FUEL_PER_BYTE * context.to_string().len() as u64));
    let template = without_generation_blocks(template);
    let template = environment.template_from_named_str("chat template", &template).map_err(|error| fault(&error))?;
    template.render(Value::from(Serde(&context))).map_err(|error| fault(&error))
}

/// A message's reasoning has had several names; as in transformers, templates find it under two.
fn name_reasoning(message: &mut Json) {
    let Some(fields) = message.as_object_mut() else { return };
    let names = ["reasoning_content", "thinking", "reasoning"];
    let Some(reasoning) = names.iter().find_map(|name| fields.get(*name).filter(|value| !value.is_null()).cloned())
    else {
        return;
    };
    fields.entry("thinking").or_insert_with(|| reasoning.clone());
    fields.insert("reasoning_content".to_owned(), reasoning);
}

fn environment(now: Option<SystemTime>) -> Environment<'static> {
    let mut environment = Environment::new();
    // Delimiters are Jinja's own, so this cannot fail; if it did, templates would keep blank lines.
    if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
        environment.set_syntax(syntax);
    }
    environment.set_debug(true);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_formatter(|output, state, value| match f64::try_from(value.clone()) {
        Ok(float) if value.is_number() && !value.is_integer() => Ok(output.write_str(&python_json::float_text(float))?),
        _ => minijinja::escape_formatter(output, state, value),
    });
    environment.add_filter("tojson", python_json::tojson);
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
    });
    environment.add_function("strftime_now", move |format: String| -> Result<String, Error> {
        let now = DateTime::<Local>::from(now.unwrap_or_else(SystemTime::now));
        let mut text = String::new();
        match write!(text, "{}", now.format(&format)) {
            Ok(()) => Ok(text),
            Err(_) => Err(Error::new(ErrorKind::InvalidOperation, format!("invalid date format `{format}`"))),
        }
    });
    environment
}

/// `{% generation %}` marks what an assistant says, for training on it; here it is a block like any other.
fn without_generation_blocks(template: &str) -> Cow<'_, str> {
    static TAG: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(\{%[-+]?\s*)(end)?generation(\s*[-+]?%\})").ok());
    match TAG.as_ref() {
        Some(tag) => tag.replace_all(template, "${1}${2}with${3}"),
        None => Cow::Borrowed(template),
    }
}

fn fault(error: &Error) -> Fault {
    let mut line = error.line();
    let mut innermost = error;
    let mut next: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(cause) = next {
        if let Some(Raised(message)) = cause.downcast_ref::<Raised>() {
            return Fault::Raised { message: message.clone(), line };
        }
        if let Some(inner) = cause.downcast_ref::<Error>() {
            line = inner.line().or(line);
            innermost = inner;
        }
        next = cause.source();
    }
    if innermost.kind() == ErrorKind::OutOfFuel {
        return Fault::Endless { line };
    }
    let reason = match innermost.detail() {
        Some(detail) => format!("{}: {detail}", innermost.kind()),
        None => innermost.kind().to_string(),
    };
    Fault::Failed { reason, line }
}
