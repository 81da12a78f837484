//! Evaluates expressions.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::SystemTime;

use super::ast::{Arguments, Expr, Node};
use super::error::{Error, Outcome, fail};
use super::scope::Scope;
use super::text::str_of;
use super::value::{Dict, Object, Value, hashable, missing};
use super::{filters, functions, methods, operators, tests};

/// Calls, filters and loops in one another beyond this are refused, before they exhaust the stack.
const MAX_CALLS: usize = 60;

/// The arguments of a call, evaluated.
#[derive(Debug, Default)]
pub(super) struct Called {
    pub(super) positional: Vec<Value>,
    pub(super) named: Vec<(String, Value)>,
}

/// What evaluates a template.
pub(super) struct Interpreter {
    pub(super) blocks: HashMap<String, Rc<Vec<Node>>>,
    pub(super) now: Option<SystemTime>,
    /// Whether what the assistant says is marked in the text.
    pub(super) marks: bool,
    /// The scope of the template itself, which blocks see.
    pub(super) top: Option<Scope>,
    pub(super) line: usize,
    fuel: u64,
    calls: usize,
}

impl Interpreter {
    pub(super) fn new(fuel: u64, now: Option<SystemTime>) -> Self {
        Self { blocks: HashMap::new(), now, marks: false, top: None, line: 0, fuel, calls: 0 }
    }

    /// Pays for a step, and for what it makes.
    pub(super) fn step(&mut self, bytes: usize) -> Outcome<()> {
        let cost = 1 + bytes as u64 / 64;
        self.fuel = self.fuel.checked_sub(cost).ok_or_else(Error::endless)?;
        Ok(())
    }

    /// Calls something one level deeper.
    pub(super) fn deeper<T>(&mut self, call: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        if self.calls >= MAX_CALLS {
            return fail("maximum recursion depth exceeded");
        }
        self.calls += 1;
        let result = call(self);
        self.calls -= 1;
        result
    }

