//! Texts of a family's YAML that remember where they stand, so that errors found much later can point there.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A YAML text and what to call it in errors.
#[derive(Debug)]
pub(crate) struct Source {
    pub(super) origin: String,
    pub(super) yaml: String,
}

/// Where a text stands.
#[derive(Clone, Debug)]
pub(crate) enum Location {
    /// In a YAML: which source, and how many marked texts come before it.
    Spanned { source: Arc<Source>, mark: usize },
    /// Somewhere that is only known by name.
    Named(Arc<str>),
}

/// A text that knows its place, if it was read from a YAML.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spanned {
    pub(crate) text: String,
    pub(crate) place: Option<Location>,
}

/// While a YAML is read: the source, the number of marked texts so far, and the one at which reading is to stop.
struct Reading {
    source: Arc<Source>,
    marks: usize,
    stop_at: Option<usize>,
}

thread_local! {
    static READING: RefCell<Option<Reading>> = const { RefCell::new(None) };
}

/// What serde_yaml says when reading stops at a mark; only its location matters.
const STOPPED: &str = "the marked text";

/// Reads a YAML in which every [`Spanned`] gets its place.
pub(super) fn read<T: for<'de> Deserialize<'de>>(source: &Arc<Source>) -> Result<T, serde_yaml::Error> {
    read_until(source, None)
}

fn read_until<T: for<'de> Deserialize<'de>>(
    source: &Arc<Source>,
    stop_at: Option<usize>,
) -> Result<T, serde_yaml::Error> {
    READING.set(Some(Reading { source: Arc::clone(source), marks: 0, stop_at }));
    let read = serde_yaml::from_str(&source.yaml);
    READING.set(None);
    read
}

/// Line and column of a mark, from 1. The parser knows them only where it fails, so it is made to fail there.
fn position(source: &Arc<Source>, mark: usize) -> Option<(usize, usize)> {
    let error = read_until::<super::raw::RawFamily>(source, Some(mark)).err()?;
    error.location().map(|location| (location.line(), location.column()))
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Named(name) => f.write_str(name),
            Location::Spanned { source, mark } => match position(source, *mark) {
                Some((line, column)) => write!(f, "{}:{line}:{column}", source.origin),
                None => f.write_str(&source.origin),
            },
        }
    }
}

impl Spanned {
    /// Says where it stands, if nothing better is known.
    pub(crate) fn named(&mut self, place: &Arc<str>) {
        self.place.get_or_insert_with(|| Location::Named(Arc::clone(place)));
    }

    /// Where it stands, for messages.
    pub(crate) fn at(&self) -> String {
        self.place.as_ref().map_or_else(|| "a family made in Rust".to_owned(), Location::to_string)
    }
}

impl PartialEq for Spanned {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl From<&str> for Spanned {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), place: None }
    }
}

impl<'de> Deserialize<'de> for Spanned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Numbers and truth values are texts that say them: `default: 4096`.
        deserializer.deserialize_any(SpannedVisitor)
    }
}

pub(super) struct SpannedVisitor;

impl Visitor<'_> for SpannedVisitor {
    type Value = Spanned;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Spanned, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Spanned, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Spanned, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Spanned, E> {
        self.visit_str(&format!("{value:?}"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Spanned, E> {
        READING.with_borrow_mut(|reading| {
            let Some(reading) = reading else { return Ok(Spanned::from(text)) };
            let mark = reading.marks;
            reading.marks += 1;
            if reading.stop_at == Some(mark) {
                return Err(E::custom(STOPPED));
            }
            Ok(Spanned {
                text: text.to_owned(),
                place: Some(Location::Spanned { source: Arc::clone(&reading.source), mark }),
            })
        })
    }
}
