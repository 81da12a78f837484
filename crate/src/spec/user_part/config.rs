//! A configuration as a part reads it.

use serde_json::Value;

use super::{PartError, UserPart};
use crate::spec::ModelConfig;

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

    /// Returns the ε of the model's norms.
    pub fn norm_eps(&self) -> f64 {
        self.config.norm.eps
    }

    /// Returns an error of this part.
    pub fn error(&self, what: impl Into<String>, advice: impl Into<String>) -> PartError {
        PartError { what: what.into(), part: self.part.name().to_owned(), advice: advice.into() }
    }

    /// Returns the part's own field, a number.
    ///
    /// # Errors
    /// [`PartError`] if the part does not declare it, or as something else.
    pub fn number(&self, name: &str) -> Result<f64, PartError> {
        self.field(name, "a number", Value::as_f64)
    }

    /// Returns the part's own field, a whole number.
    ///
    /// # Errors
    /// As [`number`](Self::number).
    pub fn size(&self, name: &str) -> Result<usize, PartError> {
        self.field(name, "a size", |value| value.as_u64().and_then(|size| usize::try_from(size).ok()))
    }

    /// Returns the part's own field, true or false.
    ///
    /// # Errors
    /// As [`number`](Self::number).
    pub fn flag(&self, name: &str) -> Result<bool, PartError> {
        self.field(name, "a flag", Value::as_bool)
    }

    /// Returns the part's own field, a word.
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
