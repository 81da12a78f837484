//! Jinja's tests, `value is NAME`.

use std::rc::Rc;

use super::ast::Comparison;
use super::error::{Error, Outcome, fail};
use super::eval::Called;
use super::filters;
use super::operators::compare;
use super::value::{Object, Value};

/// Every test.
pub(super) const NAMES: &[&str] = &[
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "boolean",
    "callable",
    "defined",
    "divisibleby",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

pub(super) fn test(name: &str, value: &Value, called: &Called) -> Outcome<bool> {
    if !called.named.is_empty() {
        return fail(format!("the test `{name}` takes no keywords"));
    }
    let arguments = called.positional.as_slice();
    let comparison = match name {
        "==" | "eq" | "equalto" => Some(Comparison::Equal),
        "!=" | "ne" => Some(Comparison::NotEqual),
        "<" | "lt" | "lessthan" => Some(Comparison::Less),
        "<=" | "le" => Some(Comparison::LessOrEqual),
        ">" | "gt" | "greaterthan" => Some(Comparison::Greater),
        ">=" | "ge" => Some(Comparison::GreaterOrEqual),
        "in" => Some(Comparison::In),
        _ => None,
    };
    let takes = usize::from(comparison.is_some() || name == "divisibleby" || name == "sameas");
    if arguments.len() != takes {
        return fail(format!("the test `{name}` takes {takes} arguments, not {}", arguments.len()));
    }
    if let Some(comparison) = comparison {
        return compare(comparison, value, &arguments[0]);
    }
    let remainder = |by: i128| -> Outcome<i128> {
        match super::operators::binary(super::ast::Operator::Modulo, value, &Value::Int(by))? {
            Value::Int(rest) => Ok(rest),
            Value::Float(rest) => Ok(if rest == 0.0 {
                0
            } else if rest == 1.0 {
                1
            } else {
                2
            }),
            // A text was formatted.
            _ => Ok(2),
        }
    };
    Ok(match name {
        "defined" => !value.is_undefined(),
        "undefined" => value.is_undefined(),
        "none" => matches!(value, Value::None),
        "boolean" => matches!(value, Value::Bool(_)),
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "number" => value.float().is_some(),
        "string" => value.text().is_some(),
        "mapping" => matches!(value, Value::Dict(_)),
        "sequence" => match value {
            Value::Generator(_) | Value::View(..) => false,
            Value::Object(_) | Value::Namespace(_) => false,
            // It has a length, and an item of it is an error only when it is asked for.
            other => other.is_undefined() || other.len().is_ok(),
        },
        "iterable" => match value {
            Value::Object(object) => matches!(&**object, Object::Loop(_)),
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Namespace(_) => false,
            _ => true,
        },
        "callable" => match value {
            Value::Object(object) => !matches!(&**object, Object::Cycler(..) | Object::Blocks),
            other => other.is_undefined(),
        },
        "odd" => remainder(2)? == 1,
        "even" => remainder(2)? == 0,
        "divisibleby" => {
            let rest = super::operators::binary(super::ast::Operator::Modulo, value, &arguments[0])?;
            rest.float() == Some(0.0)
        }
        "lower" => cased(value, char::is_lowercase, char::is_uppercase)?,
        "upper" => cased(value, char::is_uppercase, char::is_lowercase)?,
        "escaped" => matches!(value, Value::Markup(_)),
        "sameas" => same(value, &arguments[0])?,
        "filter" => filters::NAMES.contains(&value.text().ok_or_else(|| Error::new("a name was expected"))?),
        "test" => NAMES.contains(&value.text().ok_or_else(|| Error::new("a name was expected"))?),
        _ => return fail(format!("No test named '{name}'.")),
    })
}

fn cased(value: &Value, wanted: fn(char) -> bool, other: fn(char) -> bool) -> Outcome<bool> {
    let text = super::text::str_of(value)?;
    Ok(text.chars().any(wanted) && !text.chars().any(other))
}

/// Returns whether two values are one object.
fn same(a: &Value, b: &Value) -> Outcome<bool> {
    Ok(match (a, b) {
        (Value::None, Value::None) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::List(a), Value::List(b)) => Rc::ptr_eq(a, b),
        (Value::Dict(a), Value::Dict(b)) => Rc::ptr_eq(a, b),
        (Value::Object(a), Value::Object(b)) => Rc::ptr_eq(a, b),
        (Value::Namespace(a), Value::Namespace(b)) => Rc::ptr_eq(a, b),
        _ if a.kind() != b.kind() => false,
        _ => return fail(format!("`sameas` of two values of type {} is not supported", a.kind())),
    })
}
