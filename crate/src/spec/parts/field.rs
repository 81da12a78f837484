//! A field of a configuration, as its part declares it: name, type, default and help. Code that reads, writes, checks, lists or
//! explains fields uses the declaration.

use serde_json::{Map, Value};

use super::declare::FieldValue;
use crate::spec::config::{ConfigError, ModelConfig};
use crate::spec::fields::Fields;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldKind {
    /// A whole number.
    Size,
    /// A whole number, or null.
    OptionalSize,
    /// A number.
    Number,
    /// A number, or null.
    OptionalNumber,
    /// True or false.
    Flag,
    /// True or false, or null.
    OptionalFlag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of these words, or the name of a user's part.
    WordOrPart(&'static [&'static str]),
    /// One of these words, or a list.
    WordOrList(&'static [&'static str]),
    /// An object.
    Object,
    /// A list.
    List,
    /// A token id, or null.
    Id,
    /// A token id, a list of them, or null.
    Ids,
}

impl FieldKind {
    /// Returns its name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            FieldKind::Size | FieldKind::OptionalSize => "int",
            FieldKind::Number | FieldKind::OptionalNumber => "float",
            FieldKind::Flag | FieldKind::OptionalFlag => "bool",
            FieldKind::Word(_) => "choices",
            FieldKind::WordOrPart(_) => "choices or part",
            FieldKind::WordOrList(_) => "choices or list",
            FieldKind::Object => "dict",
            FieldKind::List => "list",
            FieldKind::Id => "token id",
            FieldKind::Ids => "token ids",
        }
    }

    /// Returns the words that it may be, if it is one of some.
    pub fn words(&self) -> &'static [&'static str] {
        match self {
            FieldKind::Word(words) | FieldKind::WordOrPart(words) | FieldKind::WordOrList(words) => words,
            FieldKind::Size
            | FieldKind::OptionalSize
            | FieldKind::Number
            | FieldKind::OptionalNumber
            | FieldKind::Flag
            | FieldKind::OptionalFlag
            | FieldKind::Object
            | FieldKind::List
            | FieldKind::Id
            | FieldKind::Ids => &[],
        }
    }
}

impl std::fmt::Display for FieldKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FieldKind::Size => f.write_str("whole number"),
            FieldKind::OptionalSize => f.write_str("whole number or null"),
            FieldKind::Number => f.write_str("number"),
            FieldKind::OptionalNumber => f.write_str("number or null"),
            FieldKind::Flag => f.write_str("true or false"),
            FieldKind::OptionalFlag => f.write_str("true or false, or null"),
            FieldKind::Word(words) => f.write_str(&words.join(", ")),
            FieldKind::WordOrPart(words) => write!(f, "{}, or the name of a part of your own", words.join(", ")),
            FieldKind::WordOrList(words) => write!(f, "{}, or a list", words.join(", ")),
            FieldKind::Object => f.write_str("object"),
            FieldKind::List => f.write_str("list"),
            FieldKind::Id => f.write_str("token id or null"),
            FieldKind::Ids => f.write_str("token id, list of them, or null"),
        }
    }
}

/// The range of numbers that a field may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::spec) enum Range {
    Any,
    Positive,
    Probability,
}

/// Another field's value, without which a field has no effect.
#[derive(Clone, Copy, Debug)]
struct Condition {
    words: &'static str,
    holds: fn(&ModelConfig) -> bool,
}

/// A configuration that is read.
pub(in crate::spec) struct Reading<'a> {
    pub(in crate::spec) fields: &'a Fields<'a>,
}

impl Reading<'_> {
    /// Stores the field's value, if the configuration has it.
    pub(super) fn take<T: FieldValue>(&self, name: &str, place: &mut T) -> Result<(), ConfigError> {
        if let Some(value) = T::from_field(self.fields, name)? {
            *place = value;
        }
        Ok(())
    }
}

type Read = fn(&Reading<'_>, &mut ModelConfig) -> Result<(), ConfigError>;
type Write = fn(&ModelConfig) -> Option<Value>;

/// A field of a configuration, as its part declares it.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name in config.json, in the YAML of a project and, with dashes, as a flag.
    pub name: &'static str,
    /// What it holds.
    pub kind: FieldKind,
    help: &'static str,
    required: bool,
    otherwise: Option<&'static str>,
    by_layer: bool,
    always_written: bool,
    compared: bool,
    aliases: &'static [&'static str],
    condition: Option<Condition>,
    exported: fn(&ModelConfig) -> bool,
    pub(in crate::spec) range: Range,
    read: Read,
    value: Write,
    beside: Option<fn(&ModelConfig) -> Map<String, Value>>,
}

impl Field {
    pub(super) const fn new(name: &'static str, help: &'static str, kind: FieldKind, read: Read, value: Write) -> Self {
        Self {
            name,
            kind,
            help,
            required: false,
            otherwise: None,
            by_layer: false,
            always_written: false,
            compared: true,
            aliases: &[],
            condition: None,
            exported: |_| false,
            range: Range::Any,
            read,
            value,
            beside: None,
        }
    }

