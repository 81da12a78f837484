//! `tojson` as transformers defines it: Python's `json.dumps`, with its spaces, its numbers, and nothing escaped for HTML.

use std::fmt::Write;

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, Value};
use serde_json::Value as Json;

struct Style {
    ascii: bool,
    indent: Option<String>,
    comma: String,
    colon: String,
    sort: bool,
}

/// Implements the filter `tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`.
pub(super) fn tojson(value: &Value, ensure_ascii: Option<bool>, options: Kwargs) -> Result<String, Error> {
    let ascii = match ensure_ascii {
        Some(ascii) => ascii,
        None => options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
    };
    let indent = options.get::<Option<Value>>("indent")?.filter(|indent| !indent.is_none() && !indent.is_undefined());
    let indent = match indent {
        None => None,
        Some(text) if text.as_str().is_some() => text.as_str().map(str::to_owned),
        Some(count) => Some(" ".repeat(usize::try_from(count)?.min(64))),
    };
    let separators = options.get::<Option<Vec<String>>>("separators")?;
    let (comma, colon) = match separators.as_deref() {
        Some([comma, colon]) => (comma.clone(), colon.clone()),
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "separators are two texts")),
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    let sort = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    if value.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, "an undefined value has no JSON"));
    }
    let json = serde_json::to_value(value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, format!("it has no JSON: {error}")))?;
    let mut out = String::new();
    write_value(&json, &Style { ascii, indent, comma, colon, sort }, 0, &mut out);
    Ok(out)
}

fn write_value(value: &Json, style: &Style, depth: usize, out: &mut String) {
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Json::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => out.push_str(&float_text(float)),
            None => out.push_str(&number.to_string()),
        },
        Json::String(text) => write_text(text, style.ascii, out),
        Json::Array(items) => write_list('[', ']', items.iter(), style, depth, out, |item, out| {
            write_value(item, style, depth + 1, out);
        }),
        Json::Object(fields) => {
            let mut fields: Vec<(&String, &Json)> = fields.iter().collect();
            if style.sort {
                fields.sort_by_key(|(name, _)| *name);
            }
            write_list('{', '}', fields.into_iter(), style, depth, out, |(name, value), out| {
                write_text(name, style.ascii, out);
                out.push_str(&style.colon);
                write_value(value, style, depth + 1, out);
            });
        }
    }
}

fn write_list<T>(
    open: char,
    close: char,
    items: impl ExactSizeIterator<Item = T>,
    style: &Style,
    depth: usize,
    out: &mut String,
    mut each: impl FnMut(T, &mut String),
) {
    out.push(open);
    let empty = items.len() == 0;
    let line = |depth: usize, out: &mut String| {
        if let Some(indent) = style.indent.as_ref().filter(|_| !empty) {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    };
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push_str(&style.comma);
        }
        line(depth + 1, out);
        each(item, out);
    }
    line(depth, out);
    out.push(close);
}

fn write_text(text: &str, ascii: bool, out: &mut String) {
    let quoted = Json::from(text).to_string();
    if !ascii {
        out.push_str(&quoted);
        return;
    }
    for character in quoted.chars() {
        if (' '..='~').contains(&character) {
            out.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
}

/// Returns a float as Python writes it: the shortest digits, an exponent below 1e-4 and from 1e16 on.
pub(super) fn float_text(float: f64) -> String {
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => {
            let plain = float.to_string();
            if plain.contains('.') { plain } else { format!("{plain}.0") }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_written_like_pythons() {
        let value =
            json!({ "b": [1, 2.0, 1e16, 1e-5, -0.5], "a": { "é": "<'\"\n\u{1f}&>" }, "c": [], "d": {}, "e": null });
        let style = |indent: Option<&str>, ascii, sort| Style {
            ascii,
            indent: indent.map(str::to_owned),
            comma: if indent.is_some() { ",".to_owned() } else { ", ".to_owned() },
            colon: ": ".to_owned(),
            sort,
        };
        let written = |style: &Style| {
            let mut out = String::new();
            write_value(&value, style, 0, &mut out);
            out
        };
        let plain = r#"{"b": [1, 2.0, 1e+16, 1e-05, -0.5], "a": {"é": "<'\"\n\u001f&>"}, "c": [], "d": {}, "e": null}"#;
        assert_eq!(written(&style(None, false, false)), plain);
        assert!(written(&style(None, true, false)).contains(r#""\u00e9""#));
        let pretty = written(&style(Some("  "), false, true));
        assert!(pretty.starts_with("{\n  \"a\": {\n    \"é\": "), "{pretty}");
        assert!(pretty.ends_with("\n  ],\n  \"c\": [],\n  \"d\": {},\n  \"e\": null\n}"), "{pretty}");
    }
}
