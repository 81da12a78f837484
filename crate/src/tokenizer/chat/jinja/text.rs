//! Values as text: Python's `str` and `repr`.

use std::fmt::Write;
use std::sync::LazyLock;

use regex::Regex;

use super::error::{Outcome, fail};
use super::value::{Object, Value, View};
use crate::tokenizer::chat::python_json::float_text;

/// Returns `str(value)`.
pub(super) fn str_of(value: &Value) -> Outcome<String> {
    match value {
        Value::Text(text) | Value::Markup(text) => Ok(text.to_string()),
        Value::Undefined(_) => Ok(String::new()),
        other => repr(other),
    }
}

/// Returns `repr(value)`. What Python writes with an address in memory is refused: no text of it is right.
pub(super) fn repr(value: &Value) -> Outcome<String> {
    let mut out = String::new();
    write_repr(value, &mut out, 0)?;
    Ok(out)
}

fn write_repr(value: &Value, out: &mut String, depth: usize) -> Outcome<()> {
    if depth > 100 {
        return fail("a value is nested too deeply");
    }
    match value {
        Value::Undefined(_) => out.push_str("Undefined"),
        Value::None => out.push_str("None"),
        Value::Bool(flag) => out.push_str(if *flag { "True" } else { "False" }),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Float(number) => out.push_str(&python_float(*number)),
        Value::Text(text) => quoted(text, out),
        Value::Markup(text) => {
            out.push_str("Markup(");
            quoted(text, out);
            out.push(')');
        }
        Value::Bytes(bytes) => bytes_repr(bytes, out),
        Value::List(items) => listed('[', items, ']', out, depth)?,
        Value::Tuple(items) => {
            listed('(', items, ')', out, depth)?;
            if items.len() == 1 {
                out.pop();
                out.push_str(",)");
            }
        }
        Value::Dict(dict) => {
            out.push('{');
            for (index, (key, value)) in dict.0.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_repr(key, out, depth + 1)?;
                out.push_str(": ");
                write_repr(value, out, depth + 1)?;
            }
            out.push('}');
        }
        Value::View(kind, _) => {
            let name = match kind {
                View::Keys => "dict_keys(",
                View::Values => "dict_values(",
                View::Items => "dict_items(",
            };
            out.push_str(name);
            listed('[', &value.items()?, ']', out, depth)?;
            out.push(')');
        }
        Value::Range(start, stop, step) => {
            out.push_str(&format!("range({start}, {stop}"));
            out.push_str(&if *step == 1 { ")".to_owned() } else { format!(", {step})") });
        }
        Value::Namespace(names) => {
            out.push_str("<Namespace {");
            for (index, (name, value)) in names.borrow().iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                quoted(name, out);
                out.push_str(": ");
                write_repr(value, out, depth + 1)?;
            }
            out.push_str("}>");
        }
        Value::Object(object) => match &**object {
            Object::Macro(node, _) => match &node.name {
                Some(name) => {
                    out.push_str("<Macro ");
                    quoted(name, out);
                    out.push('>');
                }
                None => out.push_str("<Macro anonymous>"),
            },
            Object::Loop(state) => {
                let state = state.borrow();
                out.push_str(&format!("<LoopContext {}/{}>", state.at + 1, state.items.len()));
            }
            Object::Function("range") => out.push_str("<class 'range'>"),
            _ => return fail(format!("a {} has no text of its own", value.kind())),
        },
        Value::Generator(_) => return fail("a generator has no text of its own; make a list of it with `| list`"),
    }
    Ok(())
}

fn listed(open: char, items: &[Value], close: char, out: &mut String, depth: usize) -> Outcome<()> {
    out.push(open);
    for (index, item) in items.iter().enumerate() {
        out.push_str(if index > 0 { ", " } else { "" });
        write_repr(item, out, depth + 1)?;
    }
    out.push(close);
    Ok(())
}

/// Returns a float as Python writes it.
pub(super) fn python_float(number: f64) -> String {
    if number.is_nan() {
        "nan".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "inf".to_owned() } else { "-inf".to_owned() }
    } else {
        float_text(number)
    }
}

/// Returns whether Python writes a character as it is in `repr`.
pub(super) fn is_printable(c: char) -> bool {
    static OTHERS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[\p{C}\p{Z}]").ok());
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    let mut raw = [0; 4];
    OTHERS.as_ref().is_none_or(|others| !others.is_match(c.encode_utf8(&mut raw)))
}

/// A text in quotes, with what cannot be shown escaped.
fn quoted(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if is_printable(c) => out.push(c),
            c => escape(c, out),
        }
    }
    out.push(quote);
}

/// A character as `\x..`, `\u....` or `\U........`.
pub(super) fn escape(c: char, out: &mut String) {
    let code = u32::from(c);
    // Writing to a string does not fail.
    let _ = match code {
        0..=0xff => write!(out, "\\x{code:02x}"),
        0x100..=0xffff => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

fn bytes_repr(bytes: &[u8], out: &mut String) {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' };
    out.push('b');
    out.push(quote);
    for &byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            byte if char::from(byte) == quote => {
                out.push('\\');
                out.push(quote);
            }
            b' '..=b'~' => out.push(char::from(byte)),
            byte => escape(char::from(byte), out),
        }
    }
    out.push(quote);
}

/// Returns a text with what HTML means escaped.
pub(super) fn html_escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('>', "&gt;").replace('<', "&lt;");
    text.replace('\'', "&#39;").replace('"', "&#34;")
}
