//! Two configurations field by field.

use std::path::Path;

use serde_json::{Map, Value};

use super::CompareError;
use crate::sealed::Sealed;
use crate::spec::parse_json;

/// A field that differs, or that one side alone has.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangedField {
    /// Its name, with dots between nested ones.
    pub field: String,
    /// The first side's value, if it has the field.
    pub before: Option<Value>,
    /// The second side's value, if it has the field.
    pub after: Option<Value>,
}

/// The difference of two configurations.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigDiff {
    /// What the sides are called.
    pub names: (String, String),
    /// The fields that differ, in the order of their names.
    pub changed: Sealed<Vec<ChangedField>>,
    /// How many fields are the same.
    pub same: usize,
}

impl ConfigDiff {
    /// Compares two JSON objects; objects within them are compared field by field.
    pub fn new(names: (String, String), before: &Value, after: &Value) -> Self {
        let mut diff = Self { names, changed: Sealed::new(Vec::new()), same: 0 };
        let empty = Map::new();
        let object = |value| Value::as_object(value).unwrap_or(&empty).clone();
        diff.fields("", &object(before), &object(after));
        diff
    }

    fn fields(&mut self, prefix: &str, before: &Map<String, Value>, after: &Map<String, Value>) {
        let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let field = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            match (before.get(name), after.get(name)) {
                (Some(Value::Object(before)), Some(Value::Object(after))) => self.fields(&field, before, after),
                (before, after) if before == after => self.same += 1,
                (before, after) => {
                    self.changed.push(ChangedField { field, before: before.cloned(), after: after.cloned() });
                }
            }
        }
    }
}

/// Compares the config.json of two model folders, or two such files.
///
/// # Errors
/// [`CompareError::File`] if a file is missing or is not JSON.
///
/// ```no_run
/// chandlery::compare::compare_configs("Llama-3.2-1B", "native")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn compare_configs(a: impl AsRef<Path>, b: impl AsRef<Path>) -> Result<ConfigDiff, CompareError> {
    compare_paths(a.as_ref(), b.as_ref())
}

fn compare_paths(a: &Path, b: &Path) -> Result<ConfigDiff, CompareError> {
    let names = (a.display().to_string(), b.display().to_string());
    Ok(ConfigDiff::new(names, &read(a)?, &read(b)?))
}

fn read(path: &Path) -> Result<Value, CompareError> {
    let path = if path.is_dir() { path.join("config.json") } else { path.to_owned() };
    let refused = |what: String| CompareError::File {
        what,
        path: path.clone(),
        advice: "name a model folder with a config.json, or the file itself".to_owned(),
    };
    let text = std::fs::read_to_string(&path)
        .map_err(|error| refused(format!("the configuration cannot be read: {error}")))?;
    parse_json(&text).map_err(|error| refused(format!("the configuration is not valid JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nested_fields_are_compared_one_by_one() {
        let before = json!({"a": 1, "rope": {"theta": 1e4, "type": "x"}, "old": null});
        let after = json!({"a": 1, "rope": {"theta": 5e5, "type": "x"}, "new": [1]});
        let diff = ConfigDiff::new(("A".to_owned(), "B".to_owned()), &before, &after);
        let fields: Vec<&str> = diff.changed.iter().map(|one| one.field.as_str()).collect();
        assert_eq!((fields, diff.same), (vec!["new", "old", "rope.theta"], 2));
        assert_eq!((diff.changed[1].before.clone(), diff.changed[1].after.clone()), (Some(Value::Null), None));
    }
}
