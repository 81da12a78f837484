//! Typed access to the fields of a config.json.

use serde_json::{Map, Value};

use super::config::ConfigError;
use super::{Field, MixerKind, UserPart};

/// Typed access to one JSON object with errors that name the field and the file.
pub(super) struct Fields<'a> {
    pub(super) object: &'a Map<String, Value>,
    pub(super) origin: &'a str,
    pub(super) family: &'a str,
    /// Whether the object was written for this toolkit, so that unknown or unused fields are mistakes.
    pub(super) strict: bool,
}

impl Fields<'_> {
    pub(super) fn missing(&self, field: &str) -> ConfigError {
        ConfigError::Missing { field: field.to_owned(), origin: self.origin.to_owned(), family: self.family.to_owned() }
    }

    pub(super) fn unsupported(&self, what: &str, found: impl ToString, supported: &str) -> ConfigError {
        ConfigError::Unsupported {
            what: what.to_owned(),
            found: found.to_string(),
            supported: supported.to_owned(),
            origin: self.origin.to_owned(),
        }
    }

    /// Returns the error for a name that is not among `known`.
    pub(super) fn unknown(&self, what: &'static str, found: &str, known: &[&str], advice: &str) -> ConfigError {
        self.unknown_named(what, found, known, advice)
    }

    fn unknown_named(&self, what: &str, found: &str, known: &[&str], advice: &str) -> ConfigError {
        let likeness = |name: &&&str| strsim::jaro_winkler(found, name);
        let close = known.iter().filter(|name| likeness(name) > 0.85);
        let close = close.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        ConfigError::Unknown {
            what: what.to_owned(),
            found: found.to_owned(),
            meant: close.map(|name| (*name).to_owned()),
            advice: advice.to_owned(),
            origin: self.origin.to_owned(),
        }
    }

    /// Returns the error for a name that is neither a built-in part nor one that was registered for this place.
    pub(super) fn unknown_part(
        &self,
        field: &str,
        found: &str,
        words: &[&'static str],
        mixer: MixerKind,
    ) -> ConfigError {
        let own = UserPart::all().into_iter().filter(|part| part.mixer_kind() == mixer).map(UserPart::name);
        let known: Vec<&str> = words.iter().copied().chain(own).collect();
        let advice = format!(
            "use one of: {}; your own parts are known after their project (-p) or a cell has registered them",
            known.join(", ")
        );
        self.unknown_named(field, found, &known, &advice)
    }

    pub(super) fn no_effect(&self, field: &str, advice: &str) -> ConfigError {
        let (field, origin, advice) = (field.to_owned(), self.origin.to_owned(), advice.to_owned());
        ConfigError::NoEffect { field, origin, advice }
    }

    /// Returns the error for a given field whose value the configuration does not hold.
    pub(super) fn lost(&self, field: &Field) -> ConfigError {
        let needs = field.condition().map_or_else(String::new, |needs| format!(", or set {needs}"));
        self.no_effect(field.name, &format!("remove it{needs}"))
    }

    pub(super) fn invalid(&self, field: &str, found: &Value, expected: &str) -> ConfigError {
        ConfigError::Invalid {
            field: field.to_owned(),
            // A word of Python, as it stands in the file.
            found: found.get("__float__").and_then(Value::as_str).map_or_else(|| found.to_string(), str::to_owned),
            expected: expected.to_owned(),
            origin: self.origin.to_owned(),
        }
    }

    pub(super) fn get(&self, field: &str) -> Option<&Value> {
        self.object.get(field).filter(|value| !value.is_null())
    }

    /// Returns the value of a field that may be null, or `None` where the configuration leaves it to the family's default.
    pub(super) fn said<T>(&self, field: &str, value: Option<T>) -> Option<Option<T>> {
        self.object.contains_key(field).then_some(value)
    }

    pub(super) fn size(&self, field: &str) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.map(Some).ok_or_else(|| self.invalid(field, value, "a whole number"))
    }

    pub(super) fn required(&self, field: &str) -> Result<usize, ConfigError> {
        self.size(field)?.ok_or_else(|| self.missing(field))
    }

    pub(super) fn number(&self, field: &str) -> Result<Option<f64>, ConfigError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| self.invalid(field, value, "a number"))
    }

    pub(super) fn truth(&self, field: &str) -> Result<Option<bool>, ConfigError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.invalid(field, value, "true or false"))
    }

    pub(super) fn flag(&self, field: &str, otherwise: bool) -> Result<bool, ConfigError> {
        Ok(self.truth(field)?.unwrap_or(otherwise))
    }

    pub(super) fn text(&self, field: &str) -> Result<Option<&str>, ConfigError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.invalid(field, value, "a string"))
    }

    /// Returns a word out of a closed list.
    pub(super) fn word<T>(&self, field: &str, words: &[(&str, T)]) -> Result<Option<T>, ConfigError>
    where
        T: Clone,
    {
        let Some(word) = self.text(field)? else { return Ok(None) };
        match words.iter().find(|(name, _)| *name == word) {
            Some((_, value)) => Ok(Some(value.clone())),
            None => {
                let supported = words.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
                Err(self.unsupported(field, word, &supported))
            }
        }
    }

    pub(super) fn id(&self, field: &str) -> Result<Option<u32>, ConfigError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        // Some configurations write -1 for "no such token".
        if value.as_i64() == Some(-1) {
            return Ok(None);
        }
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.map(Some).ok_or_else(|| self.invalid(field, value, "a token id"))
    }

    pub(super) fn ids(&self, field: &str) -> Result<Vec<u32>, ConfigError> {
        match self.get(field) {
            Some(Value::Array(ids)) => ids
                .iter()
                .filter(|id| id.as_i64() != Some(-1))
                .map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()))
                .collect::<Option<Vec<u32>>>()
                .ok_or_else(|| self.invalid(field, &Value::Array(ids.clone()), "a list of token ids")),
            _ => Ok(self.id(field)?.into_iter().collect()),
        }
    }

    pub(super) fn object(&self, field: &str) -> Result<Option<&Map<String, Value>>, ConfigError> {
        let Some(value) = self.get(field) else { return Ok(None) };
        value.as_object().map(Some).ok_or_else(|| self.invalid(field, value, "an object"))
    }
}
