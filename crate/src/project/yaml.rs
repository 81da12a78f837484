//! Parses YAML into JSON values, and refuses what a configuration cannot hold.

use serde_json::{Map, Number, Value};
use serde_yaml::Value as Yaml;

/// Why a text is not a configuration, and where in the text, if that is known (lines count from 1).
#[derive(Debug)]
pub(super) struct YamlError {
    pub(super) reason: String,
    pub(super) line: Option<usize>,
}

/// Parses one document. Merge keys (`<<`) are applied; tags, keys that are not text, and numbers that JSON has no word
/// for are errors. The parser refuses aliases that multiply without end.
pub(super) fn parse(text: &str) -> Result<Value, YamlError> {
    let located = |error: serde_yaml::Error| YamlError {
        line: error.location().map(|location| location.line()),
        reason: error.to_string(),
    };
    let mut yaml: Yaml = serde_yaml::from_str(text).map_err(located)?;
    yaml.apply_merge().map_err(located)?;
    to_json(yaml, "").map_err(|reason| YamlError { reason, line: None })
}

/// `at` is the path of keys so far, for the message.
fn to_json(yaml: Yaml, at: &str) -> Result<Value, String> {
    let inside = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    Ok(match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(flag) => Value::Bool(flag),
        Yaml::String(text) => Value::String(text),
        Yaml::Number(number) => {
            let float = || number.as_f64().and_then(Number::from_f64);
            let number = number.as_i64().map(Number::from).or(number.as_u64().map(Number::from)).or_else(float);
            Value::Number(number.ok_or_else(|| format!("`{at}` is not a finite number"))?)
        }
        Yaml::Sequence(items) => {
            let items = items.into_iter().enumerate().map(|(index, item)| to_json(item, &inside(&index.to_string())));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Yaml::Mapping(entries) => {
            let mut object = Map::new();
            for (key, value) in entries {
                let Yaml::String(key) = key else {
                    return Err(format!("a key of `{at}` is not text; quote it"));
                };
                let value = to_json(value, &inside(&key))?;
                object.insert(key, value);
            }
            Value::Object(object)
        }
        Yaml::Tagged(tagged) => return Err(format!("`{at}` has the tag {}; tags are not supported", tagged.tag)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_and_merge_keys_are_applied() {
        let text = "base: &base {a: 1, b: 2}\nmore: {<<: *base, b: 3}\n";
        assert_eq!(parse(text).unwrap()["more"], serde_json::json!({ "a": 1, "b": 3 }));
    }

    #[test]
    fn what_json_cannot_hold_is_refused() {
        for text in ["a: .nan", "1: 2", "a: !tag 1"] {
            parse(text).expect_err(text);
        }
    }

    #[test]
    fn aliases_cannot_multiply_without_end() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for n in 1..12 {
            let previous = n - 1;
            let items = vec![format!("*a{previous}"); 9].join(", ");
            text.push_str(&format!("a{n}: &a{n} [{items}]\n"));
        }
        let error = parse(&text).unwrap_err();
        assert!(error.reason.contains("repetition limit"), "{}", error.reason);
    }
}
