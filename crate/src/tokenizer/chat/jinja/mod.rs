//! Jinja with Python's values, as transformers renders chat templates: its environment, its functions, its sandbox.
//!
//! A template is a program in Python's semantics: texts are joined with `+` and formatted with `%`, numbers are not joined
//! with texts, `1 / 3` is a float, `None` is written so. An interpreter for another language's values differs silently in
//! such places, and a chat that differs by a character is another prompt. What is not supported here is an error.

mod ast;
mod braces;
mod error;
mod eval;
mod exec;
mod expressions;
mod filters;
mod format;
mod functions;
mod lexer;
mod lists;
mod methods;
mod names;
mod operators;
mod parser;
mod scope;
mod specification;
mod string_parts;
mod strings;
mod tests;
mod text;
mod value;
mod words;

use std::ops::Range;
use std::rc::Rc;
use std::time::SystemTime;

use serde_json::{Map, Value as Json};

pub(super) use error::{Error, Outcome, fail};
use eval::Interpreter;
use scope::Scope;
pub(super) use value::Value;
use value::{Dict, Object};

/// Why a template could not be rendered.
#[derive(Debug)]
pub(super) enum Failure {
    /// It called `raise_exception`.
    Raised(String),
    /// It ran out of steps.
    Endless,
    /// It is not a template, or its evaluation failed.
    Failed(String),
}

/// Renders a template with `context`; `fuel` is how many steps it may take. With `marks` the places of what the template
/// marks as the assistant's come with the text. A failure comes with its line.
pub(super) fn render(
    template: &str,
    context: &Map<String, Json>,
    fuel: u64,
    now: Option<SystemTime>,
    marks: bool,
) -> Result<(String, Vec<Range<usize>>), (Failure, Option<usize>)> {
    let rendered = run(template, context, fuel, now, marks);
    rendered.map_err(|error| {
        let line = Some(error.line).filter(|line| *line > 0);
        let failure = match error.kind {
            error::Kind::Raised => Failure::Raised(error.what),
            error::Kind::Endless => Failure::Endless,
            error::Kind::Syntax | error::Kind::Failed => Failure::Failed(error.what),
        };
        (failure, line)
    })
}

fn run(
    template: &str,
    context: &Map<String, Json>,
    fuel: u64,
    now: Option<SystemTime>,
    marks: bool,
) -> Result<(String, Vec<Range<usize>>), Error> {
    let nodes = parser::parse(template)?;
    let mut interpreter = Interpreter::new(fuel, now);
    interpreter.marks = marks;
    interpreter.blocks = names::check(&nodes)?;
    let mut names: Vec<(String, Value)> = context
        .iter()
        .map(|(name, value)| {
            let value = if name == "messages" { messages(value) } else { Value::of_json(value) };
            (name.clone(), value)
        })
        .collect();
    if !context.contains_key("self") {
        names.push(("self".to_owned(), Value::object(Object::Blocks)));
    }
    let top = Scope::new(names).inner();
    interpreter.top = Some(top.clone());
    let text = interpreter.text_of(&nodes, &top);
    // A macro is among the names that it sees, which would keep both alive.
    top.clear();
    let text = text?;
    Ok(if marks { without_marks(&text) } else { (text, Vec::new()) })
}

/// What stands around the assistant's text while it is rendered: two code points that are not characters.
const MARKS: [char; 2] = ['\u{fdd0}', '\u{fdd1}'];

/// Returns a text without the marks, and where they were.
fn without_marks(text: &str) -> (String, Vec<Range<usize>>) {
    let (mut out, mut spans, mut begin) = (String::with_capacity(text.len()), Vec::new(), None);
    for c in text.chars() {
        match c {
            c if c == MARKS[0] => begin = Some(out.len()),
            c if c == MARKS[1] => spans.extend(begin.take().map(|begin| begin..out.len())),
            c => out.push(c),
        }
    }
    (out, spans)
}

/// Messages without their fields that are null, which transformers leaves out.
fn messages(json: &Json) -> Value {
    let Json::Array(messages) = json else { return Value::of_json(json) };
    let one = |message: &Json| match message {
        Json::Object(fields) => {
            let mut dict = Dict::default();
            for (name, value) in fields {
                match value {
                    Json::Null => dict.1.push(name.clone()),
                    value => dict.0.push((name.as_str().into(), Value::of_json(value))),
                }
            }
            Value::Dict(Rc::new(dict))
        }
        other => Value::of_json(other),
    };
    messages.iter().map(one).collect::<Vec<_>>().into()
}
