//! Values as Python has them. Chat templates run in a sandbox that changes no value, so all but namespaces, generators and
//! loops are immutable and shared.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use serde_json::Value as Json;

use super::ast::MacroNode;
use super::error::{Error, Outcome, fail};
use super::scope::Scope;

/// A value.
#[derive(Clone, Debug)]
pub(in crate::tokenizer::chat) enum Value {
    Undefined(Rc<Undefined>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Rc<str>),
    /// Text that was escaped for HTML.
    Markup(Rc<str>),
    Bytes(Rc<Vec<u8>>),
    List(Rc<Vec<Value>>),
    Tuple(Rc<Vec<Value>>),
    Dict(Rc<Dict>),
    View(View, Rc<Dict>),
    Range(i128, i128, i128),
    /// What can be walked through once.
    Generator(Rc<RefCell<VecDeque<Value>>>),
    Namespace(Rc<RefCell<Vec<(String, Value)>>>),
    Object(Rc<Object>),
}

/// A value that is not there.
#[derive(Debug, Default)]
pub(in crate::tokenizer::chat) struct Undefined {
    /// What is missing, in words.
    pub(super) what: String,
    /// A field of a message that was null: transformers leaves it out, and it was there once.
    pub(super) was_null: bool,
}

/// The keys, values or items of a dictionary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::tokenizer::chat) enum View {
    Keys,
    Values,
    Items,
}

/// A dictionary in the order of its insertions, and the names of fields that were null and are left out.
#[derive(Clone, Debug, Default)]
pub(in crate::tokenizer::chat) struct Dict(pub(in crate::tokenizer::chat) Vec<(Value, Value)>, pub(super) Vec<String>);

/// What can be called, and the loop.
#[derive(Debug)]
pub(in crate::tokenizer::chat) enum Object {
    /// A function of Jinja or transformers.
    Function(&'static str),
    /// A method of a value.
    Method(Value, String),
    Macro(Rc<MacroNode>, Scope),
    Loop(RefCell<LoopState>),
    Cycler(Vec<Value>, RefCell<usize>),
    Joiner(Value, RefCell<bool>),
    /// `self`, by which blocks are called.
    Blocks,
    Block(String),
}

/// Where a loop is.
#[derive(Debug)]
pub(in crate::tokenizer::chat) struct LoopState {
    pub(super) items: Rc<Vec<Value>>,
    pub(super) at: usize,
    pub(super) depth: usize,
    pub(super) last_changed: Option<Vec<Value>>,
    /// The loop to run for its children, and the names around it, if it is recursive.
    pub(super) recursive: Option<(Rc<super::ast::Loop>, Scope)>,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::List(Rc::new(items))
    }
}

impl Value {
    pub(super) fn tuple(items: Vec<Value>) -> Self {
        Self::Tuple(Rc::new(items))
    }

    pub(super) fn generator(items: Vec<Value>) -> Self {
        Self::Generator(Rc::new(RefCell::new(items.into())))
    }

    pub(super) fn undefined(what: impl Into<String>) -> Self {
        Self::Undefined(Rc::new(Undefined { what: what.into(), was_null: false }))
    }

    pub(super) fn object(object: Object) -> Self {
        Self::Object(Rc::new(object))
    }

