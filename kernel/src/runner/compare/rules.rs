//! The rules of comparison: tolerances for numbers, by field, and what is ignored.

use std::str::FromStr;

use serde_json::Value;

/// Fields that vary from run to run, by suffix; a rule for the field overrides it.
const VARYING: &[&str] = &[
    "seconds",
    "_ms",
    "per_second",
    "elapsed",
    "duration",
    "timestamp",
    "utilization",
    "peak_memory",
    "peak_memory_bytes",
    "free_bytes",
];

/// A rule of comparison that cannot be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// Not a tolerance.
    #[error("`{0}` is not a tolerance; write a number such as 0.05, a percentage such as 5%, `exact` or `ignore`")]
    Tolerance(String),
    /// Not a rule for images.
    #[error("`{0}` is not a rule for images; write `ignore`, `size` or `exact`")]
    Images(String),
    /// The metadata does not hold rules by name.
    #[error("it is not an object")]
    NotAnObject,
    /// Not a tolerance that is a number.
    #[error("`{0}` must be a number of at least 0")]
    Number(String),
    /// There is no such rule.
    #[error("`{key}: {value}` is not a rule; there are atol, rtol, tolerance, images, text_numbers and ignore")]
    Unknown {
        /// Its name.
        key: String,
        /// Its value.
        value: Value,
    },
    /// A rule in a golden notebook's metadata cannot be read.
    #[error("{}`metadata.chandlery.compare`: {rule}", cell.map(|cell| format!("cell {cell}, ")).unwrap_or_default())]
    Metadata {
        /// The cell, from 1; `None` for the notebook's own metadata.
        cell: Option<usize>,
        /// What is wrong with the rule.
        rule: Box<RuleError>,
    },
}

/// How two numbers may differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// Arbitrarily.
    Ignore,
    /// By this much.
    Absolute(f64),
    /// By this fraction of the golden one.
    Relative(f64),
}

impl FromStr for Tolerance {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
        match (text.trim(), text.trim().strip_suffix('%')) {
            ("ignore", _) => Some(Self::Ignore),
            ("exact", _) => Some(Self::Absolute(0.0)),
            (_, Some(percent)) => number(percent).map(|percent| Self::Relative(percent / 100.0)),
            (absolute, None) => number(absolute).map(Self::Absolute),
        }
        .ok_or_else(|| RuleError::Tolerance(text.to_owned()))
    }
}

/// How images are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Images {
    /// Nothing: the numbers they show are compared.
    #[default]
    Ignore,
    /// Width and height.
    Size,
    /// Every byte.
    Exact,
}

impl FromStr for Images {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        match text {
            "ignore" => Ok(Self::Ignore),
            "size" => Ok(Self::Size),
            "exact" => Ok(Self::Exact),
            _ => Err(RuleError::Images(text.to_owned())),
        }
    }
}

/// Rules from the command line or a notebook's metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// The absolute tolerance of fractional numbers; 1e-8 by default.
    pub atol: Option<f64>,
    /// Their tolerance relative to the golden number; 1e-5 by default.
    pub rtol: Option<f64>,
    /// Tolerances of fields, by name or dotted suffix of a path; the last match counts.
    pub fields: Vec<(String, Tolerance)>,
    /// How images are compared.
    pub images: Option<Images>,
    /// Whether numbers in text may differ like other numbers.
    pub text_numbers: Option<bool>,
}

impl Rules {
    /// Reads the rules of `metadata.chandlery.compare`.
    pub(super) fn of_metadata(value: &Value) -> Result<Self, RuleError> {
        let Value::Object(given) = value else { return Err(RuleError::NotAnObject) };
        let mut rules = Self::default();
        for (key, value) in given {
            let number =
                || value.as_f64().filter(|number| *number >= 0.0).ok_or_else(|| RuleError::Number(key.clone()));
            match (key.as_str(), value) {
                ("atol", _) => rules.atol = Some(number()?),
                ("rtol", _) => rules.rtol = Some(number()?),
                ("images", Value::String(text)) => rules.images = Some(text.parse()?),
                ("text_numbers", Value::Bool(on)) => rules.text_numbers = Some(*on),
                ("ignore", Value::Bool(_)) => {}
                ("tolerance", Value::Object(fields)) => {
                    for (field, value) in fields {
                        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                        rules.fields.push((field.clone(), text.parse()?));
                    }
                }
                _ => {
                    return Err(RuleError::Unknown { key: key.clone(), value: value.clone() });
                }
            }
        }
        Ok(rules)
    }

