//! `tojson` as transformers defines it: Python's `json.dumps`, with its spaces, its numbers, and nothing escaped for HTML.

use std::fmt::Write;

use serde_json::Value as Json;

use super::jinja::{Error, Outcome, Value, fail};

struct Style {
    ascii: bool,
    indent: Option<String>,
    comma: String,
    colon: String,
    sort: bool,
}

/// Implements the filter `tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`.
pub(super) fn tojson(
    value: &Value,
    ascii: bool,
    indent: Option<Value>,
    separators: Option<Value>,
    sort: bool,
) -> Outcome<String> {
    let indent = match indent {
        None | Some(Value::None) => None,
        Some(indent) => Some(match (indent.text(), indent.int()) {
            (Some(text), _) => text.to_owned(),
            (_, Some(count)) => " ".repeat(usize::try_from(count).unwrap_or(0).min(64)),
            _ => return fail("an indent is a text or a number"),
        }),
    };
    let (comma, colon) = match separators {
        None | Some(Value::None) if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None | Some(Value::None) => (", ".to_owned(), ": ".to_owned()),
        Some(pair) => {
            let texts: Vec<String> = pair.items()?.iter().filter_map(|text| text.text().map(str::to_owned)).collect();
            let [comma, colon] = texts.as_slice() else { return fail("separators are two texts") };
            (comma.clone(), colon.clone())
        }
    };
    let mut out = String::new();
    write_value(value, &Style { ascii, indent, comma, colon, sort }, 0, &mut out)?;
    Ok(out)
}

fn write_value(value: &Value, style: &Style, depth: usize, out: &mut String) -> Outcome<()> {
    if depth > 100 {
        return fail("a value is nested too deeply");
    }
    match value {
        Value::None => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Float(number) => out.push_str(&json_float(*number)),
        Value::Text(text) | Value::Markup(text) => write_text(text, style.ascii, out),
        Value::List(items) | Value::Tuple(items) => {
            write_list('[', ']', items.iter(), style, depth, out, |item, out| {
                write_value(item, style, depth + 1, out)
            })?;
        }
        Value::Dict(dict) => {
            let mut fields: Vec<&(Value, Value)> = dict.0.iter().collect();
            if style.sort {
                if fields.iter().any(|(key, _)| key.text().is_none()) {
                    return fail("sorting keys that are not texts is not supported");
                }
                fields.sort_by_key(|(key, _)| key.text());
            }
            write_list('{', '}', fields.into_iter(), style, depth, out, |(key, value), out| {
                let name = match key {
                    Value::None => "null".to_owned(),
                    Value::Bool(flag) => flag.to_string(),
                    Value::Int(number) => number.to_string(),
                    Value::Float(number) => json_float(*number),
                    other => match other.text() {
                        Some(text) => text.to_owned(),
                        None => {
                            return fail(format!("keys must be str, int, float, bool or None, not {}", other.kind()));
                        }
                    },
                };
                write_text(&name, style.ascii, out);
                out.push_str(&style.colon);
                write_value(value, style, depth + 1, out)
            })?;
        }
        other => return Err(Error::new(format!("Object of type {} is not JSON serializable", other.kind()))),
    }
    Ok(())
}

fn json_float(number: f64) -> String {
    match number {
        number if number.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        number => float_text(number),
    }
}

fn write_list<T>(
    open: char,
    close: char,
    items: impl ExactSizeIterator<Item = T>,
    style: &Style,
    depth: usize,
    out: &mut String,
    mut each: impl FnMut(T, &mut String) -> Outcome<()>,
) -> Outcome<()> {
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
        each(item, out)?;
    }
    line(depth, out);
    out.push(close);
    Ok(())
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
            write_value(&Value::of_json(&value), style, 0, &mut out).unwrap();
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