    pub(super) fn eval(&mut self, expr: &Expr, scope: &Scope) -> Outcome<Value> {
        self.step(0)?;
        match expr {
            Expr::Const(value) => Ok(value.clone()),
            Expr::Name(name) => Ok(match scope.get(name) {
                Some(value) => value,
                None if functions::NAMES.contains(&name.as_str()) => functions::named(name),
                None => Value::undefined(format!("'{name}' is undefined")),
            }),
            Expr::List(items) => Ok(self.all(items, scope)?.into()),
            Expr::Tuple(items) => Ok(Value::tuple(self.all(items, scope)?)),
            Expr::Dict(items) => {
                let mut dict = Dict::default();
                for (key, value) in items {
                    let key = self.eval(key, scope)?;
                    hashable(&key)?;
                    self.step(dict.0.len())?;
                    dict.set(key, self.eval(value, scope)?);
                }
                Ok(Value::Dict(Rc::new(dict)))
            }
            Expr::Negate(value) => operators::negated(&self.eval(value, scope)?),
            Expr::Plus(value) => match self.eval(value, scope)? {
                Value::Undefined(undefined) => Err(missing(&undefined)),
                Value::Float(number) => Ok(Value::Float(number)),
                other => match other.int() {
                    Some(number) => Ok(Value::Int(number)),
                    None => fail(format!("bad operand type for unary +: '{}'", other.kind())),
                },
            },
            Expr::Not(value) => Ok(Value::Bool(!self.eval(value, scope)?.truth())),
            Expr::Binary(operator, left, right) => {
                let (left, right) = (self.eval(left, scope)?, self.eval(right, scope)?);
                let made = operators::binary(*operator, &left, &right)?;
                self.step(size(&made))?;
                Ok(made)
            }
            Expr::Concat(parts) => {
                let mut text = String::new();
                for part in parts {
                    let part = str_of(&self.eval(part, scope)?)?;
                    self.step(part.len())?;
                    text.push_str(&part);
                }
                Ok(text.into())
            }
            Expr::And(left, right) => {
                let left = self.eval(left, scope)?;
                if left.truth() { self.eval(right, scope) } else { Ok(left) }
            }
            Expr::Or(left, right) => {
                let left = self.eval(left, scope)?;
                if left.truth() { Ok(left) } else { self.eval(right, scope) }
            }
            Expr::Compare(first, others) => {
                let mut left = self.eval(first, scope)?;
                for (comparison, right) in others {
                    let right = self.eval(right, scope)?;
                    self.step(size(&left).min(size(&right)))?;
                    if !operators::compare(*comparison, &left, &right)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Ok(Value::Bool(true))
            }
            Expr::If(condition, value, otherwise) => match (self.eval(condition, scope)?.truth(), otherwise) {
                (true, _) => self.eval(value, scope),
                (false, Some(otherwise)) => self.eval(otherwise, scope),
                (false, None) => {
                    Ok(Value::undefined("the inline if-expression evaluated to false and no else section was defined"))
                }
            },
            Expr::Attribute(value, name) => {
                let value = self.eval(value, scope)?;
                self.attribute(&value, name)
            }
            Expr::Item(value, key) => {
                let (value, key) = (self.eval(value, scope)?, self.eval(key, scope)?);
                self.item(&value, &key)
            }
            Expr::Slice(value, parts) => {
                let value = self.eval(value, scope)?;
                let mut numbers = [None, None, None];
                for (number, part) in numbers.iter_mut().zip(parts.iter()) {
                    *number = part.as_ref().map(|part| self.eval(part, scope)).transpose()?;
                }
                self.step(size(&value))?;
                operators::slice(&value, numbers)
            }
            Expr::Call(callee, arguments) => {
                let callee = self.eval(callee, scope)?;
                let called = self.arguments(arguments, scope)?;
                self.call(&callee, called)
            }
            Expr::Filter(value, name, arguments) => {
                let Some(value) = value else { return fail("a filter has no value") };
                let value = self.eval(value, scope)?;
                let called = self.arguments(arguments, scope)?;
                self.filter(name, value, called)
            }
            Expr::Test(value, name, arguments) => {
                let value = self.eval(value, scope)?;
                let called = self.arguments(arguments, scope)?;
                Ok(Value::Bool(tests::test(name, &value, &called)?))
            }
        }
    }

    fn all(&mut self, items: &[Expr], scope: &Scope) -> Outcome<Vec<Value>> {
        items.iter().map(|item| self.eval(item, scope)).collect()
    }

    pub(super) fn arguments(&mut self, arguments: &Arguments, scope: &Scope) -> Outcome<Called> {
        let mut called = Called { positional: self.all(&arguments.positional, scope)?, named: Vec::new() };
        for (name, value) in &arguments.named {
            let value = self.eval(value, scope)?;
            called.name(name, value)?;
        }
        if let Some(sequence) = &arguments.sequence {
            called.positional.extend(self.eval(sequence, scope)?.items()?);
        }
        if let Some(mapping) = &arguments.mapping {
            let Value::Dict(dict) = self.eval(mapping, scope)? else {
                return fail("argument after ** must be a mapping");
            };
            for (key, value) in &dict.0 {
                let Some(key) = key.text() else { return fail("keywords must be strings") };
                called.name(key, value.clone())?;
            }
        }
        Ok(called)
    }

    /// Applies a filter.
    pub(super) fn filter(&mut self, name: &str, value: Value, called: Called) -> Outcome<Value> {
        self.step(size(&value))?;
        let made = self.deeper(|interpreter| filters::filter(interpreter, name, value, called))?;
        self.step(size(&made))?;
        Ok(made)
    }

    /// Returns `value.name`: an attribute as Python has it, else an item.
    pub(super) fn attribute(&mut self, value: &Value, name: &str) -> Outcome<Value> {
        if let Value::Undefined(undefined) = value {
            return Err(missing(undefined));
        }
        if let Some(found) = methods::attribute(value, name)? {
            return Ok(found);
        }
        Ok(methods::plain_item(value, &Value::from(name))?
            .unwrap_or_else(|| Value::undefined(format!("'{} object' has no attribute '{name}'", value.kind()))))
    }

    /// Returns `value[key]`: an item, else an attribute.
    pub(super) fn item(&mut self, value: &Value, key: &Value) -> Outcome<Value> {
        if let Value::Undefined(undefined) = value {
            return Err(missing(undefined));
        }
        if let Some(found) = methods::plain_item(value, key)? {
            return Ok(found);
        }
        if let Some(name) = key.text()
            && let Some(found) = methods::attribute(value, name)?
        {
            return Ok(found);
        }
        let was_null = match (value, key.text()) {
            (Value::Dict(dict), Some(name)) => dict.1.iter().any(|null| null == name),
            _ => false,
        };
        let key = super::text::repr(key).unwrap_or_default();
        let what = format!("'{} object' has no attribute {key}", value.kind());
        Ok(Value::Undefined(Rc::new(super::value::Undefined { what, was_null })))
    }

    /// Calls a value.
    pub(super) fn call(&mut self, callee: &Value, called: Called) -> Outcome<Value> {
        let object = match callee {
            Value::Object(object) => Rc::clone(object),
            Value::Undefined(undefined) => return Err(missing(undefined)),
            other => return fail(format!("'{}' object is not callable", other.kind())),
        };
        self.deeper(|interpreter| {
            let made = match &*object {
                Object::Function(name) => functions::call(interpreter, name, called)?,
                Object::Method(value, name) => methods::call(interpreter, value, name, called)?,
                Object::Macro(node, scope) => interpreter.call_macro(node, scope, called)?,
                Object::Loop(state) => interpreter.recurse(state, called)?,
                Object::Cycler(..) | Object::Blocks => {
                    return fail(format!("'{}' object is not callable", callee.kind()));
                }
                Object::Joiner(separator, used) => match used.replace(true) {
                    true => separator.clone(),
                    false => "".into(),
                },
                Object::Block(name) => interpreter.call_block(name)?,
            };
            interpreter.step(size(&made))?;
            Ok(made)
        })
    }
}

impl Called {
    fn name(&mut self, name: &str, value: Value) -> Outcome<()> {
        if self.named.iter().any(|(known, _)| known == name) {
            return fail(format!("got multiple values for keyword argument '{name}'"));
        }
        self.named.push((name.to_owned(), value));
        Ok(())
    }

    /// Returns the values of parameters by place or name; those after the first `required` may be missing.
    pub(super) fn bind<const N: usize>(self, names: [&str; N], required: usize) -> Outcome<[Option<Value>; N]> {
        let mut values = [const { None }; N];
        if self.positional.len() > N {
            return fail(format!("takes {N} arguments but {} were given", self.positional.len()));
        }
        for (place, value) in self.positional.into_iter().enumerate() {
            values[place] = Some(value);
        }
        for (name, value) in self.named {
            match names.iter().position(|known| *known == name && !name.is_empty()) {
                Some(place) if values[place].is_none() => values[place] = Some(value),
                Some(_) => return fail(format!("got multiple values for argument '{name}'")),
                None => return fail(format!("got an unexpected keyword argument '{name}'")),
            }
        }
        match values[..required].iter().position(Option::is_none) {
            Some(place) => fail(format!("missing a required argument: '{}'", names[place])),
            None => Ok(values),
        }
    }
}

/// Returns about how many bytes a value takes.
fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) | Value::Markup(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) | Value::Tuple(items) => items.len() * 16,
        Value::Dict(dict) | Value::View(_, dict) => dict.0.len() * 16,
        Value::Generator(items) => items.borrow().len() * 16,
        _ => 0,
    }
}
