//! The families of models by name, and the defaults of each: the `native:` sections of
//! `families/*.yaml`, of which this is the only part that the native side reads.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::config_json::NATIVE_PREFIX;
use super::{ConfigError, ModelConfig};

include!(concat!(env!("OUT_DIR"), "/families.rs"));

/// A family of models: its name, and the values that its configurations may omit.
///
/// ```
/// use chandlery::spec::{Architecture, ModelConfig};
/// let qwen3 = Architecture::from_name("qwen3").ok_or("not built in")?;
/// assert!(ModelConfig::usual(qwen3).qk_norm);
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Copy)]
pub struct Architecture(&'static Defaults);

/// The native side of a family.
struct Defaults {
    name: String,
    /// The fields of a native config.json that models of the family share.
    fields: Map<String, Value>,
    built_in: bool,
    usual: OnceLock<ModelConfig>,
}

/// The keys of a family's file that the native side reads.
#[derive(Deserialize)]
struct NativeSection {
    #[serde(default)]
    extends: Option<String>,
    #[serde(default)]
    native: Map<String, Value>,
    #[serde(default)]
    forgather_types: Vec<String>,
}

/// The families that were asked for, by name. They live as long as the process, so that a name is as good as a value.
static KNOWN: LazyLock<Mutex<HashMap<String, Architecture>>> = LazyLock::new(Mutex::default);

/// Returns the text of a built-in family's file.
pub(crate) fn family_file(name: &str) -> Option<&'static str> {
    FAMILIES.iter().find(|(known, _)| *known == name).map(|(_, yaml)| *yaml)
}

/// Returns the names of the built-in families.
pub(crate) fn family_names() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|(name, _)| *name)
}

fn section(name: &str) -> Option<NativeSection> {
    // A test reads every file.
    serde_yaml::from_str(family_file(name)?).ok()
}

impl Architecture {
    /// The version of the names of parameters and of the fields of config.json that this crate writes. A change of either
    /// is a new version, and a step in `update/migrations` that leads to it.
    pub const VERSION: u64 = 1;

    /// Returns every built-in family, by name.
    pub fn all() -> impl Iterator<Item = Architecture> {
        family_names().filter_map(Self::from_name)
    }

    /// Finds a family by name: a built-in one, or one that was defined.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(name) {
            return Some(*found);
        }
        let own = section(name)?;
        let (mut fields, mut parent) = (own.native, own.extends);
        // A family that extends itself would never end; a test reads every file.
        for _ in 0..FAMILIES.len() {
            let Some(section) = parent.take().as_deref().and_then(section) else { break };
            let mut inherited = section.native;
            inherited.extend(fields);
            (fields, parent) = (inherited, section.extends);
        }
        fields.shift_remove("architecture");
        let found = Self::leak(name, fields, true);
        known.insert(name.to_owned(), found);
        Some(found)
    }

    /// Defines a family that is not built in. `fields` are the fields of a native config.json that its models share.
    /// Defining one again replaces it; the name of a built-in family stands for that one.
    ///
    /// # Errors
    /// [`ConfigError`] for a name that is not a word, and for fields that do not exist or hold something else than they
    /// should; `origin` names the place.
    pub fn define(name: &str, fields: &Map<String, Value>, origin: &str) -> Result<Self, ConfigError> {
        if family_file(name).is_some()
            && let Some(found) = Self::from_name(name)
        {
            return Ok(found);
        }
        let word = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
        if name.is_empty() || !name.chars().all(word) {
            return Err(ConfigError::Invalid {
                field: "family".to_owned(),
                found: format!("`{name}`"),
                expected: "a name of letters, digits, `_`, `-` and `.`".to_owned(),
                origin: origin.to_owned(),
            });
        }
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(name).filter(|found| found.0.fields == *fields) {
            return Ok(*found);
        }
        let made = Self::leak(name, fields.clone(), false);
        let usual = ModelConfig::with_defaults(made, fields, origin)?;
        let _ = made.0.usual.set(usual);
        known.insert(name.to_owned(), made);
        Ok(made)
    }

    /// Returns a family with the defaults of the declarations only.
    pub(crate) fn nameless() -> Self {
        static NAMELESS: LazyLock<Architecture> = LazyLock::new(|| Architecture::leak("", Map::new(), false));
        *NAMELESS
    }

    fn leak(name: &str, fields: Map<String, Value>, built_in: bool) -> Self {
        let usual = OnceLock::new();
        Self(Box::leak(Box::new(Defaults { name: name.to_owned(), fields, built_in, usual })))
    }

    /// Returns the name in `model_type` and `hf_model_type`.
    pub fn name(self) -> &'static str {
        &self.0.name
    }

    /// Returns whether this crate knows the family by itself. Configurations of others are written with every field, so
    /// that they can be read without the family's file.
    pub fn is_built_in(self) -> bool {
        self.0.built_in
    }

    /// Returns whether the family mentions this field, even with the default value: then it is always written.
    pub(super) fn says(self, field: &str) -> bool {
        self.0.fields.contains_key(field)
    }

    /// Returns the fields of a native config.json that models of the family share.
    pub(crate) fn shared_fields(self) -> &'static Map<String, Value> {
        &self.0.fields
    }

    /// Returns the `model_type` of native folders.
    pub fn native_model_type(self) -> String {
        format!("{NATIVE_PREFIX}{}", self.name())
    }

    /// Finds a family by the short name that Forgather's generated models carry in their `model_type`.
    pub(super) fn from_forgather_name(name: &str) -> Option<Self> {
        Self::from_name(name).or_else(|| {
            let theirs =
                |family: &&str| section(family).is_some_and(|own| own.forgather_types.iter().any(|of| of == name));
            family_names().find(theirs).and_then(Self::from_name)
        })
    }
}

