//! Jinja's filters of lists.

use std::cmp::Ordering;
use std::rc::Rc;

use super::error::{Error, Outcome, fail};
use super::eval::{Called, Interpreter};
use super::filters::int;
use super::text::str_of;
use super::value::{Dict, Value};
use super::{operators, tests};
use crate::tokenizer::chat::jinja::ast::Operator;

/// A sorted list may not be longer.
const MAX_SORTED: usize = 1_000_000;

fn flag(value: Option<Value>, usual: bool) -> bool {
    value.map_or(usual, |value| value.truth())
}

fn given(value: Option<Value>) -> Option<Value> {
    value.filter(|value| !matches!(value, Value::None))
}

/// What a filter looks at in each item: the item, or an attribute of it by a dotted name.
struct Getter {
    parts: Vec<Value>,
    default: Option<Value>,
    /// Whether letters of either case count as one.
    ignore_case: bool,
}

impl Getter {
    fn new(attribute: Option<&Value>, default: Option<Value>, ignore_case: bool) -> Outcome<Self> {
        let parts = match attribute {
            None | Some(Value::None) => Vec::new(),
            Some(attribute) => match (attribute.text(), attribute.int()) {
                (Some(text), _) => text.split('.').map(part_of).collect(),
                (_, Some(index)) => vec![Value::Int(index)],
                _ => return fail("an attribute is a text or a number"),
            },
        };
        Ok(Self { parts, default, ignore_case })
    }

    fn get(&self, interpreter: &mut Interpreter, item: &Value) -> Outcome<Value> {
        let mut found = item.clone();
        for part in &self.parts {
            found = interpreter.item(&found, part)?;
            if let (true, Some(default)) = (found.is_undefined(), &self.default) {
                found = default.clone();
            }
        }
        Ok(match found.text() {
            Some(text) if self.ignore_case => text.to_lowercase().into(),
            _ => found,
        })
    }

    fn all(&self, interpreter: &mut Interpreter, items: Vec<Value>) -> Outcome<Vec<(Value, Value)>> {
        items.into_iter().map(|item| Ok((self.get(interpreter, &item)?, item))).collect()
    }
}

fn part_of(part: &str) -> Value {
    match part.parse::<i128>() {
        Ok(index) if part.bytes().all(|byte| byte.is_ascii_digit()) => Value::Int(index),
        _ => part.into(),
    }
}

/// Sorts by keys, with errors for keys that have no order.
fn sorted(mut keyed: Vec<(Value, Value)>, reverse: bool) -> Outcome<Vec<(Value, Value)>> {
    if keyed.len() > MAX_SORTED {
        return Err(Error::endless());
    }
    let mut fault = None;
    keyed.sort_by(|(a, _), (b, _)| {
        let order = a.order(b, "<").unwrap_or_else(|error| {
            fault.get_or_insert(error);
            None
        });
        let order = order.unwrap_or(Ordering::Equal);
        if reverse { order.reverse() } else { order }
    });
    match fault {
        Some(fault) => Err(fault),
        None => Ok(keyed),
    }
}

