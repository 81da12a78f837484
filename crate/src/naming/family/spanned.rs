//! Texts of a family's YAML with their positions, so that errors that are found much later can name them.

use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::yaml::Position;

/// A text and where it stands, as far as that is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spanned {
    pub(crate) text: String,
    /// The file, or another name of the place.
    origin: Option<Arc<str>>,
    /// Where in the file.
    at: Option<Position>,
}

impl Spanned {
    /// Makes a text that stands in a file at `at`; [`named`](Self::named) says in which file.
    pub(super) fn read(text: String, at: Option<Position>) -> Self {
        Self { text, origin: None, at }
    }

    /// Returns another text for the same place.
    pub(crate) fn with_text(&self, text: String) -> Self {
        Self { text, ..self.clone() }
    }

    /// Names the file or place that it stands in, if it has no name yet.
    pub(crate) fn named(&mut self, origin: &Arc<str>) {
        self.origin.get_or_insert_with(|| Arc::clone(origin));
    }

    /// Returns where it stands, for messages.
    pub(crate) fn at(&self) -> String {
        self.place().unwrap_or_else(|| "a family made in Rust".to_owned())
    }

    /// Returns where it stands, if that is known.
    pub(crate) fn place(&self) -> Option<String> {
        let origin = self.origin.as_ref()?;
        Some(match self.at {
            Some(at) => format!("{origin}:{}:{}", at.line, at.column),
            None => origin.to_string(),
        })
    }
}

impl PartialEq for Spanned {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl From<&str> for Spanned {
    fn from(text: &str) -> Self {
        Self::read(text.to_owned(), None)
    }
}

impl<'de> Deserialize<'de> for Spanned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scalar = serde_saphyr::Spanned::<Scalar>::deserialize(deserializer)?;
        let at = Position::of(&scalar);
        Ok(Self::read(scalar.value.0, at))
    }
}

/// A text. Numbers and truth values are read as their texts: `default: 4096`.
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Scalar;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Scalar, E> {
                Ok(Scalar(format!("{value:?}")))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Text)
    }
}
