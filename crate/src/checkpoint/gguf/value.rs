//! Typed metadata: the keys of a GGUF file and their values.

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum GgufValue {
    /// An unsigned whole number; files hold them in 8, 16, 32 or 64 bits.
    Unsigned(u64),
    /// A signed whole number.
    Signed(i64),
    /// A 32-bit number with a fraction.
    F32(f32),
    /// A 64-bit number with a fraction.
    F64(f64),
    /// True or false.
    Bool(bool),
    /// Text.
    Text(String),
    /// Several values of one kind.
    Array(GgufArray),
}

/// An array of the metadata.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum GgufArray {
    /// Texts, such as the tokens of a vocabulary.
    Text(Vec<String>),
    /// Signed 32-bit numbers, such as the types of tokens.
    I32(Vec<i32>),
    /// 32-bit numbers with fractions, such as the scores of tokens.
    F32(Vec<f32>),
    /// Numbers of another kind: how many there are. Their values are not kept.
    Other(u64),
}

impl GgufArray {
    /// Returns how many values it has.
    pub fn len(&self) -> u64 {
        match self {
            GgufArray::Text(values) => values.len() as u64,
            GgufArray::I32(values) => values.len() as u64,
            GgufArray::F32(values) => values.len() as u64,
            GgufArray::Other(count) => *count,
        }
    }

    /// Returns whether it has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Keys and values, in the file's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GgufMetadata(Vec<(String, GgufValue)>);

impl GgufMetadata {
    /// Returns empty metadata.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a key, or replaces its value.
    pub fn set(&mut self, key: impl Into<String>, value: GgufValue) {
        let key = key.into();
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = value,
            None => self.0.push((key, value)),
        }
    }

    /// Appends a key that is not there yet.
    pub(super) fn push(&mut self, key: String, value: GgufValue) {
        self.0.push((key, value));
    }

    /// Returns the value of a key.
    pub fn get(&self, key: &str) -> Option<&GgufValue> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// Returns a text.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            GgufValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns a whole number that is not negative.
    pub fn unsigned(&self, key: &str) -> Option<u64> {
        match *self.get(key)? {
            GgufValue::Unsigned(number) => Some(number),
            GgufValue::Signed(number) => number.try_into().ok(),
            _ => None,
        }
    }

    /// Returns a number.
    pub fn number(&self, key: &str) -> Option<f64> {
        match *self.get(key)? {
            GgufValue::F32(number) => Some(number.into()),
            GgufValue::F64(number) => Some(number),
            _ => Some(self.unsigned(key)? as f64),
        }
    }

    /// Returns the tokens of a vocabulary, or another array of texts.
    pub fn texts(&self, key: &str) -> Option<&[String]> {
        match self.get(key)? {
            GgufValue::Array(GgufArray::Text(texts)) => Some(texts),
            _ => None,
        }
    }

    /// All keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &GgufValue)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Returns how many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the value for people: arrays as their length, long texts as their beginning.
    pub fn shown(value: &GgufValue) -> String {
        match value {
            GgufValue::Unsigned(number) => number.to_string(),
            GgufValue::Signed(number) => number.to_string(),
            GgufValue::F32(number) => number.to_string(),
            GgufValue::F64(number) => number.to_string(),
            GgufValue::Bool(flag) => flag.to_string(),
            GgufValue::Text(text) => {
                let line: String = text.chars().take(60).collect::<String>().replace('\n', "⏎");
                if line.chars().count() < text.chars().count() { format!("{line}…") } else { line }
            }
            GgufValue::Array(array) => format!("{} values", array.len()),
        }
    }
}