    /// Returns a value of JSON.
    pub(in crate::tokenizer::chat) fn of_json(json: &Json) -> Self {
        match json {
            Json::Null => Self::None,
            Json::Bool(flag) => Self::Bool(*flag),
            Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(integer), ..) => Self::Int(integer.into()),
                (_, Some(integer), _) => Self::Int(integer.into()),
                (.., float) => Self::Float(float.unwrap_or(f64::NAN)),
            },
            Json::String(text) => text.as_str().into(),
            Json::Array(items) => items.iter().map(Self::of_json).collect::<Vec<_>>().into(),
            Json::Object(fields) => {
                let fields = fields.iter().map(|(key, value)| (key.as_str().into(), Self::of_json(value)));
                Self::Dict(Rc::new(Dict::of(fields.collect())))
            }
        }
    }

    /// Returns the name of its type, as Python says it.
    pub(in crate::tokenizer::chat) fn kind(&self) -> &'static str {
        match self {
            Self::Undefined(_) => "Undefined",
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Text(_) => "str",
            Self::Markup(_) => "Markup",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::View(View::Keys, _) => "dict_keys",
            Self::View(View::Values, _) => "dict_values",
            Self::View(View::Items, _) => "dict_items",
            Self::Range(..) => "range",
            Self::Generator(_) => "generator",
            Self::Namespace(_) => "Namespace",
            Self::Object(object) => match &**object {
                Object::Function(_) => "function",
                Object::Method(..) => "builtin_function_or_method",
                Object::Macro(..) => "Macro",
                Object::Loop(_) => "LoopContext",
                Object::Cycler(..) => "Cycler",
                Object::Joiner(..) => "Joiner",
                Object::Blocks => "TemplateReference",
                Object::Block(_) => "BlockReference",
            },
        }
    }

    pub(super) fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined(_))
    }

    /// Returns the text of a text.
    pub(in crate::tokenizer::chat) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Markup(text) => Some(text),
            _ => None,
        }
    }

    /// Returns an integer, which truth values are as well.
    pub(in crate::tokenizer::chat) fn int(&self) -> Option<i128> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Bool(flag) => Some((*flag).into()),
            _ => None,
        }
    }

    pub(super) fn float(&self) -> Option<f64> {
        match self {
            Self::Float(number) => Some(*number),
            other => other.int().map(|number| number as f64),
        }
    }

    /// Returns whether it counts as true.
    pub(super) fn truth(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::None => false,
            Self::Bool(flag) => *flag,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) | Self::Markup(text) => !text.is_empty(),
            Self::Bytes(bytes) => !bytes.is_empty(),
            Self::List(items) | Self::Tuple(items) => !items.is_empty(),
            Self::Dict(dict) | Self::View(_, dict) => !dict.0.is_empty(),
            Self::Range(..) => range_len(self) > 0,
            Self::Generator(_) | Self::Namespace(_) | Self::Object(_) => true,
        }
    }

    /// Returns its length.
    pub(super) fn len(&self) -> Outcome<usize> {
        match self {
            Self::Undefined(_) => Ok(0),
            Self::Text(text) | Self::Markup(text) => Ok(text.chars().count()),
            Self::Bytes(bytes) => Ok(bytes.len()),
            Self::List(items) | Self::Tuple(items) => Ok(items.len()),
            Self::Dict(dict) | Self::View(_, dict) => Ok(dict.0.len()),
            Self::Range(..) => usize::try_from(range_len(self)).map_err(|_| Error::new("a range is too long")),
            Self::Object(object) => match &**object {
                Object::Loop(state) => Ok(state.borrow().items.len()),
                _ => fail(format!("object of type '{}' has no len()", self.kind())),
            },
            _ => fail(format!("object of type '{}' has no len()", self.kind())),
        }
    }

    /// Returns what a loop over it goes through. A generator is empty afterwards.
    pub(in crate::tokenizer::chat) fn items(&self) -> Outcome<Vec<Value>> {
        Ok(match self {
            Self::Undefined(_) => Vec::new(),
            Self::Text(text) | Self::Markup(text) => {
                let mut raw = [0; 4];
                text.chars().map(|c| Value::from(&*c.encode_utf8(&mut raw))).collect()
            }
            Self::Bytes(bytes) => bytes.iter().map(|byte| Value::Int((*byte).into())).collect(),
            Self::List(items) | Self::Tuple(items) => items.to_vec(),
            Self::Dict(dict) | Self::View(View::Keys, dict) => dict.0.iter().map(|(key, _)| key.clone()).collect(),
            Self::View(View::Values, dict) => dict.0.iter().map(|(_, value)| value.clone()).collect(),
            Self::View(View::Items, dict) => {
                dict.0.iter().map(|(key, value)| Self::tuple(vec![key.clone(), value.clone()])).collect()
            }
            Self::Range(start, _, step) => (0..range_len(self)).map(|index| Self::Int(start + index * step)).collect(),
            Self::Generator(items) => items.take().into(),
            _ => return fail(format!("'{}' object is not iterable", self.kind())),
        })
    }

    /// Returns whether two values are equal.
    pub(super) fn equals(&self, other: &Value) -> bool {
        match (self, other) {
            (Self::Undefined(_), Self::Undefined(_)) | (Self::None, Self::None) => true,
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.equals(b))
            }
            (Self::Dict(a), Self::Dict(b)) => {
                let same = |(key, value): &(Value, Value)| b.get(key).is_some_and(|other| other.equals(value));
                a.0.len() == b.0.len() && a.0.iter().all(same)
            }
            (Self::View(View::Keys, a), Self::View(View::Keys, b)) => {
                a.0.len() == b.0.len() && a.0.iter().all(|(key, _)| b.get(key).is_some())
            }
            (Self::Range(..), Self::Range(..)) => match (self.items(), other.items()) {
                (Ok(a), Ok(b)) => Value::from(a).equals(&b.into()),
                _ => false,
            },
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => Rc::ptr_eq(a, b),
            (Self::Namespace(a), Self::Namespace(b)) => Rc::ptr_eq(a, b),
            (Self::Generator(a), Self::Generator(b)) => Rc::ptr_eq(a, b),
            _ => match (self.text(), other.text(), self.int(), other.int(), self.float(), other.float()) {
                (Some(a), Some(b), ..) => a == b,
                (_, _, Some(a), Some(b), ..) => a == b,
                (.., Some(a), Some(b)) => a == b,
                _ => false,
            },
        }
    }

    /// Returns which of two values comes first.
    pub(super) fn order(&self, other: &Value, symbol: &str) -> Outcome<Option<std::cmp::Ordering>> {
        match (self, other) {
            (Self::Undefined(undefined), _) | (_, Self::Undefined(undefined)) => Err(missing(undefined)),
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => {
                for (a, b) in a.iter().zip(b.iter()) {
                    if !a.equals(b) {
                        return a.order(b, symbol);
                    }
                }
                Ok(Some(a.len().cmp(&b.len())))
            }
            _ => match (self.text(), other.text(), self.int(), other.int(), self.float(), other.float()) {
                (Some(a), Some(b), ..) => Ok(Some(a.chars().cmp(b.chars()))),
                (_, _, Some(a), Some(b), ..) => Ok(Some(a.cmp(&b))),
                (.., Some(a), Some(b)) => Ok(a.partial_cmp(&b)),
                _ => fail(format!(
                    "'{symbol}' not supported between instances of '{}' and '{}'",
                    self.kind(),
                    other.kind()
                )),
            },
        }
    }

    /// Returns whether `item` is in it.
    pub(super) fn contains(&self, item: &Value) -> Outcome<bool> {
        match self {
            Self::Text(text) | Self::Markup(text) => match item.text() {
                Some(part) => Ok(text.contains(part)),
                None => fail(format!("'in <string>' requires string as left operand, not {}", item.kind())),
            },
            Self::Dict(dict) | Self::View(View::Keys, dict) => {
                hashable(item)?;
                Ok(dict.get(item).is_some())
            }
            Self::None | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Namespace(_) | Self::Object(_) => {
                fail(format!("argument of type '{}' is not iterable", self.kind()))
            }
            Self::Bytes(_) => fail("membership in bytes is not supported"),
            Self::Generator(items) => {
                let mut items = items.borrow_mut();
                while let Some(next) = items.pop_front() {
                    if next.equals(item) {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            _ => Ok(self.items()?.iter().any(|own| own.equals(item))),
        }
    }
}

impl Dict {
    pub(super) fn of(entries: Vec<(Value, Value)>) -> Self {
        Self(entries, Vec::new())
    }

    pub(super) fn get(&self, key: &Value) -> Option<&Value> {
        self.0.iter().find(|(own, _)| own.equals(key)).map(|(_, value)| value)
    }

    pub(super) fn set(&mut self, key: Value, value: Value) {
        match self.0.iter_mut().find(|(own, _)| own.equals(&key)) {
            Some((_, old)) => *old = value,
            None => self.0.push((key, value)),
        }
    }
}

/// Fails for what cannot be a key.
pub(super) fn hashable(key: &Value) -> Outcome<()> {
    match key {
        Value::List(_) | Value::Dict(_) | Value::View(..) => fail(format!("unhashable type: '{}'", key.kind())),
        Value::Tuple(items) => items.iter().try_for_each(hashable),
        _ => Ok(()),
    }
}

/// Returns the error for what is done with a value that is not there.
pub(super) fn missing(undefined: &Undefined) -> Error {
    Error::new(undefined.what.clone())
}

/// Returns how many numbers a range has.
pub(super) fn range_len(range: &Value) -> i128 {
    let Value::Range(start, stop, step) = range else { return 0 };
    let (distance, step) = if *step > 0 { (stop - start, *step) } else { (start - stop, -step) };
    if distance <= 0 { 0 } else { (distance - 1) / step + 1 }
}
