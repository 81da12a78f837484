//! Attributes, items and methods of Python's values, as far as the sandbox of chat templates lets them be used.

use std::rc::Rc;

use super::error::{Error, Outcome, fail};
use super::eval::{Called, Interpreter};
use super::strings;
use super::value::{Dict, Object, Value, View, hashable};

/// Methods that change a value, which the sandbox forbids.
const LIST_CHANGES: &[&str] = &["append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"];
const DICT_CHANGES: &[&str] = &["clear", "pop", "popitem", "setdefault", "update"];
const LIST: &[&str] = &["copy", "count", "index"];
const TUPLE: &[&str] = &["count", "index"];
const DICT: &[&str] = &["copy", "fromkeys", "get", "items", "keys", "values"];
const INT: &[&str] =
    &["as_integer_ratio", "bit_count", "bit_length", "conjugate", "from_bytes", "is_integer", "to_bytes"];
const FLOAT: &[&str] = &["as_integer_ratio", "conjugate", "fromhex", "hex", "is_integer"];
const BYTES: &[&str] = &["decode", "hex"];

/// Returns the attribute of a value that Python has; `None` if it has none of this name.
pub(super) fn attribute(value: &Value, name: &str) -> Outcome<Option<Value>> {
    if name.starts_with('_') {
        // Python's own attributes exist, and the sandbox does not give them.
        return Ok(None);
    }
    let method =
        |known: &[&str]| known.contains(&name).then(|| Value::object(Object::Method(value.clone(), name.to_owned())));
    let unsafe_one =
        || Value::undefined(format!("access to attribute '{name}' of '{}' object is unsafe.", value.kind()));
    Ok(match value {
        Value::Text(_) | Value::Markup(_) => method(strings::NAMES),
        Value::List(_) if LIST_CHANGES.contains(&name) => Some(unsafe_one()),
        Value::List(_) => method(LIST),
        Value::Tuple(_) => method(TUPLE),
        Value::Dict(_) if DICT_CHANGES.contains(&name) => Some(unsafe_one()),
        Value::Dict(_) => method(DICT),
        Value::Bytes(_) => method(BYTES),
        Value::Bool(_) | Value::Int(_) => match name {
            "real" | "numerator" => value.int().map(Value::Int),
            "imag" => Some(Value::Int(0)),
            "denominator" => Some(Value::Int(1)),
            _ => method(INT),
        },
        Value::Float(number) => match name {
            "real" => Some(Value::Float(*number)),
            "imag" => Some(Value::Float(0.0)),
            _ => method(FLOAT),
        },
        Value::Range(start, stop, step) => match name {
            "start" => Some(Value::Int(*start)),
            "stop" => Some(Value::Int(*stop)),
            "step" => Some(Value::Int(*step)),
            _ => method(TUPLE),
        },
        Value::Namespace(names) => names.borrow().iter().find(|(own, _)| own == name).map(|(_, value)| value.clone()),
        Value::View(..) if name == "mapping" || name == "isdisjoint" => {
            return fail(format!("`{name}` is not supported"));
        }
        Value::Object(object) => match &**object {
            Object::Loop(state) => loop_attribute(value, &state.borrow(), name),
            Object::Macro(node, _) => match name {
                "name" => Some(node.name.as_deref().map_or(Value::None, Value::from)),
                "arguments" => {
                    let names = node.parameters.iter().map(|(name, _)| Value::from(name.as_str()));
                    Some(Value::tuple(names.collect()))
                }
                "catch_kwargs" => Some(Value::Bool(node.takes.kwargs)),
                "catch_varargs" => Some(Value::Bool(node.takes.varargs)),
                "caller" => Some(Value::Bool(node.takes.caller)),
                _ => None,
            },
            Object::Cycler(items, at) => match name {
                "current" => Some(items[*at.borrow()].clone()),
                "items" => Some(Value::tuple(items.clone())),
                "pos" => Some(Value::Int(*at.borrow() as i128)),
                _ => method(&["next", "reset"]),
            },
            Object::Joiner(separator, used) => match name {
                "sep" => Some(separator.clone()),
                "used" => Some(Value::Bool(*used.borrow())),
                _ => None,
            },
            Object::Function("dict") if name == "fromkeys" => Some(Value::object(Object::Function("dict.fromkeys"))),
            Object::Blocks => Some(Value::object(Object::Block(name.to_owned()))),
            _ => None,
        },
        _ => None,
    })
}

