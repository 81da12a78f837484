//! Parts that users write in Rust: what is known of one before anything computes. `part` has the trait that they implement.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::config::ConfigError;
use super::fields::Fields;
use super::{Init, ModelConfig, parts};

/// Which mixer of a layer a part takes the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Place {
    /// Attention; a configuration chooses the part by `attention_type`.
    Attention,
    /// The feed-forward part; a configuration chooses the part by `feed_forward_type`.
    FeedForward,
}

impl Place {
    /// The field that chooses a part for this place.
    pub fn field(self) -> &'static str {
        match self {
            Place::Attention => "attention_type",
            Place::FeedForward => "feed_forward_type",
        }
    }
}

/// What is wrong with a part, or with what it asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}\n  where: the part `{part}`\n  do: {advice}")]
pub struct PartError {
    /// What is wrong.
    pub what: String,
    /// The part's name.
    pub part: String,
    /// What to do.
    pub advice: String,
}

/// What a field of a part may hold.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PartFieldKind {
    /// A number.
    Number,
    /// A whole number from 0.
    Size,
    /// True or false.
    Flag,
    /// One of these words.
    Word(Vec<&'static str>),
}

impl std::fmt::Display for PartFieldKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PartFieldKind::Number => f.write_str("number"),
            PartFieldKind::Size => f.write_str("whole number"),
            PartFieldKind::Flag => f.write_str("true or false"),
            PartFieldKind::Word(words) => f.write_str(&words.join(", ")),
        }
    }
}

/// A field of a part: its key in config.json and in the YAML of projects, and, with dashes, its flag.
#[derive(Clone, Debug, PartialEq)]
pub struct PartField {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: PartFieldKind,
    /// What it is where a configuration does not have it.
    pub default: Value,
    /// One line of help.
    pub help: &'static str,
}

impl PartField {
    /// A number.
    pub fn number(name: &'static str, default: f64) -> Self {
        Self { name, kind: PartFieldKind::Number, default: json!(default), help: "" }
    }

    /// A whole number from 0.
    pub fn size(name: &'static str, default: usize) -> Self {
        Self { name, kind: PartFieldKind::Size, default: json!(default), help: "" }
    }

    /// True or false.
    pub fn flag(name: &'static str, default: bool) -> Self {
        Self { name, kind: PartFieldKind::Flag, default: json!(default), help: "" }
    }

    /// One of some words, the first of which is the default.
    pub fn word(name: &'static str, words: &[&'static str]) -> Self {
        let default = json!(words.first().copied().unwrap_or_default());
        Self { name, kind: PartFieldKind::Word(words.to_vec()), default, help: "" }
    }

    /// One line of help, without a full stop.
    #[must_use]
    pub fn help(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }

    /// Why a value is not one of this field, as what was expected.
    fn misfit(&self, value: &Value) -> Option<String> {
        let (fits, expected) = match &self.kind {
            PartFieldKind::Number => (value.as_f64().is_some_and(f64::is_finite), "a number".to_owned()),
            PartFieldKind::Size => (value.as_u64().is_some_and(|size| size <= 1 << 28), "a whole number".to_owned()),
            PartFieldKind::Flag => (value.is_boolean(), "true or false".to_owned()),
            PartFieldKind::Word(words) => {
                (value.as_str().is_some_and(|word| words.contains(&word)), format!("one of {}", words.join(", ")))
            }
        };
        (!fits).then_some(expected)
    }
}

/// A parameter of a part, or a module that owns some.
#[derive(Clone, Debug, PartialEq)]
pub struct PartParameter {
    pub(crate) name: &'static str,
    pub(crate) form: ParameterForm,
    pub(crate) init: Option<Init>,
}

/// What a [`PartParameter`] is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ParameterForm {
    Linear { inputs: usize, outputs: usize, bias: bool },
    RmsNorm { dim: usize, eps: f64 },
    Tensor { shape: Vec<usize> },
}

