//! YAML whose values know where they stand, for errors that point at the line and column.
//!
//! Files that only have to be read go through serde_yaml. Numbers, booleans and texts are told apart as there.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{
    DefaultMessageFormatter, DuplicateKeyPolicy, Error, MergeKeyPolicy, MessageFormatter, NonFiniteFloatPolicy,
    Options, Spanned,
};

/// Why a text cannot be read, and where (lines and columns count from 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct YamlError {
    pub(crate) reason: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// Where a value stands (from 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// Reads one document. Merge keys (`<<`) are ordinary keys; tags and keys that occur twice are errors, and so are aliases
/// that multiply without end.
pub(crate) fn read<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, YamlError> {
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
        let location = error.location();
        let at = |of: fn(&serde_saphyr::Location) -> u64| location.as_ref().map_or(1, of).max(1) as usize;
        YamlError { reason: reason(&error), line: at(|place| place.line()), column: at(|place| place.column()) }
    })
}

fn options() -> Options {
    serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        reject_unsupported_tags: true,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    }
}

/// The error's text without its place, and without advice to those who call the library.
fn reason(error: &Error) -> String {
    match error {
        Error::AliasError { error, .. } => reason(error),
        Error::WithSnippet { error, .. } => reason(error),
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("duplicate key `{key}`"),
        Error::DuplicateMappingKey { key: None, .. } => "duplicate key".to_owned(),
        Error::MultipleDocuments { .. } => "more than one document".to_owned(),
        Error::Budget { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            "repetition limit exceeded: its aliases and lists stand for too many values".to_owned()
        }
        error => DefaultMessageFormatter.format_message(error).into_owned(),
    }
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) at: Position,
}

/// A value of YAML.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
}

impl Node {
    /// Returns the value of a key of a mapping.
    pub(crate) fn get(&self, wanted: &str) -> Option<&Node> {
        let Value::Mapping(entries) = &self.value else { return None };
        let is = |key: &Node| matches!(&key.value, Value::Text(name) if name == wanted);
        entries.iter().find(|(key, _)| is(key)).map(|(_, value)| value)
    }
}

impl Value {
    /// Returns the kind of value in words that follow "is".
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "empty",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Mapping(_) => "a mapping",
        }
    }
}

impl Position {
    /// Returns where a value stands; `None` for values of other formats.
    pub(crate) fn of<T>(spanned: &Spanned<T>) -> Option<Self> {
        let (line, column) = (spanned.referenced.line(), spanned.referenced.column());
        (line > 0).then_some(Self { line: line as usize, column: column as usize })
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        let at = Position::of(&spanned).unwrap_or(Position { line: 1, column: 1 });
        Ok(Self { at, value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut mapping = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            mapping.push(entry);
        }
        Ok(Value::Mapping(mapping))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# tokens\n\"eos_token\":\n  token: a\n  init: zero\nspecial_tokens:\n- b\n- {token: c,\n   init: d}\n- [e, {f: g}]\n";

    #[test]
    fn keys_values_and_items_know_their_places() {
        let node: Node = read(TEXT).unwrap();
        let at = |node: &Node| (node.at.line, node.at.column);
        let Value::Mapping(entries) = &node.value else { panic!("a mapping") };
        assert_eq!(at(&entries[0].0), (2, 1));
        let role = node.get("eos_token").unwrap();
        assert_eq!((at(role), at(role.get("init").unwrap())), ((3, 3), (4, 9)));
        let Value::List(items) = &node.get("special_tokens").unwrap().value else { panic!("a list") };
        assert_eq!((at(&items[0]), at(items[1].get("init").unwrap()), at(&items[2])), ((6, 3), (8, 10), (9, 3)));
        assert_eq!(node.get("pad_token"), None);
    }

    #[test]
    fn every_yaml_file_reads_as_serde_yaml_reads_it() {
        let texts =
            ["a: 1_000\nb: 0755\nc: yes\nd: ~\ne: .inf\nf: 0x1F\ng: 1e-5\nh: 0o17\ni: +1\nj: .5\nl: True\nm: '5'\n"];
        let families = crate::spec::family_names().filter_map(crate::spec::family_file);
        for text in texts.into_iter().chain(families) {
            let ours: serde_json::Value = read(text).unwrap();
            let theirs: serde_json::Value = serde_yaml::from_str(text).unwrap();
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn faults_are_told_with_their_places() {
        for (text, reason, line, column) in [
            ("a: 1\na: 2\n", "duplicate key `a`", 2, 1),
            ("a: !tag 1\n", "unsupported tag `!tag`", 1, 9),
            ("a: 1\n---\nb: 2\n", "more than one document", 3, 1),
            ("a: [\n", "unclosed bracket '['", 1, 4),
        ] {
            let error = read::<Node>(text).unwrap_err();
            assert_eq!(error, YamlError { reason: reason.to_owned(), line, column }, "{text}");
        }
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for n in 1..12 {
            let items = vec![format!("*a{}", n - 1); 9].join(", ");
            bomb.push_str(&format!("a{n}: &a{n} [{items}]\n"));
        }
        assert!(read::<Node>(&bomb).unwrap_err().reason.contains("repetition limit"));
    }
}