impl ModelConfig {
    /// Returns a configuration with the family's defaults; sizes are 0.
    pub fn usual(family: Architecture) -> Self {
        let read =
            || Self::with_defaults(family, &family.0.fields, family.name()).unwrap_or_else(|_| Self::plain(family));
        family.0.usual.get_or_init(read).clone()
    }
}

impl PartialEq for Architecture {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Architecture {}

impl Hash for Architecture {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl fmt::Debug for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Architecture {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Architecture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let unknown = || Self::define(&name, &Map::new(), "a configuration").map_err(serde::de::Error::custom);
        Self::from_name(&name).map_or_else(unknown, Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_a_family_whose_defaults_are_fields() {
        for name in family_names() {
            let section: NativeSection = serde_yaml::from_str(family_file(name).unwrap()).unwrap();
            if let Some(parent) = section.extends {
                assert!(family_file(&parent).is_some(), "{name} extends {parent}");
            }
            let family = Architecture::from_name(name).unwrap();
            let usual = ModelConfig::with_defaults(family, family.shared_fields(), name).unwrap();
            assert_eq!(usual, ModelConfig::usual(family), "{name}");
            let known = |field: &String| crate::spec::parts::field(field).is_some();
            assert!(family.shared_fields().keys().all(known), "{name}");
        }
    }

    #[test]
    fn a_family_is_defined_once_and_known_by_name() {
        let fields = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let made = Architecture::define("of_mine", &fields(r#"{ "gated_mlp": false }"#), "a test").unwrap();
        assert_eq!(Architecture::from_name("of_mine"), Some(made));
        assert!(!ModelConfig::usual(made).gated && !made.is_built_in());
        let again = Architecture::define("of_mine", &fields(r#"{ "gated_mlp": true }"#), "a test").unwrap();
        assert!(ModelConfig::usual(again).gated && made == again);
        let built_in = Architecture::define("llama", &fields(r#"{ "gated_mlp": false }"#), "a test").unwrap();
        assert!(built_in.is_built_in() && ModelConfig::usual(built_in).gated);
        for wrong in [r#"{ "gated": true }"#, r#"{ "gated_mlp": 3 }"#] {
            Architecture::define("of_mine_too", &fields(wrong), "a test").unwrap_err();
        }
        Architecture::define("two words", &Map::new(), "a test").unwrap_err();
        assert_eq!(Architecture::from_name("of_mine_too"), None);
    }

    #[test]
    fn forgathers_names_are_known() {
        for (theirs, ours) in [
            ("llama2", "llama"),
            ("llama3_2", "llama"),
            ("dynamic_causal_transformer", "causal_lm"),
            ("singlehead", "single_head"),
            ("deepone", "deepone"),
        ] {
            assert_eq!(Architecture::from_forgather_name(theirs).unwrap().name(), ours);
        }
        assert_eq!(Architecture::from_forgather_name("llama9"), None);
    }
}
