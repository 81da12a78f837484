//! Finds the line of a value in a YAML text when an error needs it.

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// One step into a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The value of a key.
    Key(String),
    /// An item of a list.
    Item(usize),
    /// The key itself, not its value; the last step.
    KeyOf(String),
}

/// The line of what the steps lead to (counted from 1), `None` if they lead nowhere.
pub(super) fn line_at(text: &str, steps: &[Step]) -> Option<usize> {
    let document = serde_yaml::Deserializer::from_str(text);
    // The walk ends with an error on purpose, and the parser reports its position.
    Walk(steps).deserialize(document).err()?.location().map(|location| location.line())
}

struct Walk<'a>(&'a [Step]);

const ARRIVED: &str = "arrived";

impl Walk<'_> {
    fn scalar<E: Error>(&self) -> Result<(), E> {
        if self.0.is_empty() { Err(E::custom(ARRIVED)) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("anything")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.scalar()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.scalar()
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.scalar()
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.scalar()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((Step::Item(wanted), rest)) = self.0.split_first() else { return self.scalar() };
        for _ in 0..*wanted {
            if items.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        items.next_element_seed(Walk(rest))?;
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let (wanted, rest, key_itself) = match self.0.split_first() {
            Some((Step::Key(key), rest)) => (key, rest, false),
            Some((Step::KeyOf(key), rest)) => (key, rest, true),
            _ => return self.scalar(),
        };
        while let Some(found) = entries.next_key_seed(Key { wanted, stop: key_itself })? {
            if found {
                entries.next_value_seed(Walk(rest))?;
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct Key<'a> {
    wanted: &'a str,
    stop: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        if key == self.wanted && self.stop { Err(E::custom(ARRIVED)) } else { Ok(key == self.wanted) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# tokens\n\"eos_token\":\n  token: a\n  init: zero\nspecial_tokens:\n- b\n- {token: c,\n   init: d}\n- [e, {f: g}]\n";

    #[test]
    fn keys_values_and_items_are_found_on_their_lines() {
        let key = |name: &str| Step::Key(name.to_owned());
        let key_of = |name: &str| Step::KeyOf(name.to_owned());
        for (steps, line) in [
            (vec![key_of("eos_token")], 2),
            (vec![key("eos_token"), key_of("init")], 4),
            (vec![key("eos_token"), key("token")], 3),
            (vec![key("special_tokens"), Step::Item(0)], 6),
            (vec![key("special_tokens"), Step::Item(1), key("init")], 8),
            (vec![key("special_tokens"), Step::Item(2), Step::Item(1), key_of("f")], 9),
        ] {
            assert_eq!(line_at(TEXT, &steps), Some(line), "{steps:?}");
        }
        assert_eq!(line_at(TEXT, &[key("pad_token")]), None);
        assert_eq!(line_at(TEXT, &[key("special_tokens"), Step::Item(9)]), None);
    }
}
