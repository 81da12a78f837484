//! Compares typed payloads number by number.

use serde_json::Value;

use super::rules::{Rules, Tolerance};

/// A difference in a payload.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mismatch {
    /// Its path, with indices: `rows[3].loss`.
    pub(super) at: String,
    pub(super) what: String,
}

/// Returns all differences between two values.
pub(super) fn mismatches(golden: &Value, now: &Value, rules: &Rules) -> Vec<Mismatch> {
    let mut walk = Comparer { rules, found: Vec::new() };
    walk.values(&ValuePath::default(), golden, now);
    walk.found
}

/// A path in a payload: for people, and without indices, for rules.
#[derive(Clone, Default)]
struct ValuePath {
    at: String,
    path: String,
}

impl ValuePath {
    fn field(&self, name: &str) -> Self {
        let join = |before: &str| if before.is_empty() { name.to_owned() } else { format!("{before}.{name}") };
        Self { at: join(&self.at), path: join(&self.path) }
    }

    fn index(&self, index: usize) -> Self {
        Self { at: format!("{}[{index}]", self.at), path: self.path.clone() }
    }
}

struct Comparer<'a> {
    rules: &'a Rules,
    found: Vec<Mismatch>,
}

impl Comparer<'_> {
    fn values(&mut self, place: &ValuePath, golden: &Value, now: &Value) {
        if self.rules.of_field(&place.path) == Some(Tolerance::Ignore) {
            return;
        }
        match (golden, now) {
            (Value::Object(golden), Value::Object(now)) => {
                for (name, value) in golden {
                    let field = place.field(name);
                    match now.get(name) {
                        Some(other) => self.values(&field, value, other),
                        None => self.add(&field, format!("missing; golden {}", short(value))),
                    }
                }
                for (name, value) in now.iter().filter(|(name, _)| !golden.contains_key(*name)) {
                    self.add(&place.field(name), format!("added: {}", short(value)));
                }
            }
            (Value::Array(golden), Value::Array(now)) => {
                if golden.len() != now.len() {
                    self.add(place, format!("golden has {} values, now {}", golden.len(), now.len()));
                }
                for (index, (value, other)) in golden.iter().zip(now).enumerate() {
                    self.values(&place.index(index), value, other);
                }
            }
            (Value::Number(a), Value::Number(b)) => self.numbers(place, (a, b)),
            _ if golden == now => {}
            _ => self.add(place, format!("golden {}, now {}", short(golden), short(now))),
        }
    }

    fn numbers(&mut self, place: &ValuePath, (a, b): (&serde_json::Number, &serde_json::Number)) {
        if a == b {
            return;
        }
        let (Some(golden), Some(now)) = (a.as_f64(), b.as_f64()) else { return };
        let whole = !a.is_f64() && !b.is_f64();
        let Some(allowed) = self.rules.allowed(&place.path, golden, whole) else { return };
        let by = (now - golden).abs();
        // Beyond 2^53 two different integers may be equal as floats.
        if by > allowed || (by == 0.0 && allowed == 0.0) {
            let allowed = if allowed > 0.0 { format!(", allowed {allowed:.3e}") } else { String::new() };
            self.add(place, format!("golden {a}, now {b} (differs by {by:.3e}{allowed})"));
        }
    }

    fn add(&mut self, place: &ValuePath, what: String) {
        let at = if place.at.is_empty() { "the payload".to_owned() } else { place.at.clone() };
        self.found.push(Mismatch { at, what });
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(golden: Value, now: Value, rules: &Rules) -> Vec<String> {
        mismatches(&golden, &now, rules)
            .into_iter()
            .map(|mismatch| format!("{}: {}", mismatch.at, mismatch.what))
            .collect()
    }

    #[test]
    fn fractions_have_a_tolerance_and_counts_have_none() {
        let rules = Rules::default();
        assert_eq!(at(json!({"losses": [1.0, 2.0]}), json!({"losses": [1.000001, 2.0]}), &rules), [""; 0]);
        let found = at(json!({"losses": [1.0, 2.0], "n": 7}), json!({"losses": [1.0, 2.5], "n": 8}), &rules);
        assert_eq!(found[0], "losses[1]: golden 2.0, now 2.5 (differs by 5.000e-1, allowed 2.001e-5)");
        assert_eq!(found[1], "n: golden 7, now 8 (differs by 1.000e0)");
        let big = at(json!(9_007_199_254_740_993_u64), json!(9_007_199_254_740_992_u64), &rules);
        assert_eq!(big.len(), 1, "{big:?}");
    }

    #[test]
    fn shape_and_fields_are_compared_except_varying_ones() {
        let golden = json!({"a": null, "gone": 1, "list": [1, 2], "step_ms": 4.0, "inner": {"name": "x"}});
        let now = json!({"a": 1.5, "list": [1], "step_ms": 9.0, "inner": {"name": "y"}, "more": true});
        let found = at(golden, now, &Rules::default());
        assert_eq!(
            found,
            [
                "a: golden null, now 1.5",
                "gone: missing; golden 1",
                "list: golden has 2 values, now 1",
                "inner.name: golden \"x\", now \"y\"",
                "more: added: true",
            ]
        );
        let rules = Rules { fields: vec![("rows.loss".into(), Tolerance::Absolute(1.0))], ..Rules::default() };
        assert_eq!(at(json!({"rows": [{"loss": 1}]}), json!({"rows": [{"loss": 2}]}), &rules), [""; 0]);
    }
}
