//! What the methods of Python's texts do.

use super::error::{Error, Outcome, fail};
use super::strings::{MAX_WIDTH, int_of, is_space};
use super::value::Value;

pub(super) fn split(text: &str, separator: Option<&str>, most: usize, from_right: bool) -> Outcome<Vec<Value>> {
    let mut parts: Vec<&str> = match separator {
        Some("") => return fail("empty separator"),
        Some(separator) if from_right => text.rsplitn(most.saturating_add(1), separator).collect(),
        Some(separator) => text.splitn(most.saturating_add(1), separator).collect(),
        None => {
            let mut parts = Vec::new();
            let mut rest = text.trim_matches(is_space);
            while !rest.is_empty() && parts.len() < most {
                let cut = if from_right { rest.rfind(is_space) } else { rest.find(is_space) };
                let Some(cut) = cut else { break };
                if from_right {
                    let after = cut + rest[cut..].chars().next().map_or(1, char::len_utf8);
                    parts.push(&rest[after..]);
                    rest = rest[..cut].trim_end_matches(is_space);
                } else {
                    parts.push(&rest[..cut]);
                    rest = rest[cut..].trim_start_matches(is_space);
                }
            }
            // What is left keeps the blanks on its far side only.
            if !rest.is_empty() {
                let rest = match (parts.is_empty(), most == 0, from_right) {
                    (true, true, false) => text.trim_start_matches(is_space),
                    (true, true, true) => text.trim_end_matches(is_space),
                    _ => rest,
                };
                parts.push(rest);
            }
            parts
        }
    };
    if separator.is_none() && !from_right && parts.len() > most && most > 0 {
        // Python leaves the blanks at the end of a text that was not split to its end.
        if let Some(last) = parts.last_mut() {
            let begin = last.as_ptr() as usize - text.as_ptr() as usize;
            *last = &text[begin..];
        }
    }
    if separator.is_none()
        && from_right
        && parts.len() > most
        && most > 0
        && let Some(last) = parts.last_mut()
    {
        let end = last.as_ptr() as usize - text.as_ptr() as usize + last.len();
        *last = &text[..end];
    }
    if from_right {
        parts.reverse();
    }
    Ok(parts.into_iter().map(Value::from).collect())
}

pub(super) fn lines(text: &str, keep: bool) -> Vec<Value> {
    let mut lines = Vec::new();
    let mut begin = 0;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if !matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}') {
            continue;
        }
        let mut end = at + c.len_utf8();
        if c == '\r' && chars.next_if(|(_, next)| *next == '\n').is_some() {
            end += 1;
        }
        lines.push(Value::from(&text[begin..if keep { end } else { at }]));
        begin = end;
    }
    if begin < text.len() {
        lines.push(Value::from(&text[begin..]));
    }
    lines
}

pub(super) fn strip<'a>(text: &'a str, characters: Option<&str>, name: &str) -> &'a str {
    let taken = |c: char| characters.map_or_else(|| is_space(c), |characters| characters.contains(c));
    let text = if name == "rstrip" { text } else { text.trim_start_matches(taken) };
    if name == "lstrip" { text } else { text.trim_end_matches(taken) }
}

/// Returns the part of a text between two indices; `None` if the first lies beyond its end.
pub(super) fn part<'a>(text: &'a str, start: &Option<Value>, stop: &Option<Value>) -> Outcome<Option<&'a str>> {
    let len = text.chars().count() as i128;
    let bound = |value: &Option<Value>, usual: i128| -> Outcome<i128> {
        let index = match value {
            None | Some(Value::None) => usual,
            value => int_of(value, usual)?,
        };
        Ok(if index < 0 { (index + len).max(0) } else { index })
    };
    let (start, stop) = (bound(start, 0)?, bound(stop, len)?.min(len));
    if start > stop {
        return Ok(None);
    }
    let byte = |index: i128| text.char_indices().nth(index as usize).map_or(text.len(), |(at, _)| at);
    Ok(Some(&text[byte(start)..byte(stop)]))
}

pub(super) fn justified(text: &str, width: i128, fill: &str, name: &str) -> Outcome<String> {
    if fill.chars().count() != 1 {
        return fail("The fill character must be exactly one character long");
    }
    let missing = usize::try_from(width.min(MAX_WIDTH) - text.chars().count() as i128).unwrap_or(0);
    let left = match name {
        "ljust" => 0,
        "rjust" => missing,
        // CPython puts the odd one to the left where the width is odd.
        _ => missing / 2 + (missing & width as usize & 1),
    };
    Ok(format!("{}{text}{}", fill.repeat(left), fill.repeat(missing - left)))
}

pub(super) fn expanded(text: &str, size: usize) -> String {
    let (mut out, mut column) = (String::new(), 0);
    for c in text.chars() {
        match c {
            '\t' if size > 0 => {
                let blanks = size - column % size;
                out.push_str(&" ".repeat(blanks));
                column += blanks;
            }
            '\t' => {}
            c => {
                out.push(c);
                column = if c == '\n' || c == '\r' { 0 } else { column + 1 };
            }
        }
    }
    out
}

pub(super) fn translated(text: &str, table: &Option<Value>) -> Outcome<Value> {
    let Some(Value::Dict(table)) = table else { return fail("`translate` needs a dictionary") };
    let mut out = String::new();
    for c in text.chars() {
        match table.get(&Value::Int(u32::from(c).into())) {
            None => out.push(c),
            Some(Value::None) => {}
            Some(value) => match (value.text(), value.int().and_then(|code| u32::try_from(code).ok())) {
                (Some(text), _) => out.push_str(text),
                (_, Some(code)) => out.push(char::from_u32(code).ok_or_else(|| Error::new("not a character"))?),
                _ => return fail("character mapping must return integer, None or str"),
            },
        }
    }
    Ok(out.into())
}

pub(super) fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().collect::<String>() + &chars.as_str().to_lowercase(),
        None => String::new(),
    }
}

pub(super) fn titled(text: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in text.chars() {
        let letter = c.is_lowercase() || c.is_uppercase();
        match (letter, inside) {
            (true, false) => out.extend(c.to_uppercase()),
            (true, true) => out.extend(c.to_lowercase()),
            _ => out.push(c),
        }
        inside = letter;
    }
    out
}
