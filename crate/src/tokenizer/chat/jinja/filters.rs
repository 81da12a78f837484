//! Jinja's filters: those of single values. Those of lists are in `lists.rs`.

use std::rc::Rc;

use super::error::{Error, Outcome, fail};
use super::eval::{Called, Interpreter};
use super::format::percent;
use super::text::{html_escaped, repr, str_of};
use super::value::{Value, View};
use super::{lists, words};
use super::{string_parts, strings};
use crate::tokenizer::chat::python_json::tojson;

/// Every filter.
pub(super) const NAMES: &[&str] = &[
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "random",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "urlize",
    "wordcount",
    "wordwrap",
    "xmlattr",
];

/// Returns an integer argument.
pub(super) fn int(value: Option<Value>, usual: i128) -> Outcome<i128> {
    match value {
        None => Ok(usual),
        Some(value) => value.int().ok_or_else(|| Error::new(format!("an integer was expected, not {}", value.kind()))),
    }
}

fn flag(value: Option<Value>, usual: bool) -> bool {
    value.map_or(usual, |value| value.truth())
}

fn texts(value: &Option<Value>, usual: &str) -> Outcome<String> {
    value.as_ref().map_or_else(|| Ok(usual.to_owned()), str_of)
}

/// Fails for a value that is not there.
fn present(value: &Value) -> Outcome<()> {
    match value {
        Value::Undefined(undefined) => Err(super::value::missing(undefined)),
        _ => Ok(()),
    }
}

/// Returns the text of a text; other values fail.
fn own_text(value: &Value) -> Outcome<&str> {
    present(value)?;
    value.text().ok_or_else(|| Error::new(format!("'{}' object has no attribute 'splitlines'", value.kind())))
}