pub(super) fn filter(interpreter: &mut Interpreter, name: &str, value: Value, called: Called) -> Outcome<Value> {
    Ok(match name {
        "list" => value.items()?.into(),
        "first" => match &value {
            Value::Generator(items) => items.borrow_mut().pop_front(),
            other => other.items()?.into_iter().next(),
        }
        .unwrap_or_else(|| Value::undefined("No first item, sequence was empty.")),
        "last" => match &value {
            Value::Generator(_) => return fail("'generator' object is not reversible"),
            other => other.items()?.pop(),
        }
        .unwrap_or_else(|| Value::undefined("No last item, sequence was empty.")),
        "random" => match value.len()? {
            0 => Value::undefined("No random item, sequence was empty."),
            len => value.items()?.swap_remove(rand::random_range(0..len)),
        },
        "reverse" => match value.text() {
            Some(text) => text.chars().rev().collect::<String>().into(),
            None => {
                let mut items = value.items()?;
                items.reverse();
                Value::generator(items)
            }
        },
        "join" => {
            let [separator, attribute] = called.bind(["d", "attribute"], 0)?;
            let separator = separator.as_ref().map_or_else(|| Ok(String::new()), str_of)?;
            let getter = Getter::new(given(attribute).as_ref(), None, false)?;
            let mut texts = Vec::new();
            for (item, _) in getter.all(interpreter, value.items()?)? {
                texts.push(str_of(&item)?);
            }
            texts.join(&separator).into()
        }
        "sum" => {
            let [attribute, start] = called.bind(["attribute", "start"], 0)?;
            let getter = Getter::new(given(attribute).as_ref(), None, false)?;
            let mut sum = start.unwrap_or(Value::Int(0));
            if sum.text().is_some() {
                return fail("sum() can't sum strings");
            }
            for (item, _) in getter.all(interpreter, value.items()?)? {
                sum = operators::binary(Operator::Add, &sum, &item)?;
            }
            sum
        }
        "min" | "max" => {
            let [case, attribute] = called.bind(["case_sensitive", "attribute"], 0)?;
            let getter = Getter::new(given(attribute).as_ref(), None, !flag(case, false))?;
            let mut best: Option<(Value, Value)> = None;
            for (key, item) in getter.all(interpreter, value.items()?)? {
                let better = match &best {
                    None => true,
                    Some((other, _)) if name == "min" => key.order(other, "<")? == Some(Ordering::Less),
                    Some((other, _)) => key.order(other, ">")? == Some(Ordering::Greater),
                };
                if better {
                    best = Some((key, item));
                }
            }
            best.map_or_else(|| Value::undefined("No aggregated item, sequence was empty."), |(_, item)| item)
        }
        "unique" => {
            let [case, attribute] = called.bind(["case_sensitive", "attribute"], 0)?;
            let getter = Getter::new(given(attribute).as_ref(), None, !flag(case, false))?;
            let mut seen = Dict::default();
            let mut kept = Vec::new();
            for (key, item) in getter.all(interpreter, value.items()?)? {
                super::value::hashable(&key)?;
                interpreter.step(seen.0.len())?;
                if seen.get(&key).is_none() {
                    seen.0.push((key, Value::None));
                    kept.push(item);
                }
            }
            Value::generator(kept)
        }
        "sort" => {
            let [reverse, case, attribute] = called.bind(["reverse", "case_sensitive", "attribute"], 0)?;
            let ignore = !flag(case, false);
            let attributes: Vec<Value> = match given(attribute) {
                Some(attribute) => match attribute.text() {
                    Some(text) => text.split(',').map(Value::from).collect(),
                    None => vec![attribute],
                },
                None => Vec::new(),
            };
            let getters: Vec<Getter> =
                attributes.iter().map(|one| Getter::new(Some(one), None, ignore)).collect::<Outcome<_>>()?;
            let plain = Getter::new(None, None, ignore)?;
            let mut keyed = Vec::new();
            for item in value.items()? {
                let key = match getters.as_slice() {
                    [] => plain.get(interpreter, &item)?,
                    getters => {
                        let keys = getters.iter().map(|getter| getter.get(interpreter, &item));
                        keys.collect::<Outcome<Vec<_>>>()?.into()
                    }
                };
                keyed.push((key, item));
            }
            sorted(keyed, flag(reverse, false))?.into_iter().map(|(_, item)| item).collect::<Vec<_>>().into()
        }
        "dictsort" => {
            let [case, by, reverse] = called.bind(["case_sensitive", "by", "reverse"], 0)?;
            let Value::Dict(dict) = &value else { return fail("`dictsort` needs a dictionary") };
            let place = match by.as_ref().map_or("key", |by| by.text().unwrap_or_default()) {
                "key" => 0,
                "value" => 1,
                _ => return fail("You can only sort by either \"key\" or \"value\""),
            };
            let ignore = !flag(case, false);
            let keyed = dict.0.iter().map(|(key, value)| {
                let by = if place == 0 { key } else { value };
                let by = match by.text() {
                    Some(text) if ignore => text.to_lowercase().into(),
                    _ => by.clone(),
                };
                (by, Value::tuple(vec![key.clone(), value.clone()]))
            });
            let sorted = sorted(keyed.collect(), flag(reverse, false))?;
            sorted.into_iter().map(|(_, item)| item).collect::<Vec<_>>().into()
        }
        "groupby" => {
            let [attribute, default, case] = called.bind(["attribute", "default", "case_sensitive"], 1)?;
            let ignore = !flag(case, false);
            let getter = Getter::new(attribute.as_ref(), given(default.clone()), ignore)?;
            let exact = Getter::new(attribute.as_ref(), given(default), false)?;
            let mut groups: Vec<(Value, Value, Vec<Value>)> = Vec::new();
            for (key, item) in sorted(getter.all(interpreter, value.items()?)?, false)? {
                match groups.last_mut().filter(|(last, ..)| last.equals(&key)) {
                    Some((.., items)) => items.push(item),
                    None => groups.push((key, exact.get(interpreter, &item)?, vec![item])),
                }
            }
            let groups = groups.into_iter().map(|(_, name, items)| Value::tuple(vec![name, items.into()]));
            groups.collect::<Vec<_>>().into()
        }
        "batch" => {
            let [count, fill] = called.bind(["linecount", "fill_with"], 1)?;
            let count = usize::try_from(int(count, 0)?).ok().filter(|count| (1..=100_000).contains(count));
            let Some(count) = count else { return fail("`batch` needs a number from 1") };
            let fill = given(fill);
            let mut rows: Vec<Vec<Value>> = value.items()?.chunks(count).map(<[Value]>::to_vec).collect();
            if let (Some(last), Some(fill)) = (rows.last_mut(), fill) {
                last.resize(count, fill);
            }
            Value::generator(rows.into_iter().map(Value::from).collect())
        }
        "slice" => {
            let [count, fill] = called.bind(["slices", "fill_with"], 1)?;
            let count = usize::try_from(int(count, 0)?).ok().filter(|count| (1..=100_000).contains(count));
            let Some(count) = count else { return fail("`slice` needs a number from 1") };
            let (items, fill) = (value.items()?, given(fill));
            let (each, longer) = (items.len() / count, items.len() % count);
            let mut rows = Vec::new();
            let mut offset = 0;
            for slice in 0..count {
                let start = offset + slice * each;
                offset += usize::from(slice < longer);
                let end = offset + (slice + 1) * each;
                let mut row = items[start..end].to_vec();
                if let Some(fill) = fill.clone().filter(|_| slice >= longer) {
                    row.push(fill);
                }
                rows.push(row.into());
            }
            Value::generator(rows)
        }
        "map" => mapped(interpreter, &value, called)?,
        "select" | "reject" | "selectattr" | "rejectattr" => selected(interpreter, name, &value, called)?,
        _ => return fail(format!("No filter named '{name}'.")),
    })
}

