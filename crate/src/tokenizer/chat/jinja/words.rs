//! What filters do with text.

use std::sync::LazyLock;

use regex::Regex;

use super::error::{Outcome, fail};
use super::strings::is_space;
use super::text::{html_escaped, repr, str_of};
use super::value::Value;

/// The width of a line of `pprint`.
const PRETTY_WIDTH: usize = 80;

pub(super) fn file_size(bytes: f64, binary: bool) -> String {
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    let prefixes = match binary {
        true => ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"],
        false => ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"],
    };
    if bytes == 1.0 {
        return "1 Byte".to_owned();
    }
    if bytes < base {
        return format!("{} Bytes", bytes.trunc());
    }
    let mut unit = base;
    let mut chosen = prefixes[0];
    for prefix in prefixes {
        unit *= base;
        chosen = prefix;
        if bytes < unit {
            break;
        }
    }
    format!("{:.1} {chosen}", base * bytes / unit)
}

pub(super) fn indented(text: &str, width: &str, first: bool, blank: bool) -> String {
    let text = format!("{text}\n");
    let mut lines: Vec<String> = split_lines(&text);
    let mut out = match blank {
        true => lines.join(&format!("\n{width}")),
        false => {
            let mut out = if lines.is_empty() { String::new() } else { lines.remove(0) };
            for line in lines {
                out.push('\n');
                if !line.is_empty() {
                    out.push_str(width);
                    out.push_str(&line);
                }
            }
            out
        }
    };
    if first {
        out.insert_str(0, width);
    }
    out
}

fn split_lines(text: &str) -> Vec<String> {
    text.replace("\r\n", "\n")
        .split_inclusive(['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'])
        .map(|line| {
            let mut line = line.to_owned();
            if line.ends_with([
                '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}',
            ]) {
                line.pop();
            }
            line
        })
        .collect()
}

pub(super) fn titled(text: &str) -> String {
    let mut out = String::new();
    let mut begins = true;
    for c in text.chars() {
        if c == '-' || is_space(c) || "({[<".contains(c) {
            out.push(c);
            begins = true;
        } else if begins {
            out.extend(c.to_uppercase());
            begins = false;
        } else {
            out.extend(c.to_lowercase());
        }
    }
    out
}

/// One line of `pprint`; what takes more is not supported.
pub(super) fn pretty(value: &Value) -> Outcome<String> {
    fn sorted(value: &Value) -> Outcome<Value> {
        Ok(match value {
            Value::Dict(dict) => {
                let mut dict = (**dict).clone();
                if dict.0.iter().any(|(key, _)| key.text().is_none()) {
                    return fail("`pprint` of keys that are not texts is not supported");
                }
                dict.0.sort_by(|(a, _), (b, _)| a.text().cmp(&b.text()));
                for (_, value) in &mut dict.0 {
                    *value = sorted(value)?;
                }
                Value::Dict(dict.into())
            }
            Value::List(items) => items.iter().map(sorted).collect::<Outcome<Vec<_>>>()?.into(),
            Value::Tuple(items) => Value::tuple(items.iter().map(sorted).collect::<Outcome<Vec<_>>>()?),
            other => other.clone(),
        })
    }
    let written = repr(&sorted(value)?)?;
    match written.chars().count() <= PRETTY_WIDTH {
        true => Ok(written),
        false => fail("`pprint` of a value that takes more than a line is not supported"),
    }
}

pub(super) fn rounded(value: &Value, precision: i128, method: &str) -> Outcome<Value> {
    if !["common", "ceil", "floor"].contains(&method) {
        return fail("method must be common, ceil or floor");
    }
    let float = match value.float() {
        Some(float) if value.text().is_none() => float,
        _ => return fail(format!("type {} doesn't define __round__ method", value.kind())),
    };
    let Ok(digits) = i32::try_from(precision) else { return fail("the precision is too large") };
    if method != "common" {
        let scale = 10f64.powi(digits);
        let scaled = float * scale;
        return Ok(Value::Float(if method == "ceil" { scaled.ceil() } else { scaled.floor() } / scale));
    }
    if let Some(integer) = value.int() {
        if digits >= 0 {
            return Ok(Value::Int(integer));
        }
        return fail("rounding integers to tens is not supported");
    }
    if !float.is_finite() || digits > 300 {
        return Ok(Value::Float(float));
    }
    if digits < 0 {
        return fail("rounding to tens is not supported");
    }
    // The shortest text of the exact value, which is rounded to even only where it is a tie.
    Ok(Value::Float(format!("{float:.*}", digits as usize).parse().unwrap_or(float)))
}

