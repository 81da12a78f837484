//! Parts that users write in Rust: their declarations. `part` has the trait that they implement.

mod config;
mod declaration;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

pub use config::PartConfig;
pub(crate) use declaration::ParameterForm;
pub use declaration::{MixerKind, PartError, PartField, PartFieldKind, PartParameter};

use super::config::ConfigError;
use super::fields::Fields;
use super::{ModelConfig, parts};

/// What makes the parameters of a part.
pub(crate) type Parameters = fn(&PartConfig<'_>) -> Result<Vec<PartParameter>, PartError>;

/// A part as it was registered.
pub(crate) struct PartDefinition {
    pub(crate) name: &'static str,
    pub(crate) mixer_kind: MixerKind,
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
    /// Registers a part, and replaces one of the same name. Models that were built with the old one keep it.
    pub(crate) fn register(definition: PartDefinition) -> Result<Self, PartError> {
        let refuse = |what: String, advice: &str| {
            Err(PartError { what, part: definition.name.to_owned(), advice: advice.to_owned() })
        };
        let plain = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        if !plain(definition.name) || parts::builtin_words(definition.mixer_kind).contains(&definition.name) {
            let what = format!("`{}` cannot be the name of a part", definition.name);
            return refuse(what, "use lowercase letters, digits and underscores, and not the name of a built-in part");
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

    /// Returns the registered part of this name.
    pub fn find(name: &str) -> Option<Self> {
        REGISTERED.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    /// Returns every registered part, by name.
    pub fn all() -> Vec<Self> {
        REGISTERED.lock().unwrap_or_else(PoisonError::into_inner).values().copied().collect()
    }

    /// Returns its name.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Returns the mixer that it replaces.
    pub fn mixer_kind(self) -> MixerKind {
        self.0.mixer_kind
    }

    /// Returns its fields.
    pub fn fields(self) -> &'static [PartField] {
        &self.0.fields
    }

    /// Returns whether it continues after the tokens of a cache.
    pub fn caches(self) -> bool {
        self.0.caches
    }

    /// Returns the file that it was compiled from, and its text.
    pub fn source(self) -> Option<(&'static str, &'static str)> {
        self.0.source.as_ref().map(|(file, text)| (file.as_str(), text.as_str()))
    }

    /// Returns the path of its type in the file that it was compiled from.
    pub(crate) fn type_name(self) -> &'static str {
        self.0.type_name
    }

    /// Returns its class in Python, for the sources of a model.
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

/// Returns the registered parts that an object chooses, for itself or in an entry of `layers`.
pub(super) fn chosen_by(object: &Map<String, Value>) -> Vec<UserPart> {
    let layers = object.get("layers").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object);
    let choices = std::iter::once(object).chain(layers).flat_map(|entry| {
        [MixerKind::Attention, MixerKind::FeedForward].map(|mixer| entry.get(mixer.field()).and_then(Value::as_str))
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
            Err(fault(part.mixer_kind().field(), part.name().to_owned(), &expected))
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
    /// Returns the parts of users that its layers are made of, where layers do not say otherwise.
    pub fn user_parts(&self) -> Vec<UserPart> {
        let feed_forward = self.feed_forward_kind.user_part().filter(|_| self.feedforward);
        self.attention.user_part().into_iter().chain(feed_forward).collect()
    }

    /// Returns whether sources in Python can compute it: users' parts may have none.
    pub fn has_python(&self) -> bool {
        self.all_user_parts().iter().all(|part| part.python().is_some())
    }

    /// Returns the parts of users in any of its layers.
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