impl PartParameter {
    /// A linear map y = x Wᵀ with W `[outputs, inputs]`, stored as `NAME.weight`. It is drawn as the model's recipe draws
    /// the value map of attention, or the inner map of a feed-forward part, unless [`init`](Self::init) says otherwise.
    pub fn linear(name: &'static str, inputs: usize, outputs: usize) -> Self {
        Self { name, form: ParameterForm::Linear { inputs, outputs, bias: false }, init: None }
    }

    /// As [`linear`](Self::linear), with a bias `[outputs]`, stored as `NAME.bias`.
    pub fn linear_with_bias(name: &'static str, inputs: usize, outputs: usize) -> Self {
        Self { name, form: ParameterForm::Linear { inputs, outputs, bias: true }, init: None }
    }

    /// An RMSNorm of vectors of this width, with factors `[dim]` stored as `NAME.weight`.
    pub fn rms_norm(name: &'static str, dim: usize, eps: f64) -> Self {
        Self { name, form: ParameterForm::RmsNorm { dim, eps }, init: None }
    }

    /// A tensor of its own, stored as `NAME`, with these first values.
    pub fn tensor(name: &'static str, shape: &[usize], init: Init) -> Self {
        Self { name, form: ParameterForm::Tensor { shape: shape.to_vec() }, init: Some(init) }
    }

    fn sizes(&self) -> Vec<usize> {
        match &self.form {
            ParameterForm::Linear { inputs, outputs, .. } => vec![*inputs, *outputs],
            ParameterForm::RmsNorm { dim, .. } => vec![*dim],
            ParameterForm::Tensor { shape } => shape.clone(),
        }
    }

    /// Draws the weight of a linear map from this distribution.
    #[must_use]
    pub fn init(mut self, init: Init) -> Self {
        self.init = Some(init);
        self
    }
}

/// A layer's configuration as its part sees it.
#[derive(Clone, Copy, Debug)]
pub struct PartConfig<'a> {
    config: &'a ModelConfig,
    part: UserPart,
}

impl<'a> PartConfig<'a> {
    pub(crate) fn new(part: UserPart, config: &'a ModelConfig) -> Self {
        Self { config, part }
    }

    /// All fields of the layer's configuration.
    pub fn model(&self) -> &'a ModelConfig {
        self.config
    }

    /// Width of the residual stream.
    pub fn hidden_size(&self) -> usize {
        self.config.hidden_size
    }

    /// Query heads.
    pub fn num_attention_heads(&self) -> usize {
        self.config.num_attention_heads
    }

    /// Key and value heads.
    pub fn num_key_value_heads(&self) -> usize {
        self.config.num_key_value_heads
    }

    /// Width of one head.
    pub fn head_dim(&self) -> usize {
        self.config.head_dim
    }

    /// Width inside the feed-forward part.
    pub fn intermediate_size(&self) -> usize {
        self.config.intermediate_size
    }

    /// The ε of the model's norms.
    pub fn norm_eps(&self) -> f64 {
        self.config.norm.eps
    }

    /// An error of this part.
    pub fn error(&self, what: impl Into<String>, advice: impl Into<String>) -> PartError {
        PartError { what: what.into(), part: self.part.name().to_owned(), advice: advice.into() }
    }

    /// The part's own field, a number.
    ///
    /// # Errors
    /// [`PartError`] if the part does not declare it, or as something else.
    pub fn number(&self, name: &str) -> Result<f64, PartError> {
        self.field(name, "a number", Value::as_f64)
    }

    /// The part's own field, a whole number.
    ///
    /// # Errors
    /// As [`number`](Self::number).
    pub fn size(&self, name: &str) -> Result<usize, PartError> {
        self.field(name, "a size", |value| value.as_u64().and_then(|size| usize::try_from(size).ok()))
    }

    /// The part's own field, true or false.
    ///
    /// # Errors
    /// As [`number`](Self::number).
    pub fn flag(&self, name: &str) -> Result<bool, PartError> {
        self.field(name, "a flag", Value::as_bool)
    }

    /// The part's own field, a word.
    ///
    /// # Errors
    /// As [`number`](Self::number).
    pub fn word(&self, name: &str) -> Result<&'a str, PartError> {
        self.field(name, "a word", Value::as_str)
    }

    fn field<T>(&self, name: &str, kind: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<T, PartError> {
        self.config.part_fields.get(name).and_then(read).ok_or_else(|| {
            let known: Vec<&str> = self.part.fields().iter().map(|field| field.name).collect();
            let declared = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            self.error(
                format!("it reads the field `{name}` as {kind}, and its `fields()` declare: {declared}"),
                "declare the field, or correct its name or type",
            )
        })
    }
}

