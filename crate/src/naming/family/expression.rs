//! Small expressions over the fields of a configuration: `4 * n_embd`, `activation_function == "gelu_new"`.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use minijinja::value::{Serde, ValueKind};
use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Map, Value};

/// Steps after which the evaluation of an expression stops.
const FUEL: u64 = 10_000;

/// Bytes of the longest expression: enough for formulas, too few to fill the memory with repeated text.
const LONGEST: usize = 500;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    // Arithmetic with a missing field is an error; asking whether it exists is not.
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_fuel(Some(FUEL));
    environment
});

fn environment() -> &'static Environment<'static> {
    &ENVIRONMENT
}

/// Returns a value that is written out, such as `4096`, `"silu"` or `none`, without an environment.
pub(super) fn literal(expression: &str) -> Option<Value> {
    match expression {
        "none" => Some(Value::Null),
        _ => serde_json::from_str(expression).ok().filter(|value: &Value| !value.is_array() && !value.is_object()),
    }
}

/// Returns why an expression cannot be read, in a line.
pub(super) fn check(expression: &str) -> Result<(), String> {
    require_short(expression)?;
    environment().compile_expression(expression).map(drop).map_err(|error| reason(&error))
}

fn require_short(expression: &str) -> Result<(), String> {
    let long = format!("it has more than {LONGEST} characters");
    if expression.len() > LONGEST { Err(long) } else { Ok(()) }
}

/// Evaluates an expression over some fields.
pub(super) fn evaluate(expression: &str, fields: &Map<String, Value>) -> Result<Value, String> {
    if let Some(value) = literal(expression) {
        return Ok(value);
    }
    require_short(expression)?;
    let compiled = environment().compile_expression(expression).map_err(|error| reason(&error))?;
    let value = compiled.eval(Serde(fields)).map_err(|error| reason(&error))?;
    if value.kind() == ValueKind::Undefined {
        return Err(format!("`{expression}` is not defined"));
    }
    let value = serde_json::to_value(&value).map_err(|error| error.to_string())?;
    // 4.0 where a size is meant: division gives floats.
    Ok(match value.as_f64() {
        Some(number) if value.is_f64() && number.fract() == 0.0 && (0.0..1e15).contains(&number) => {
            Value::from(number as u64)
        }
        _ => value,
    })
}

/// Returns the fields that an expression names, sorted; none if it cannot be read.
pub(super) fn fields_of(expression: &str) -> Vec<String> {
    let compiled = if expression.len() > LONGEST { None } else { environment().compile_expression(expression).ok() };
    // The set has no order of its own.
    let fields: BTreeSet<String> =
        compiled.map(|compiled| compiled.undeclared_variables(false).into_iter().collect()).unwrap_or_default();
    fields.into_iter().collect()
}

/// Evaluates an expression to a count.
pub(in crate::naming) fn size(expression: &str, fields: &Map<String, Value>) -> Result<usize, String> {
    let value = evaluate(expression, fields)?;
    let size = value.as_u64().and_then(|size| usize::try_from(size).ok()).filter(|size| (1..1 << 40).contains(size));
    size.ok_or_else(|| format!("`{expression}` is {value}, not a number of rows"))
}

/// Evaluates a condition.
pub(super) fn holds(expression: &str, fields: &Map<String, Value>) -> Result<bool, String> {
    require_short(expression)?;
    let compiled = environment().compile_expression(expression).map_err(|error| reason(&error))?;
    Ok(compiled.eval(Serde(fields)).map_err(|error| reason(&error))?.is_true())
}

fn reason(error: &minijinja::Error) -> String {
    let kind = error.kind();
    error.detail().map_or_else(|| kind.to_string(), |detail| format!("{kind}: {detail}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields() -> Map<String, Value> {
        let Value::Object(fields) = json!({ "n_embd": 8, "n_inner": null, "act": "gelu_new", "eps": 1e-5 }) else {
            unreachable!()
        };
        fields
    }

    #[test]
    fn missing_and_null_fields_have_alternatives_and_no_arithmetic() {
        assert_eq!(evaluate("n_inner or 4 * n_embd", &fields()).unwrap(), json!(32));
        assert_eq!(evaluate("n_layer or 2", &fields()).unwrap(), json!(2));
        assert_eq!(evaluate("n_embd / 2", &fields()).unwrap(), json!(4));
        assert_eq!(evaluate("eps", &fields()).unwrap(), json!(1e-5));
        evaluate("4 * n_layer", &fields()).unwrap_err();
        evaluate("n_layer", &fields()).unwrap_err();
        assert!(holds("act in ['gelu_new', 'gelu_pytorch_tanh'] and not n_inner", &fields()).unwrap());
    }

    #[test]
    fn sizes_are_positive_whole_numbers() {
        assert_eq!(size("n_embd * 3", &fields()).unwrap(), 24);
        for bad in ["n_embd - 8", "n_embd / 3", "act", "-n_embd"] {
            size(bad, &fields()).unwrap_err();
        }
    }

    #[test]
    fn an_expression_without_end_is_given_up() {
        evaluate("range(100000) | map('abs') | list | length", &fields()).unwrap_err();
        evaluate("'x' * 10000000000", &fields()).unwrap_err();
        evaluate(&"1 + ".repeat(100_000), &fields()).unwrap_err();
    }
}
