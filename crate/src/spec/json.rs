//! JSON as Python writes it: with numbers that JSON cannot express, and a byte order mark.

use serde_json::Value;

/// Reads a configuration. `NaN`, `Infinity` and `-Infinity`, which Python writes without quotes, become
/// `{"__float__": "NaN"}` and so on, as transformers 5 writes them itself: where a number is needed, they are refused.
///
/// # Errors
/// What serde_json says, with line and column.
pub fn parse_json(text: &str) -> serde_json::Result<Value> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_json::from_str(text).or_else(|error| serde_json::from_str(&in_json(text)).map_err(|_| error))
}

/// Returns the text with words for numbers replaced where they stand for themselves.
fn in_json(text: &str) -> String {
    let (mut out, mut rest, mut quoted) = (String::with_capacity(text.len()), text, false);
    while let Some(character) = rest.chars().next() {
        let word = ["-Infinity", "Infinity", "NaN"].into_iter().find(|word| !quoted && rest.starts_with(word));
        if let Some(word) = word {
            out.push_str(&format!("{{\"__float__\": \"{word}\"}}"));
            rest = &rest[word.len()..];
            continue;
        }
        let mut taken = character.len_utf8();
        match character {
            '"' => quoted = !quoted,
            '\\' if quoted => taken += rest[1..].chars().next().map_or(0, char::len_utf8),
            _ => {}
        }
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn words_of_python_for_numbers_are_read_outside_of_texts() {
        let text = "\u{feff}{\"a\": NaN, \"b\": [0.0, -Infinity], \"Infinity\": \"a \\\"NaN\\\\\", \"c\": Infinity}";
        let float = |word: &str| json!({ "__float__": word });
        let found = parse_json(text).unwrap();
        assert_eq!(
            (&found["a"], &found["b"][1], &found["c"]),
            (&float("NaN"), &float("-Infinity"), &float("Infinity"))
        );
        assert_eq!(found["Infinity"], json!("a \"NaN\\"));
    }

    #[test]
    fn other_faults_keep_their_place() {
        let error = parse_json("{\n  \"a\": NaN,\n  \"b\": nope\n}").unwrap_err();
        assert!(error.line() > 1, "{error}");
        for broken in ["", "\\", "\"\\", "{\"é", "NaNx"] {
            parse_json(broken).unwrap_err();
        }
    }
}