/// What makes the parameters of a part.
pub(crate) type Parameters = fn(&PartConfig<'_>) -> Result<Vec<PartParameter>, PartError>;

/// A part as it was registered.
pub(crate) struct PartDefinition {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) fields: Vec<PartField>,
    pub(crate) parameters: Parameters,
    pub(crate) caches: bool,
    pub(crate) python: Option<&'static str>,
    /// The path of its type in the file.
    pub(crate) type_name: &'static str,
    /// The file that it was compiled from, and its text; none for one of a notebook cell or a program.
    pub(crate) source: Option<(String, String)>,
    /// How a module is made of it, which `part` knows.
    pub(crate) module: Box<dyn Any + Send + Sync>,
}

/// A part that was registered. Two are equal if they have the same name.
#[derive(Clone, Copy)]
pub struct UserPart(&'static PartDefinition);

/// The newest registration of each name.
static REGISTERED: Mutex<BTreeMap<&'static str, UserPart>> = Mutex::new(BTreeMap::new());

impl UserPart {
    /// Registers a part in place of one that had its name. Models that were built with that one keep it.
    pub(crate) fn register(definition: PartDefinition) -> Result<Self, PartError> {
        let refuse = |what: String, advice: &str| {
            Err(PartError { what, part: definition.name.to_owned(), advice: advice.to_owned() })
        };
        let plain = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        if !plain(definition.name) || parts::builtin_words(definition.place).contains(&definition.name) {
            let what = format!("`{}` cannot be the name of a part", definition.name);
            return refuse(what, "use small letters, digits and underscores, and not the name of a built-in part");
        }
        if definition.python.is_some_and(|text| !text.lines().any(|line| line.starts_with("class "))) {
            return refuse("its Python has no class".to_owned(), "begin a line with `class NAME(nn.Module):`");
        }
        for field in &definition.fields {
            if !plain(field.name) || parts::field(field.name).is_some() {
                let what = format!("its field `{}` is a field of every model, or not a name", field.name);
                return refuse(
                    what,
                    "read the model's own fields from `PartConfig`, and give new ones names of their own",
                );
            }
            if let Some(expected) = field.misfit(&field.default) {
                return refuse(format!("the default of its field `{}` is not {expected}", field.name), "correct it");
            }
        }
        // Never freed: models hold it, and the code that it names is never unloaded.
        let part = Self(Box::leak(Box::new(definition)));
        REGISTERED.lock().unwrap_or_else(PoisonError::into_inner).insert(part.name(), part);
        Ok(part)
    }

    /// The registered part of this name.
    pub fn find(name: &str) -> Option<Self> {
        REGISTERED.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    /// Every registered part, by name.
    pub fn all() -> Vec<Self> {
        REGISTERED.lock().unwrap_or_else(PoisonError::into_inner).values().copied().collect()
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// The mixer that it takes the place of.
    pub fn place(self) -> Place {
        self.0.place
    }

    /// Its fields.
    pub fn fields(self) -> &'static [PartField] {
        &self.0.fields
    }

    /// Whether it continues after the tokens of a cache.
    pub fn caches(self) -> bool {
        self.0.caches
    }

    /// The file that it was compiled from, and its text.
    pub fn source(self) -> Option<(&'static str, &'static str)> {
        self.0.source.as_ref().map(|(file, text)| (file.as_str(), text.as_str()))
    }

    /// The path of its type in the file that it was compiled from.
    pub(crate) fn type_name(self) -> &'static str {
        self.0.type_name
    }

    /// Its class in Python, for the sources of a model.
    pub fn python(self) -> Option<&'static str> {
        self.0.python
    }

    pub(crate) fn module(self) -> &'static (dyn Any + Send + Sync) {
        &*self.0.module
    }

    pub(crate) fn parameters(self, config: &ModelConfig) -> Result<Vec<PartParameter>, PartError> {
        (self.0.parameters)(&PartConfig::new(self, config))
    }
}

