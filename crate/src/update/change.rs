//! Changes of config.json from one version to the next.

use serde::Deserialize;
use serde_json::{Map, Value};

/// One change: exactly one of `set`, `rename` and `remove`. Fields inside of others are named with dots.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    #[serde(default)]
    set: Option<String>,
    /// Of `set`.
    #[serde(default)]
    value: Option<Value>,
    #[serde(default)]
    rename: Option<String>,
    /// Of `rename`.
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    remove: Option<String>,
    #[serde(default)]
    when: Option<Condition>,
}

/// Conditions that must all hold before a change is made. A null field counts as missing.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    #[serde(default)]
    present: Option<String>,
    #[serde(default)]
    missing: Option<String>,
    #[serde(default)]
    field: Option<String>,
    /// Of `field`.
    #[serde(default)]
    equals: Option<Value>,
}

enum Action<'a> {
    Set(&'a str, &'a Value),
    Rename(&'a str, &'a str),
    Remove(&'a str),
}

impl Change {
    /// Returns what is wrong with it, if something is.
    pub(super) fn fault(&self) -> Option<String> {
        if let Some(Condition { field, equals, .. }) = &self.when
            && field.is_some() != equals.is_some()
        {
            return Some("a condition on a `field` needs `equals`, and the other way round".to_owned());
        }
        self.action().err()
    }

    fn action(&self) -> Result<Action<'_>, String> {
        match (&self.set, &self.value, &self.rename, &self.to, &self.remove) {
            (Some(field), Some(value), None, None, None) => Ok(Action::Set(field, value)),
            (Some(field), None, None, None, None) => Ok(Action::Set(field, &Value::Null)),
            (None, None, Some(field), Some(to), None) => Ok(Action::Rename(field, to)),
            (None, None, None, None, Some(field)) => Ok(Action::Remove(field)),
            _ => Err("a change is `set` with `value`, `rename` with `to`, or `remove`".to_owned()),
        }
    }

    /// Makes the change where its condition holds.
    pub(super) fn apply(&self, config: &mut Map<String, Value>) -> Result<(), String> {
        if !self.when.as_ref().is_none_or(|condition| condition.holds(config)) {
            return Ok(());
        }
        match self.action()? {
            Action::Set(field, value) => insert(config, field, value.clone()),
            Action::Remove(field) => {
                remove(config, field);
                Ok(())
            }
            Action::Rename(field, to) => {
                let Some(value) = remove(config, field) else { return Ok(()) };
                match get(config, to) {
                    Some(other) if *other != value => {
                        Err(format!("`{field}` is {value}, but its new name `{to}` already holds {other}"))
                    }
                    _ => insert(config, to, value),
                }
            }
        }
    }
}

impl Condition {
    fn holds(&self, config: &Map<String, Value>) -> bool {
        let is_there = |field: &String| get(config, field).is_some_and(|value| !value.is_null());
        let equal = match (&self.field, &self.equals) {
            (Some(field), Some(value)) => get(config, field) == Some(value),
            _ => true,
        };
        equal && self.present.as_ref().is_none_or(is_there) && !self.missing.as_ref().is_some_and(is_there)
    }
}

fn get<'a>(config: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    match field.split_once('.') {
        None => config.get(field),
        Some((outer, inner)) => get(config.get(outer)?.as_object()?, inner),
    }
}

fn remove(config: &mut Map<String, Value>, field: &str) -> Option<Value> {
    match field.split_once('.') {
        // The order of the other fields stays.
        None => config.shift_remove(field),
        Some((outer, inner)) => remove(config.get_mut(outer)?.as_object_mut()?, inner),
    }
}

fn insert(config: &mut Map<String, Value>, field: &str, value: Value) -> Result<(), String> {
    let Some((outer, inner)) = field.split_once('.') else {
        config.insert(field.to_owned(), value);
        return Ok(());
    };
    let room = config.entry(outer).or_insert(Value::Null);
    if room.is_null() {
        *room = Value::Object(Map::new());
    }
    match room.as_object_mut() {
        Some(fields) => insert(fields, inner, value),
        None => Err(format!("`{outer}` is not an object, so it has no field `{inner}`")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changed(changes: &str, config: Value) -> Result<Value, String> {
        let changes: Vec<Change> = serde_yaml::from_str(changes).unwrap();
        let Value::Object(mut config) = config else { panic!("{config}") };
        for change in &changes {
            assert_eq!(change.fault(), None);
            change.apply(&mut config)?;
        }
        Ok(Value::Object(config))
    }

    #[test]
    fn fields_are_set_renamed_and_removed_in_order() {
        let changes = "[{rename: n_ctx, to: length}, {set: kind, value: 2}, {remove: old}, {rename: gone, to: away}]";
        let config = changed(changes, json!({"n_ctx": 9, "old": 1, "kept": [1]})).unwrap();
        assert_eq!(config, json!({"length": 9, "kept": [1], "kind": 2}));
    }

    #[test]
    fn conditions_look_at_the_configuration_as_it_is_by_then() {
        let changes = "
- { set: rope.theta, value: 1.5, when: { missing: rope } }
- { set: twice, value: true, when: { present: rope.theta } }
- { remove: kind, when: { field: kind, equals: old } }
- { set: both, value: 1, when: { present: rope, missing: twice } }";
        let config = changed(changes, json!({"rope": null, "kind": "old"})).unwrap();
        assert_eq!(config, json!({"rope": {"theta": 1.5}, "twice": true}));
        let other = changed(changes, json!({"rope": 3, "kind": "new"})).unwrap();
        assert_eq!(other, json!({"rope": 3, "kind": "new", "both": 1}));
    }

    #[test]
    fn what_would_lose_a_value_is_an_error() {
        let both = changed("[{rename: a, to: b}]", json!({"a": 1, "b": 2})).unwrap_err();
        assert_eq!(both, "`a` is 1, but its new name `b` already holds 2");
        assert_eq!(changed("[{rename: a, to: b}]", json!({"a": 1, "b": 1})).unwrap(), json!({"b": 1}));
        assert!(changed("[{set: a.b, value: 1}]", json!({"a": "text"})).is_err());
    }

    #[test]
    fn a_change_does_one_thing() {
        for written in ["{set: a, remove: b}", "{rename: a}", "{value: 1}", "{remove: a, when: {field: b}}", "{}"] {
            let change: Change = serde_yaml::from_str(written).unwrap();
            assert!(change.fault().is_some(), "{written}");
        }
    }
}
