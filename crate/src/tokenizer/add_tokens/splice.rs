//! Replaces one value of a JSON file and keeps every other byte: a tokenizer.json has megabytes that must not change.

use std::ops::Range;

use serde_json::Value;

/// `text`, a JSON object, with the value of `key` replaced, in the file's own style: pretty or on one line.
pub(super) fn replaced(text: &str, key: &str, value: &Value) -> String {
    let pretty = text.trim().contains('\n');
    let written = if pretty { format!("{value:#}").replace('\n', "\n  ") } else { value.to_string() };
    match value_of(text, key) {
        Some(range) => format!("{}{written}{}", &text[..range.start], &text[range.end..]),
        None => {
            let begin = text.find('{').map_or(0, |brace| brace + 1);
            let (before, after) = text.split_at(begin);
            let comma = if after.trim_start().starts_with('}') { "" } else { "," };
            let indent = if pretty { "\n  " } else { "" };
            format!("{before}{indent}\"{key}\": {written}{comma}{after}")
        }
    }
}

/// `text`, a JSON object, with entries added to the object at `path` that it lacks; `None` if that is not an object.
pub(super) fn with_entries(text: &str, path: &[&str], entries: &[(String, u32)]) -> Option<String> {
    let mut range = 0..text.len();
    for key in path {
        let inner = value_of(&text[range.clone()], key)?;
        range = range.start + inner.start..range.start + inner.end;
    }
    let object = &text[range.clone()];
    let known: serde_json::Map<String, Value> = serde_json::from_str(object).ok()?;
    let end = range.start + object.rfind('}')?;
    let (before, after) = text.split_at(text[..end].trim_end().len());
    let mut added = String::new();
    for (token, id) in entries.iter().filter(|(token, _)| !known.contains_key(token)) {
        let comma = if known.is_empty() && added.is_empty() { "" } else { "," };
        added.push_str(&format!("{comma}{}:{id}", Value::from(token.as_str())));
    }
    Some(format!("{before}{added}{after}"))
}

/// Returns where the value of a key of the outermost object stands. The text is valid JSON, which the caller has checked.
fn value_of(text: &str, key: &str) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let blank = |mut at: usize| {
        while bytes.get(at).is_some_and(|byte| b" \t\r\n,:".contains(byte)) {
            at += 1;
        }
        at
    };
    let mut at = blank(0);
    if bytes.get(at) != Some(&b'{') {
        return None;
    }
    at = blank(at + 1);
    while bytes.get(at) == Some(&b'"') {
        let end = string_end(bytes, at);
        let name = text.get(at + 1..end - 1)?;
        let begin = blank(end);
        let end = value_end(bytes, begin);
        if name == key {
            return Some(begin..end);
        }
        at = blank(end);
    }
    None
}

/// Behind the closing quote of the string that begins at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    at += 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Behind the value that begins at `at`.
fn value_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0usize;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(bytes, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return if depth == 1 { at + 1 } else { at },
            b'}' | b']' => depth -= 1,
            b',' | b' ' | b'\n' | b'\r' | b'\t' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_value_changes() {
        let text = "{\n  \"a\": {\"added\": [1]}, \"s\": \"\\\"added\\\": [\",\n  \"added\": [\n    7\n  ],\n  \"scores\": [1.10, 2e-5]\n}";
        let new = replaced(text, "added", &json!([7, 8]));
        assert_eq!(new, text.replace("[\n    7\n  ]", "[\n    7,\n    8\n  ]"));
        assert_eq!(
            replaced(r#"{"x":-1.50,"added":[],"y":{}}"#, "added", &json!([8])),
            r#"{"x":-1.50,"added":[8],"y":{}}"#
        );
    }

    #[test]
    fn a_key_that_was_not_there_comes_first() {
        assert_eq!(replaced(r#"{"x":1}"#, "added", &json!([])), r#"{"added": [],"x":1}"#);
        assert_eq!(replaced("{}", "added", &json!([])), r#"{"added": []}"#);
    }
}
