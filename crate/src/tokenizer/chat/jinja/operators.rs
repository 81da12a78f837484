//! What Python's operators do with values.

use super::ast::{Comparison, Operator};
use super::error::{Error, Outcome, fail};
use super::format::percent;
use super::value::{Value, missing};

/// A repeated text or list may not have more items than this.
const MAX_REPEATED: usize = 10_000_000;

/// Returns `left OPERATOR right`.
pub(super) fn binary(operator: Operator, left: &Value, right: &Value) -> Outcome<Value> {
    if let Value::Undefined(undefined) = left {
        return Err(missing(undefined));
    }
    if let (Operator::Modulo, Some(template)) = (operator, left.text()) {
        plain(left)?;
        return Ok(percent(template, right)?.into());
    }
    if let Value::Undefined(undefined) = right {
        return Err(missing(undefined));
    }
    match (operator, left, right) {
        (Operator::Add, Value::List(a), Value::List(b)) => return Ok([a.as_slice(), b.as_slice()].concat().into()),
        (Operator::Add, Value::Tuple(a), Value::Tuple(b)) => {
            return Ok(Value::tuple([a.as_slice(), b.as_slice()].concat()));
        }
        (Operator::Add, a, b) if a.text().is_some() && b.text().is_some() => {
            plain(a)?;
            plain(b)?;
            return Ok(format!("{}{}", a.text().unwrap_or_default(), b.text().unwrap_or_default()).into());
        }
        (Operator::Multiply, a, b) if a.int().is_some() != b.int().is_some() => {
            let (items, times) = if b.int().is_some() { (a, b) } else { (b, a) };
            let times = usize::try_from(times.int().unwrap_or(0).max(0)).unwrap_or(usize::MAX);
            match items {
                Value::Text(text) => {
                    check_repeated(text.len(), times)?;
                    return Ok(text.repeat(times).into());
                }
                Value::List(items) => {
                    check_repeated(items.len(), times)?;
                    return Ok(repeated(items, times).into());
                }
                Value::Tuple(items) => {
                    check_repeated(items.len(), times)?;
                    return Ok(Value::tuple(repeated(items, times)));
                }
                _ => {}
            }
        }
        (Operator::Add, Value::Text(_) | Value::Markup(_), other) => {
            return fail(format!("can only concatenate str (not \"{}\") to str", other.kind()));
        }
        _ => {}
    }
    match (left.int(), right.int(), left.float(), right.float()) {
        (Some(a), Some(b), ..) => integers(operator, a, b),
        (.., Some(a), Some(b)) => floats(operator, a, b).map(Value::Float),
        _ => fail(format!(
            "unsupported operand type(s) for {}: '{}' and '{}'",
            operator.symbol(),
            left.kind(),
            right.kind()
        )),
    }
}

/// Fails for text that was escaped for HTML: what is put next to it would be escaped as well.
fn plain(value: &Value) -> Outcome<()> {
    match value {
        Value::Markup(_) => fail("operators on text that was escaped for HTML are not supported"),
        _ => Ok(()),
    }
}

fn repeated(items: &[Value], times: usize) -> Vec<Value> {
    (0..times).flat_map(|_| items.iter().cloned()).collect()
}

fn check_repeated(len: usize, times: usize) -> Outcome<()> {
    match len.checked_mul(times) {
        Some(all) if all <= MAX_REPEATED => Ok(()),
        _ => Err(Error::endless()),
    }
}

fn too_large() -> Error {
    Error::new("an integer is too large")
}

fn integers(operator: Operator, a: i128, b: i128) -> Outcome<Value> {
    let whole = |result: Option<i128>| result.map(Value::Int).ok_or_else(too_large);
    match operator {
        Operator::Add => whole(a.checked_add(b)),
        Operator::Subtract => whole(a.checked_sub(b)),
        Operator::Multiply => whole(a.checked_mul(b)),
        Operator::Divide if b == 0 => fail("division by zero"),
        Operator::Divide => {
            // Beyond the integers that float64 holds, a division of rounded numbers may differ in the last bit.
            if a.unsigned_abs() > 1 << 53 || b.unsigned_abs() > 1 << 53 {
                return Err(too_large());
            }
            Ok(Value::Float(a as f64 / b as f64))
        }
        Operator::FloorDivide | Operator::Modulo if b == 0 => fail("integer division or modulo by zero"),
        Operator::FloorDivide => {
            let quotient = a.checked_div(b).ok_or_else(too_large)?;
            Ok(Value::Int(if a % b != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient }))
        }
        Operator::Modulo => {
            let rest = a.checked_rem(b).ok_or_else(too_large)?;
            Ok(Value::Int(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }))
        }
        Operator::Power if b < 0 => floats(operator, a as f64, b as f64).map(Value::Float),
        Operator::Power => whole(u32::try_from(b).ok().and_then(|b| a.checked_pow(b))),
    }
}