    /// Makes it an error if a configuration does not have it.
    pub(super) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Says where its value comes from if a configuration does not have it; `read` sees to that.
    pub(super) const fn otherwise(mut self, words: &'static str) -> Self {
        self.otherwise = Some(words);
        self
    }

    /// Lets each layer have its own value.
    pub(super) const fn by_layer(mut self) -> Self {
        self.by_layer = true;
        self
    }

    /// Writes it into every config.json, even with the family's default value.
    pub(super) const fn always_written(mut self) -> Self {
        self.always_written = true;
        self
    }

    /// Its value may be written in several ways, so what was given is not compared with what was read.
    pub(super) const fn not_compared(mut self) -> Self {
        self.compared = false;
        self
    }

    /// Other names for it or for parts of it, which `read` understands.
    pub(super) const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// What must hold for it to have an effect.
    pub(super) const fn needs(mut self, words: &'static str, holds: fn(&ModelConfig) -> bool) -> Self {
        self.condition = Some(Condition { words, holds });
        self
    }

    /// When the exported sources of a model read it: for the model, or for one of its layers.
    pub(super) const fn exported(mut self, when: fn(&ModelConfig) -> bool) -> Self {
        self.exported = when;
        self
    }

    /// Lets it be above zero only.
    pub(super) const fn positive(mut self) -> Self {
        self.range = Range::Positive;
        self
    }

    /// Lets it be a probability below one only.
    pub(super) const fn probability(mut self) -> Self {
        self.range = Range::Probability;
        self
    }

    /// Sets a custom reader.
    pub(super) const fn read_by(mut self, read: Read) -> Self {
        self.read = read;
        self
    }

    /// Further fields that are written with it for other readers.
    pub(super) const fn beside(mut self, fields: fn(&ModelConfig) -> Map<String, Value>) -> Self {
        self.beside = Some(fields);
        self
    }

    /// Returns one line of help, without a full stop.
    pub fn help(&self) -> &'static str {
        let help = self.help.trim();
        help.strip_suffix('.').unwrap_or(help)
    }

    /// Returns whether a configuration must have it.
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// Returns whether the layers of a model may differ in it.
    pub fn is_by_layer(&self) -> bool {
        self.by_layer
    }

    /// Returns whether every config.json has it, even with the family's default value.
    pub fn is_always_written(&self) -> bool {
        self.always_written
    }

    /// Other names that are read.
    pub fn aliases_of(&self) -> &'static [&'static str] {
        self.aliases
    }

    /// Returns where its value comes from if it is not given, unless that is the family's default.
    pub fn otherwise_words(&self) -> Option<&'static str> {
        self.otherwise
    }

    /// Returns what must hold for it to have an effect, such as `position_embedding: alibi`.
    pub fn condition(&self) -> Option<&'static str> {
        self.condition.map(|condition| condition.words)
    }

    /// Returns its value in a configuration; `None` where it has no effect there.
    pub fn value(&self, config: &ModelConfig) -> Option<Value> {
        (self.value)(config)
    }

    pub(in crate::spec) fn read(&self, reading: &Reading<'_>, config: &mut ModelConfig) -> Result<(), ConfigError> {
        if self.required && reading.fields.get(self.name).is_none() {
            return Err(reading.fields.missing(self.name));
        }
        (self.read)(reading, config)
    }

    /// Returns the fields that are written with it.
    pub(in crate::spec) fn written_beside(&self, config: &ModelConfig) -> Map<String, Value> {
        self.beside.map(|beside| beside(config)).unwrap_or_default()
    }

    /// Returns whether it has an effect in the configuration.
    pub fn has_effect(&self, config: &ModelConfig) -> bool {
        self.condition.is_none_or(|condition| (condition.holds)(config))
    }

    /// Returns whether the exported sources of a model or layer of this configuration read it.
    pub fn is_exported(&self, config: &ModelConfig) -> bool {
        (self.exported)(config)
    }

    /// Returns whether `given` is what the configuration holds, so that no given value is lost.
    fn holds(&self, given: &Value, config: &ModelConfig) -> bool {
        self.has_effect(config) && (!self.compared || self.value(config).is_some_and(|value| same(given, &value)))
    }
}

/// Returns the fields among `given` that `config` was read from and does not hold, with what each needs.
pub(in crate::spec) fn dropped(given: &Map<String, Value>, config: &ModelConfig) -> Vec<&'static Field> {
    let layers = || config.layers.iter().map(|run| &*run.config);
    let lost = |field: &&Field| {
        given.get(field.name).filter(|value| !value.is_null()).is_some_and(|value| {
            !(field.holds(value, config) || field.by_layer && layers().any(|layer| field.holds(value, layer)))
        })
    };
    super::fields().filter(lost).collect()
}

/// Numbers are equal by value; an object must have the given entries.
fn same(given: &Value, value: &Value) -> bool {
    match (given, value) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.iter().all(|(key, a)| a.is_null() || b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}