pub(super) fn filter(interpreter: &mut Interpreter, name: &str, value: Value, called: Called) -> Outcome<Value> {
    Ok(match name {
        "abs" => match &value {
            Value::Float(number) => Value::Float(number.abs()),
            other => match other.int() {
                Some(number) => Value::Int(number.abs()),
                None => return fail(format!("bad operand type for abs(): '{}'", other.kind())),
            },
        },
        "attr" => {
            let [name] = called.bind(["name"], 1)?;
            let name = str_of(&name.unwrap_or(Value::None))?;
            match super::methods::attribute(&value, &name)? {
                Some(found) => found,
                None => Value::undefined(format!("'{} object' has no attribute '{name}'", value.kind())),
            }
        }
        "capitalize" => string_parts::capitalized(&str_of(&value)?).into(),
        "center" => {
            let [width] = called.bind(["width"], 0)?;
            string_parts::justified(&str_of(&value)?, int(width, 80)?, " ", "center")?.into()
        }
        "default" | "d" => {
            let [default, boolean] = called.bind(["default_value", "boolean"], 0)?;
            let replaced = value.is_undefined() || (flag(boolean, false) && !value.truth());
            if replaced { default.unwrap_or_else(|| "".into()) } else { value }
        }
        "e" | "escape" | "forceescape" => match value {
            Value::Markup(_) if name != "forceescape" => value,
            other => Value::Markup(html_escaped(&str_of(&other)?).into()),
        },
        "safe" => Value::Markup(str_of(&value)?.into()),
        "filesizeformat" => {
            let [binary] = called.bind(["binary"], 0)?;
            words::file_size(number(&value)?, flag(binary, false)).into()
        }
        "float" => {
            let [default] = called.bind(["default"], 0)?;
            present(&value)?;
            let parsed = match value.text() {
                Some(text) => parse_float(text),
                None => value.float(),
            };
            parsed.map_or_else(|| default.unwrap_or(Value::Float(0.0)), Value::Float)
        }
        "int" => {
            let [default, base] = called.bind(["default", "base"], 0)?;
            present(&value)?;
            let base = u32::try_from(int(base, 10)?).unwrap_or(10);
            let parsed = match (&value, value.text()) {
                (_, Some(text)) => parse_int(text, base).or_else(|| truncated(parse_float(text)?)),
                (Value::Float(number), _) => truncated(*number),
                (other, _) => other.int(),
            };
            parsed.map_or_else(|| default.unwrap_or(Value::Int(0)), Value::Int)
        }
        "format" => {
            let Called { positional, named } = called;
            if !positional.is_empty() && !named.is_empty() {
                return fail("can't handle positional and keyword arguments at the same time");
            }
            let arguments = match named.is_empty() {
                true => Value::tuple(positional),
                false => {
                    let named = named.into_iter().map(|(name, value)| (name.into(), value)).collect();
                    Value::Dict(Rc::new(super::value::Dict::of(named)))
                }
            };
            percent(&str_of(&value)?, &arguments)?.into()
        }
        "indent" => {
            let [width, first, blank] = called.bind(["width", "first", "blank"], 0)?;
            let width = match width {
                Some(width) if width.text().is_some() => str_of(&width)?,
                width => " ".repeat(usize::try_from(int(width, 4)?.min(1000)).unwrap_or(0)),
            };
            words::indented(own_text(&value)?, &width, flag(first, false), flag(blank, false)).into()
        }
        "items" => match &value {
            Value::Undefined(_) => Value::generator(Vec::new()),
            Value::Dict(dict) => Value::generator(Value::View(View::Items, Rc::clone(dict)).items()?),
            _ => return fail("Can only get item pairs from a mapping."),
        },
        "length" | "count" => Value::Int(value.len()? as i128),
        "lower" => str_of(&value)?.to_lowercase().into(),
        "upper" => str_of(&value)?.to_uppercase().into(),
        "string" => match value {
            Value::Markup(_) => value,
            other => str_of(&other)?.into(),
        },
        "title" => words::titled(&str_of(&value)?).into(),
        "pprint" => words::pretty(&value)?.into(),
        "replace" => {
            let [old, new, count] = called.bind(["old", "new", "count"], 2)?;
            let count = match count {
                None | Some(Value::None) => usize::MAX,
                count => usize::try_from(int(count, -1)?).unwrap_or(usize::MAX),
            };
            str_of(&value)?.replacen(&texts(&old, "")?, &texts(&new, "")?, count).into()
        }
        "round" => {
            let [precision, method] = called.bind(["precision", "method"], 0)?;
            words::rounded(&value, int(precision, 0)?, &texts(&method, "common")?)?
        }
        "striptags" => words::without_tags(&str_of(&value)?).into(),
        "trim" => {
            let [characters] = called.bind(["chars"], 0)?;
            let characters = characters.as_ref().filter(|value| !matches!(value, Value::None));
            let characters =
                characters.map(|value| value.text().ok_or_else(|| Error::new("strip arg must be None or str")));
            string_parts::strip(&str_of(&value)?, characters.transpose()?, "strip").into()
        }
        "truncate" => {
            let [length, kill, end, leeway] = called.bind(["length", "killwords", "end", "leeway"], 0)?;
            let leeway = match leeway {
                None | Some(Value::None) => 5,
                leeway => int(leeway, 5)?,
            };
            let end = texts(&end, "...")?;
            let length = int(length, 255)?;
            // What is not a text stays, if it is short enough.
            if value.text().is_none() {
                return match value.len()? as i128 <= length + leeway {
                    true => Ok(value),
                    false => fail(format!("'{}' object has no attribute 'rsplit'", value.kind())),
                };
            }
            words::truncated(own_text(&value)?, length, flag(kill, false), &end, leeway)?.into()
        }
        "urlencode" => words::url_encoded(&value)?.into(),
        "urlize" => words::with_links(&str_of(&value)?)?.into(),
        "wordcount" => Value::Int(words::count(&str_of(&value)?)),
        "wordwrap" => {
            let [width, long, wrap, hyphens] =
                called.bind(["width", "break_long_words", "wrapstring", "break_on_hyphens"], 0)?;
            let wrap = texts(&wrap.filter(|value| !matches!(value, Value::None)), "\n")?;
            let width = int(width, 79)?;
            words::wrapped(own_text(&value)?, width, flag(long, true), &wrap, flag(hyphens, true))?.into()
        }
        "xmlattr" => {
            let [space] = called.bind(["autospace"], 0)?;
            words::xml_attributes(&value, flag(space, true))?.into()
        }
        "tojson" => {
            let [ascii, indent, separators, sort] =
                called.bind(["ensure_ascii", "indent", "separators", "sort_keys"], 0)?;
            tojson(&value, flag(ascii, false), indent, separators, flag(sort, false))?.into()
        }
        _ => return lists::filter(interpreter, name, value, called),
    })
}

pub(super) fn number(value: &Value) -> Outcome<f64> {
    match value.text() {
        Some(text) => parse_float(text),
        None => value.float(),
    }
    .ok_or_else(|| Error::new(format!("a number was expected, not {}", repr(value).unwrap_or_default())))
}

fn truncated(number: f64) -> Option<i128> {
    (number.is_finite() && number.abs() < 1e37).then_some(number.trunc() as i128)
}

/// Returns the number of a text as Python's `float` reads it.
fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim_matches(strings::is_space);
    let valid = |part: &str| !part.starts_with('_') && !part.ends_with('_') && !part.contains("__");
    if !valid(text) || text.split(['.', 'e', 'E', '+', '-']).any(|part| !valid(part)) {
        return None;
    }
    text.replace('_', "").parse().ok()
}

/// Returns the number of a text as Python's `int` reads it.
fn parse_int(text: &str, base: u32) -> Option<i128> {
    let text = text.trim_matches(strings::is_space);
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let prefix = digits.get(..2).unwrap_or_default().to_ascii_lowercase();
    let (base, digits) = match (prefix.as_str(), base) {
        ("0b", 2 | 0) => (2, &digits[2..]),
        ("0o", 8 | 0) => (8, &digits[2..]),
        ("0x", 16 | 0) => (16, &digits[2..]),
        (_, 0) => (10, digits),
        (_, 2..=36) => (base, digits),
        _ => return None,
    };
    if digits.ends_with('_') || digits.contains("__") || digits.is_empty() || digits.starts_with(['+', '-']) {
        return None;
    }
    i128::from_str_radix(&digits.replace('_', ""), base).ok()?.checked_mul(sign)
}