impl PartialEq for UserPart {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for UserPart {}

impl std::fmt::Debug for UserPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UserPart({})", self.name())
    }
}

impl Serialize for UserPart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for UserPart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::find(&name).ok_or_else(|| serde::de::Error::custom(format!("the part `{name}` was not registered")))
    }
}

/// The registered parts that an object chooses, for itself or in an entry of `layers`.
pub(super) fn chosen_by(object: &Map<String, Value>) -> Vec<UserPart> {
    let layers = object.get("layers").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object);
    let choices = std::iter::once(object).chain(layers).flat_map(|entry| {
        [Place::Attention, Place::FeedForward].map(|place| entry.get(place.field()).and_then(Value::as_str))
    });
    choices.flatten().filter_map(UserPart::find).collect()
}

/// Reads the fields of the parts that the configuration chose.
pub(super) fn read_fields(fields: &Fields<'_>, config: &mut ModelConfig) -> Result<(), ConfigError> {
    let mut read = Map::new();
    for field in config.user_parts().iter().flat_map(|part| part.fields()) {
        let value = fields.get(field.name).unwrap_or(&field.default);
        if let Some(expected) = field.misfit(value) {
            return Err(fields.invalid(field.name, value, &expected));
        }
        read.insert(field.name.to_owned(), value.clone());
    }
    config.part_fields = read;
    Ok(())
}

/// Checks that the parts take the configuration.
pub(super) fn validate(config: &ModelConfig, fault: parts::Fault<'_>) -> Result<(), ConfigError> {
    for part in config.user_parts() {
        let refuse = |what: &str, advice: &str| {
            let expected = format!("a part that fits the model ({what}; {advice})");
            Err(fault(part.place().field(), part.name().to_owned(), &expected))
        };
        let parameters = match part.parameters(config) {
            Ok(parameters) => parameters,
            Err(PartError { what, advice, .. }) => return refuse(&what, &advice),
        };
        for (index, parameter) in parameters.iter().enumerate() {
            let name = parameter.name;
            if name.is_empty() || name.contains('.') || parameters[..index].iter().any(|other| other.name == name) {
                return refuse(&format!("`{name}` names two parameters, or none"), "give each a name without dots");
            }
            if !parameter.sizes().iter().all(|size| (1..=1 << 28).contains(size)) {
                return refuse(&format!("`{name}` has a size of 0, or beyond 268435456"), "correct `parameters`");
            }
        }
    }
    Ok(())
}

impl ModelConfig {
    /// The parts of users that its layers are made of, where layers do not say otherwise.
    pub fn user_parts(&self) -> Vec<UserPart> {
        let feed_forward = self.feed_forward_kind.user_part().filter(|_| self.feedforward);
        self.attention.user_part().into_iter().chain(feed_forward).collect()
    }

    /// Whether sources in Python can compute it: users' parts may have none.
    pub fn has_python(&self) -> bool {
        self.all_user_parts().iter().all(|part| part.python().is_some())
    }

    /// The parts of users in any of its layers.
    pub fn all_user_parts(&self) -> Vec<UserPart> {
        let mut all = self.user_parts();
        for part in self.layers.iter().flat_map(|run| run.config.user_parts()) {
            if !all.contains(&part) {
                all.push(part);
            }
        }
        all
    }
}
