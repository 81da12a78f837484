//! Versions of an architecture.

use std::fmt;

use serde_json::Value;

/// The version of an architecture's names and fields, such as `1` or `2.1`.
///
/// Migrations lead from one major number to the next; what follows it changes neither names nor fields.
///
/// ```
/// use chandlery::update::Version;
/// assert_eq!(Version::parse("2.1").unwrap().major(), 2);
/// assert!(Version::parse("new").is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    major: u64,
    text: String,
}

impl Version {
    /// Reads digits, or several numbers with dots between them.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(|part| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| part.parse::<u64>().ok()).flatten()
        });
        let major = numbers.next()??;
        numbers.all(|number| number.is_some()).then(|| Self { major, text: text.to_owned() })
    }

    /// Reads a number or a text of a JSON file. Booleans are not versions.
    pub fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Self::parse(text),
            Value::Number(number) => Self::parse(&number.to_string()),
            _ => None,
        }
    }

    /// Returns the first number.
    pub fn major(&self) -> u64 {
        self.major
    }
}

impl From<u64> for Version {
    fn from(major: u64) -> Self {
        Self { major, text: major.to_string() }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions_are_numbers_with_dots_and_nothing_else() {
        for (value, major) in [(json!(1), 1), (json!("1"), 1), (json!(2.5), 2), (json!("10.0.3"), 10), (json!("0"), 0)]
        {
            assert_eq!(Version::from_json(&value).map(|version| version.major()), Some(major), "{value}");
        }
        for value in
            [json!(true), json!(-1), json!("1."), json!(".1"), json!(""), json!("v1"), json!("1.x"), json!([1])]
        {
            assert_eq!(Version::from_json(&value), None, "{value}");
        }
    }
}
