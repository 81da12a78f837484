//! The functions that templates find: Jinja's and those of transformers.

use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;
use std::time::SystemTime;

use chrono::{DateTime, Local, Timelike};

use super::error::{Error, Outcome, fail};
use super::eval::{Called, Interpreter};
use super::methods::from_keys;
use super::text::str_of;
use super::value::{Dict, Object, Value, hashable, range_len};

/// Their names.
pub(super) const NAMES: &[&str] =
    &["range", "dict", "namespace", "cycler", "joiner", "lipsum", "raise_exception", "strftime_now"];

/// Jinja's sandbox allows no longer ones.
const MAX_RANGE: i128 = 100_000;

pub(super) fn named(name: &str) -> Value {
    let known = NAMES.iter().find(|known| **known == name).copied().unwrap_or_default();
    Value::object(Object::Function(known))
}

pub(super) fn call(interpreter: &mut Interpreter, name: &str, called: Called) -> Outcome<Value> {
    match name {
        "range" => {
            let [first, second, step] = called.bind(["", "", ""], 1)?;
            let int = |value: &Value| {
                value
                    .int()
                    .ok_or_else(|| Error::new(format!("'{}' object cannot be interpreted as an integer", value.kind())))
            };
            let first = int(&first.unwrap_or(Value::None))?;
            let (start, stop) = match second {
                Some(second) => (first, int(&second)?),
                None => (0, first),
            };
            let step = step.map_or(Ok(1), |step| int(&step))?;
            if step == 0 {
                return fail("range() arg 3 must not be zero");
            }
            let small = |number: i128| number.unsigned_abs() < 1 << 100;
            if !(small(start) && small(stop) && small(step)) {
                return fail("a range is too large");
            }
            let range = Value::Range(start, stop, step);
            match range_len(&range) > MAX_RANGE {
                true => fail(format!("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({MAX_RANGE}).")),
                false => Ok(range),
            }
        }
        "dict" => Ok(Value::Dict(Rc::new(dict_of(called)?))),
        "dict.fromkeys" => from_keys(called),
        "namespace" => {
            let mut names = Vec::new();
            for (key, value) in dict_of(called)?.0 {
                let name = key.text().ok_or_else(|| Error::new("names of a namespace are texts"))?.to_owned();
                if name.starts_with('_') {
                    return fail(format!("attributes of a namespace cannot begin with an underscore: {name}"));
                }
                names.push((name, value));
            }
            Ok(Value::Namespace(Rc::new(RefCell::new(names))))
        }
        "cycler" => match called {
            Called { positional, named } if !positional.is_empty() && named.is_empty() => {
                Ok(Value::object(Object::Cycler(positional, RefCell::new(0))))
            }
            _ => fail("at least one item has to be provided"),
        },
        "joiner" => {
            let [separator] = called.bind(["sep"], 0)?;
            Ok(Value::object(Object::Joiner(separator.unwrap_or_else(|| ", ".into()), RefCell::new(false))))
        }
        "raise_exception" => {
            let [message] = called.bind(["message"], 1)?;
            Err(Error::raised(str_of(&message.unwrap_or(Value::None))?))
        }
        "strftime_now" => {
            let [format] = called.bind(["format"], 1)?;
            let format = format.as_ref().and_then(Value::text).ok_or_else(|| Error::new("a date format is a text"))?;
            let now = interpreter.now.unwrap_or_else(SystemTime::now);
            Ok(strftime(format, &DateTime::<Local>::from(now))?.into())
        }
        other => fail(format!("`{other}` is not supported")),
    }
}

/// `dict(mapping or pairs, name=value)`
fn dict_of(called: Called) -> Outcome<Dict> {
    let Called { positional, named } = called;
    if positional.len() > 1 {
        return fail(format!("dict expected at most 1 argument, got {}", positional.len()));
    }
    let mut dict = match positional.into_iter().next() {
        None => Dict::default(),
        Some(Value::Dict(dict)) => (*dict).clone(),
        Some(pairs) => {
            let mut dict = Dict::default();
            for pair in pairs.items()? {
                let pair = pair.items()?;
                let [key, value] = pair.as_slice() else {
                    return fail("dictionary update sequence elements must have length 2");
                };
                hashable(key)?;
                dict.set(key.clone(), value.clone());
            }
            dict
        }
    };
    for (name, value) in named {
        dict.set(name.into(), value);
    }
    Ok(dict)
}

/// Returns a moment as `datetime.now().strftime` of Python writes it, which knows no time zone.
fn strftime(format: &str, now: &DateTime<Local>) -> Outcome<String> {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let flag = chars.next_if(|c| "-_0^#EO".contains(*c));
        let Some(kind) = chars.next() else {
            out.push('%');
            break;
        };
        match kind {
            'z' | 'Z' => {}
            '%' => out.push('%'),
            'f' => {
                let _ = write!(out, "{:06}", now.nanosecond() / 1000 % 1_000_000);
            }
            'c' => {
                let _ = write!(out, "{}", now.format("%a %b %e %H:%M:%S %Y"));
            }
            'x' | 'D' => {
                let _ = write!(out, "{}", now.format("%m/%d/%y"));
            }
            'X' | 'T' => {
                let _ = write!(out, "{}", now.format("%H:%M:%S"));
            }
            kind if "aAbBhCdeFgGHIjklmMnpPrRstSuUVwWyY".contains(kind) => {
                let flag = match flag {
                    None => String::new(),
                    Some(flag @ ('-' | '_' | '0')) => flag.to_string(),
                    Some(flag) => return fail(format!("the flag `{flag}` of a date format is not supported")),
                };
                let one = format!("%{flag}{kind}");
                if write!(out, "{}", now.format(&one)).is_err() {
                    return fail(format!("invalid date format `{one}`"));
                }
            }
            kind => {
                out.push('%');
                out.extend(flag);
                out.push(kind);
            }
        }
    }
    Ok(out)
}