fn loop_attribute(value: &Value, state: &super::value::LoopState, name: &str) -> Option<Value> {
    let (at, len) = (state.at, state.items.len());
    let int = |number: usize| Some(Value::Int(number as i128));
    match name {
        "index" => int(at + 1),
        "index0" => int(at),
        "revindex" => int(len - at),
        "revindex0" => int(len - at - 1),
        "first" => Some(Value::Bool(at == 0)),
        "last" => Some(Value::Bool(at + 1 == len)),
        "length" => int(len),
        "depth" => int(state.depth),
        "depth0" => int(state.depth - 1),
        "previtem" => Some(match at.checked_sub(1) {
            Some(before) => state.items[before].clone(),
            None => Value::undefined("there is no previous item"),
        }),
        "nextitem" => Some(match state.items.get(at + 1) {
            Some(next) => next.clone(),
            None => Value::undefined("there is no next item"),
        }),
        "cycle" | "changed" => Some(Value::object(Object::Method(value.clone(), name.to_owned()))),
        _ => None,
    }
}

/// Returns `value[key]` where Python finds one.
pub(super) fn plain_item(value: &Value, key: &Value) -> Outcome<Option<Value>> {
    let at = |len: usize| {
        let index = key.int()?;
        let index = if index < 0 { index + len as i128 } else { index };
        usize::try_from(index).ok().filter(|index| *index < len)
    };
    Ok(match value {
        Value::List(items) | Value::Tuple(items) => at(items.len()).map(|at| items[at].clone()),
        Value::Text(text) => {
            let found = at(text.chars().count()).and_then(|at| text.chars().nth(at));
            found.map(|c| Value::from(c.to_string()))
        }
        Value::Markup(text) => {
            let found = at(text.chars().count()).and_then(|at| text.chars().nth(at));
            found.map(|c| Value::Markup(c.to_string().into()))
        }
        Value::Bytes(bytes) => at(bytes.len()).map(|at| Value::Int(bytes[at].into())),
        Value::Dict(dict) => match hashable(key) {
            Ok(()) => dict.get(key).cloned(),
            Err(_) => None,
        },
        Value::Range(start, _, step) => {
            let len = usize::try_from(super::value::range_len(value)).unwrap_or(usize::MAX);
            at(len).map(|at| Value::Int(start + at as i128 * step))
        }
        _ => None,
    })
}