fn mapped(interpreter: &mut Interpreter, value: &Value, called: Called) -> Outcome<Value> {
    let Called { mut positional, mut named } = called;
    // What counts as false is taken for an empty list.
    let items = |value: &Value| if value.truth() { value.items() } else { Ok(Vec::new()) };
    let attribute = named.iter().position(|(name, _)| name == "attribute");
    if let (true, Some(place)) = (positional.is_empty(), attribute) {
        let (_, attribute) = named.remove(place);
        let default = named.iter().position(|(name, _)| name == "default").map(|place| named.remove(place).1);
        if let Some((name, _)) = named.first() {
            return fail(format!("Unexpected keyword argument '{name}'"));
        }
        let getter = Getter::new(Some(&attribute), given(default), false)?;
        let found = getter.all(interpreter, items(value)?)?;
        return Ok(Value::generator(found.into_iter().map(|(found, _)| found).collect()));
    }
    if positional.is_empty() {
        return fail("map requires a filter argument");
    }
    let name = str_of(&positional.remove(0))?;
    let mut out = Vec::new();
    for item in items(value)? {
        let called = Called { positional: positional.clone(), named: named.clone() };
        out.push(interpreter.filter(&name, item, called)?);
    }
    Ok(Value::generator(out))
}

fn selected(interpreter: &mut Interpreter, name: &str, value: &Value, called: Called) -> Outcome<Value> {
    let Called { mut positional, named } = called;
    let getter = match name.ends_with("attr") {
        true if positional.is_empty() => return fail("Missing parameter for attribute name"),
        true => Getter::new(Some(&positional.remove(0)), None, false)?,
        false => Getter::new(None, None, false)?,
    };
    let wanted = name.starts_with("select");
    let test = if positional.is_empty() { None } else { Some(str_of(&positional.remove(0))?) };
    let called = Called { positional, named };
    let mut kept = Vec::new();
    let items = if value.truth() { value.items()? } else { Vec::new() };
    for (found, item) in getter.all(interpreter, items)? {
        interpreter.step(0)?;
        let passes = match &test {
            None => found.truth(),
            // A message's field that was null is left out for templates, and found by those that look for it.
            Some(test) if test == "none" && is_null(&found) => true,
            Some(test) => tests::test(test, &found, &called)?,
        };
        if passes == wanted {
            kept.push(item);
        }
    }
    Ok(Value::generator(kept))
}

fn is_null(value: &Value) -> bool {
    matches!(value, Value::Undefined(undefined) if Rc::clone(undefined).was_null)
}