pub(super) fn without_tags(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some(begin) = text.find("<!--") {
        let Some(end) = text[begin..].find("-->") else { break };
        text.replace_range(begin..begin + end + 3, "");
    }
    while let Some(begin) = text.find('<') {
        let Some(end) = text[begin..].find('>') else { break };
        text.replace_range(begin..=begin + end, "");
    }
    let text = text.split(is_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&#34;", "\"").replace("&quot;", "\"");
    text.replace("&#39;", "'").replace("&amp;", "&")
}

pub(super) fn truncated(text: &str, length: i128, kill: bool, end: &str, leeway: i128) -> Outcome<String> {
    let (len, end_len) = (text.chars().count() as i128, end.chars().count() as i128);
    if length < end_len || leeway < 0 {
        return fail(format!("expected length >= {end_len}, got {length}"));
    }
    if len <= length + leeway {
        return Ok(text.to_owned());
    }
    let kept: String = text.chars().take(usize::try_from(length - end_len).unwrap_or(0)).collect();
    Ok(match kept.rsplit_once(' ').filter(|_| !kill) {
        Some((words, _)) => format!("{words}{end}"),
        None => format!("{kept}{end}"),
    })
}

fn quoted_url(text: &str, query: bool) -> String {
    let mut out = String::new();
    for &byte in text.as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => out.push(char::from(byte)),
            b'/' if !query => out.push('/'),
            b' ' if query => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

pub(super) fn url_encoded(value: &Value) -> Outcome<String> {
    let pairs = match value {
        Value::Dict(_) => {
            value.items()?.into_iter().zip(dict_values(value)).map(|(key, value)| vec![key, value]).collect()
        }
        other if other.text().is_some() || other.items().is_err() => return Ok(quoted_url(&str_of(other)?, false)),
        other => other.items()?.iter().map(Value::items).collect::<Outcome<Vec<_>>>()?,
    };
    let mut parts = Vec::new();
    for pair in pairs {
        let [key, value] = pair.as_slice() else { return fail("a pair of a name and a value was expected") };
        parts.push(format!("{}={}", quoted_url(&str_of(key)?, true), quoted_url(&str_of(value)?, true)));
    }
    Ok(parts.join("&"))
}

fn dict_values(value: &Value) -> Vec<Value> {
    match value {
        Value::Dict(dict) => dict.0.iter().map(|(_, value)| value.clone()).collect(),
        _ => Vec::new(),
    }
}

/// The text where it holds no addresses; making links of those is not supported.
pub(super) fn with_links(text: &str) -> Outcome<String> {
    static ADDRESS: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r"(?i)(https?://|www\.)(([\w%-]+\.)+)?[a-z]{2,63}\b|([\w%-]{2,63}\.)+(com|net|int|edu|gov|org|info|mil)\b|https?://[\d\[]|mailto:|\S+@\w[\w.-]*\.\w+",
        )
        .ok()
    });
    match ADDRESS.as_ref().is_none_or(|address| address.is_match(text)) {
        true => fail("`urlize` of text with addresses is not supported"),
        false => Ok(html_escaped(text)),
    }
}

pub(super) fn count(text: &str) -> i128 {
    text.split(|c: char| c != '_' && !c.is_alphanumeric()).filter(|word| !word.is_empty()).count() as i128
}

/// Lines of at most `width` characters, as Python's textwrap breaks them.
pub(super) fn wrapped(text: &str, width: i128, long: bool, wrap: &str, hyphens: bool) -> Outcome<String> {
    let Some(width) = usize::try_from(width).ok().filter(|width| *width > 0) else {
        return fail("the width must be at least 1");
    };
    if hyphens && text.contains('-') {
        return fail("`wordwrap` of text with hyphens is not supported");
    }
    let mut lines = Vec::new();
    for line in split_lines(text) {
        // Words and the blanks between them.
        let mut chunks: Vec<Vec<char>> = Vec::new();
        for c in line.chars() {
            match chunks.last_mut().filter(|chunk| chunk[0].is_whitespace() == c.is_whitespace()) {
                Some(chunk) => chunk.push(c),
                None => chunks.push(vec![c]),
            }
        }
        chunks.reverse();
        let before = lines.len();
        while !chunks.is_empty() {
            if lines.len() > before && chunks.last().is_some_and(|chunk| chunk[0].is_whitespace()) {
                chunks.pop();
            }
            let (mut current, mut len) = (Vec::new(), 0);
            while let Some(chunk) = chunks.pop_if(|chunk| len + chunk.len() <= width) {
                len += chunk.len();
                current.push(chunk);
            }
            if let Some(chunk) = chunks.last_mut().filter(|chunk| chunk.len() > width) {
                let room = width - len;
                if long && room > 0 {
                    current.push(chunk.drain(..room).collect());
                } else if current.is_empty() {
                    current.extend(chunks.pop());
                }
            }
            if current.last().is_some_and(|chunk| chunk[0].is_whitespace()) {
                current.pop();
            }
            if !current.is_empty() {
                lines.push(current.concat().into_iter().collect::<String>());
            }
        }
        if lines.len() == before {
            lines.push(String::new());
        }
    }
    Ok(lines.join(wrap))
}

pub(super) fn xml_attributes(value: &Value, space: bool) -> Outcome<String> {
    let Value::Dict(dict) = value else { return fail("`xmlattr` needs a dictionary") };
    let mut parts = Vec::new();
    for (key, value) in &dict.0 {
        if matches!(value, Value::None) || value.is_undefined() {
            continue;
        }
        let key = str_of(key)?;
        if key.contains(|c: char| is_space(c) || "/>=".contains(c)) {
            return fail(format!("Invalid character in attribute name: {key}"));
        }
        parts.push(format!("{}=\"{}\"", html_escaped(&key), html_escaped(&str_of(value)?)));
    }
    let joined = parts.join(" ");
    Ok(if space && !joined.is_empty() { format!(" {joined}") } else { joined })
}