/// Calls a method of a value.
pub(super) fn call(interpreter: &mut Interpreter, value: &Value, name: &str, called: Called) -> Outcome<Value> {
    match value {
        Value::Text(text) | Value::Markup(text) => {
            if matches!(value, Value::Markup(_)) {
                return fail("methods of text that was escaped for HTML are not supported");
            }
            let text = Rc::clone(text);
            strings::call(interpreter, &text, name, called)
        }
        Value::List(items) | Value::Tuple(items) => sequence(value, items, name, called),
        Value::Range(..) => sequence(value, &value.items()?, name, called),
        Value::Dict(dict) => mapping(dict, name, called),
        Value::Bytes(bytes) => match name {
            "hex" => Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()),
            _ => match String::from_utf8(bytes.to_vec()) {
                Ok(text) => Ok(text.into()),
                Err(_) => fail("bytes are not UTF-8"),
            },
        },
        Value::Bool(_) | Value::Int(_) => {
            let number = value.int().unwrap_or(0);
            match name {
                "bit_length" => Ok(Value::Int((128 - number.unsigned_abs().leading_zeros()).into())),
                "bit_count" => Ok(Value::Int(number.unsigned_abs().count_ones().into())),
                "conjugate" => Ok(Value::Int(number)),
                "is_integer" => Ok(Value::Bool(true)),
                "as_integer_ratio" => Ok(Value::tuple(vec![Value::Int(number), Value::Int(1)])),
                _ => fail(format!("`{name}` of an integer is not supported")),
            }
        }
        Value::Float(number) => match name {
            "is_integer" => Ok(Value::Bool(number.is_finite() && number.fract() == 0.0)),
            "conjugate" => Ok(Value::Float(*number)),
            _ => fail(format!("`{name}` of a float is not supported")),
        },
        Value::Object(object) => match &**object {
            Object::Loop(state) => {
                let mut state = state.borrow_mut();
                if !called.named.is_empty() {
                    return fail("unexpected keyword argument");
                }
                let values = called.positional;
                if name == "cycle" {
                    return match values.is_empty() {
                        true => fail("no items for cycling given"),
                        false => Ok(values[state.at % values.len()].clone()),
                    };
                }
                let same = state.last_changed.as_ref().is_some_and(|last| {
                    last.len() == values.len() && last.iter().zip(&values).all(|(a, b)| a.equals(b))
                });
                state.last_changed = Some(values);
                Ok(Value::Bool(!same))
            }
            Object::Cycler(items, at) => {
                let mut at = at.borrow_mut();
                if name == "reset" {
                    *at = 0;
                    return Ok(Value::None);
                }
                let current = items[*at].clone();
                *at = (*at + 1) % items.len();
                Ok(current)
            }
            _ => fail(format!("`{name}` cannot be called")),
        },
        _ => fail(format!("`{name}` cannot be called")),
    }
}

fn sequence(value: &Value, items: &[Value], name: &str, called: Called) -> Outcome<Value> {
    match name {
        "copy" => {
            called.bind([], 0).map(|[]| ())?;
            Ok(value.clone())
        }
        "count" => {
            let [wanted] = called.bind([""], 1)?;
            let count = items.iter().filter(|item| wanted.as_ref().is_some_and(|wanted| item.equals(wanted))).count();
            Ok(Value::Int(count as i128))
        }
        _ => {
            let [wanted, start, stop] = called.bind(["", "", ""], 1)?;
            let bound = |value: Option<Value>, usual: usize| -> Outcome<usize> {
                let Some(value) = value else { return Ok(usual) };
                let index = value.int().ok_or_else(|| Error::new("slice indices must be integers"))?;
                let index = if index < 0 { (index + items.len() as i128).max(0) } else { index };
                Ok(usize::try_from(index).unwrap_or(usize::MAX).min(items.len()))
            };
            let (start, stop) = (bound(start, 0)?, bound(stop, items.len())?);
            let found = (start..stop).find(|at| wanted.as_ref().is_some_and(|wanted| items[*at].equals(wanted)));
            found.map(|at| Value::Int(at as i128)).ok_or_else(|| Error::new("the value is not in the list"))
        }
    }
}

fn mapping(dict: &Rc<Dict>, name: &str, called: Called) -> Outcome<Value> {
    match name {
        "get" => {
            let [key, default] = called.bind(["", ""], 1)?;
            let key = key.unwrap_or(Value::None);
            hashable(&key)?;
            Ok(dict.get(&key).cloned().or(default).unwrap_or(Value::None))
        }
        "fromkeys" => from_keys(called),
        _ => {
            called.bind([], 0).map(|[]| ())?;
            Ok(match name {
                "items" => Value::View(View::Items, Rc::clone(dict)),
                "keys" => Value::View(View::Keys, Rc::clone(dict)),
                "values" => Value::View(View::Values, Rc::clone(dict)),
                _ => Value::Dict(Rc::clone(dict)),
            })
        }
    }
}

/// `dict.fromkeys(keys, value)`
pub(super) fn from_keys(called: Called) -> Outcome<Value> {
    let [keys, value] = called.bind(["", ""], 1)?;
    let mut dict = Dict::default();
    for key in keys.unwrap_or(Value::None).items()? {
        hashable(&key)?;
        dict.set(key, value.clone().unwrap_or(Value::None));
    }
    Ok(Value::Dict(Rc::new(dict)))
}