    /// Returns these rules, overridden by others.
    pub(super) fn with(&self, over: &Self) -> Self {
        Self {
            atol: over.atol.or(self.atol),
            rtol: over.rtol.or(self.rtol),
            fields: self.fields.iter().chain(&over.fields).cloned().collect(),
            images: over.images.or(self.images),
            text_numbers: over.text_numbers.or(self.text_numbers),
        }
    }

    /// Returns the tolerance of a field, given by its path without indices: `rows.loss`. `None` for fields without
    /// a tolerance of their own.
    pub(super) fn of_field(&self, path: &str) -> Option<Tolerance> {
        let fits = |name: &str| path == name || path.strip_suffix(name).is_some_and(|before| before.ends_with('.'));
        let own = self.fields.iter().rev().find(|(name, _)| fits(name)).map(|(_, tolerance)| *tolerance);
        // `ms` matches the suffix `_ms` as well, and `params` does not.
        let last = format!("_{}", path.rsplit('.').next().unwrap_or(path));
        own.or_else(|| VARYING.iter().any(|end| last.ends_with(end)).then_some(Tolerance::Ignore))
    }

    /// Returns how much two numbers may differ; `None` if arbitrarily.
    pub(super) fn allowed(&self, path: &str, golden: f64, whole: bool) -> Option<f64> {
        match self.of_field(path) {
            Some(Tolerance::Ignore) => None,
            Some(Tolerance::Absolute(by)) => Some(by),
            Some(Tolerance::Relative(by)) => Some(by * golden.abs()),
            // Counts and sizes are right or wrong.
            None if whole => Some(0.0),
            None => Some(self.atol.unwrap_or(1e-8) + self.rtol.unwrap_or(1e-5) * golden.abs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_match_by_path_suffix_and_the_last_rule_counts() {
        let rules = Rules {
            fields: vec![("loss".into(), Tolerance::Absolute(0.1)), ("rows.loss".into(), Tolerance::Relative(0.5))],
            ..Rules::default()
        };
        assert_eq!(rules.of_field("loss"), Some(Tolerance::Absolute(0.1)));
        assert_eq!(rules.of_field("all.rows.loss"), Some(Tolerance::Relative(0.5)));
        assert_eq!(rules.of_field("floss"), None);
        assert_eq!(rules.of_field("steps.forward_backward_ms"), Some(Tolerance::Ignore));
        assert_eq!(rules.of_field("steps.ms"), Some(Tolerance::Ignore));
        assert_eq!(rules.of_field("devices.free_bytes"), Some(Tolerance::Ignore));
        assert_eq!(rules.of_field("params"), None);
        assert_eq!(rules.allowed("x", 100.0, false), Some(1e-8 + 1e-3));
        assert_eq!(rules.allowed("x", 100.0, true), Some(0.0));
    }

    #[test]
    fn rules_are_read_or_refused_with_a_reason() {
        assert_eq!("5%".parse(), Ok(Tolerance::Relative(0.05)));
        assert_eq!("exact".parse(), Ok(Tolerance::Absolute(0.0)));
        assert!("-1".parse::<Tolerance>().unwrap_err().to_string().contains("write a number"));
        let given = json!({"rtol": 0.1, "tolerance": {"loss": 0.5, "speed": "ignore"}, "images": "size"});
        let rules = Rules::of_metadata(&given).unwrap();
        assert_eq!((rules.rtol, rules.images), (Some(0.1), Some(Images::Size)));
        assert_eq!(rules.of_field("speed"), Some(Tolerance::Ignore));
        for bad in [json!(1), json!({"rtol": "x"}), json!({"tolerances": {}}), json!({"images": "blurred"})] {
            assert!(Rules::of_metadata(&bad).is_err(), "{bad}");
        }
    }
}