fn floats(operator: Operator, a: f64, b: f64) -> Outcome<f64> {
    Ok(match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide | Operator::FloorDivide | Operator::Modulo if b == 0.0 => return fail("division by zero"),
        Operator::Divide => a / b,
        Operator::FloorDivide => {
            let rest = remainder(a, b);
            let quotient = (a - rest) / b;
            let floor = quotient.floor();
            if quotient - floor > 0.5 { floor + 1.0 } else { floor }
        }
        Operator::Modulo => remainder(a, b),
        Operator::Power if a == 0.0 && b < 0.0 => return fail("zero to a negative power"),
        Operator::Power if a < 0.0 && b.fract() != 0.0 => return fail("complex numbers are not supported"),
        Operator::Power => a.powf(b),
    })
}

/// Python's remainder, which has the sign of the divisor.
fn remainder(a: f64, b: f64) -> f64 {
    let rest = a % b;
    if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
        rest + b
    } else if rest == 0.0 {
        0f64.copysign(b)
    } else {
        rest
    }
}

/// Returns `left COMPARISON right`.
pub(super) fn compare(comparison: Comparison, left: &Value, right: &Value) -> Outcome<bool> {
    use std::cmp::Ordering::{Greater, Less};
    Ok(match comparison {
        Comparison::Equal => left.equals(right),
        Comparison::NotEqual => !left.equals(right),
        Comparison::Less => left.order(right, "<")? == Some(Less),
        Comparison::LessOrEqual => left.order(right, "<=")?.is_some_and(|order| order != Greater),
        Comparison::Greater => left.order(right, ">")? == Some(Greater),
        Comparison::GreaterOrEqual => left.order(right, ">=")?.is_some_and(|order| order != Less),
        Comparison::In => right.contains(left)?,
        Comparison::NotIn => !right.contains(left)?,
    })
}

/// Returns `-value`.
pub(super) fn negated(value: &Value) -> Outcome<Value> {
    match value {
        Value::Undefined(undefined) => Err(missing(undefined)),
        Value::Float(number) => Ok(Value::Float(-number)),
        other => match other.int().and_then(i128::checked_neg) {
            Some(number) => Ok(Value::Int(number)),
            None => fail(format!("bad operand type for unary -: '{}'", other.kind())),
        },
    }
}

/// Returns `value[start:stop:step]`.
pub(super) fn slice(value: &Value, parts: [Option<Value>; 3]) -> Outcome<Value> {
    let mut numbers = [None; 3];
    for (number, part) in numbers.iter_mut().zip(&parts) {
        *number = match part {
            None | Some(Value::None) => None,
            Some(part) => match part.int() {
                Some(part) => Some(part),
                None => return fail("slice indices must be integers or None"),
            },
        };
    }
    let items = match value {
        Value::Text(_) | Value::Markup(_) | Value::List(_) | Value::Tuple(_) | Value::Range(..) => value.items()?,
        Value::Undefined(undefined) => return Err(missing(undefined)),
        Value::Bytes(_) => return fail("slices of bytes are not supported"),
        Value::Dict(_) => return fail("unhashable type: 'slice'"),
        other => return fail(format!("'{}' object is not subscriptable", other.kind())),
    };
    let [start, stop, step] = numbers;
    let step = step.unwrap_or(1);
    if step == 0 {
        return fail("slice step cannot be zero");
    }
    let len = items.len() as i128;
    let clamp = |index: i128| {
        let index = if index < 0 { index.saturating_add(len) } else { index };
        if step > 0 { index.clamp(0, len) } else { index.clamp(-1, len - 1) }
    };
    let mut at = start.map_or(if step > 0 { 0 } else { len - 1 }, clamp);
    let end = stop.map_or(if step > 0 { len } else { -1 }, clamp);
    let mut taken = Vec::new();
    while (step > 0 && at < end) || (step < 0 && at > end) {
        taken.extend(items.get(at as usize).cloned());
        at = at.saturating_add(step);
    }
    Ok(match value {
        Value::Text(_) | Value::Markup(_) => {
            let text: String = taken.iter().filter_map(Value::text).collect();
            if matches!(value, Value::Markup(_)) { Value::Markup(text.into()) } else { text.into() }
        }
        Value::Tuple(_) => Value::tuple(taken),
        // Python gives a range, which differs only in how it is written.
        Value::Range(first, _, each) => {
            let begin = start.map_or(if step > 0 { 0 } else { len - 1 }, clamp);
            Value::Range(first + begin * each, first + end * each, each * step)
        }
        _ => taken.into(),
    })
}
