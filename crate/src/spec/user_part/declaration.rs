//! What a part declares: which mixer it replaces, its fields, and its parameters.

use serde_json::{Value, json};

use crate::diagnostic::{Diagnose, Diagnostic};
use crate::spec::Init;

/// Which mixer of a layer a part replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MixerKind {
    /// Attention; a configuration chooses the part by `attention_type`.
    Attention,
    /// The feed-forward part; a configuration chooses the part by `feed_forward_type`.
    FeedForward,
}

impl MixerKind {
    /// Returns the field that chooses a part for this mixer.
    pub fn field(self) -> &'static str {
        match self {
            MixerKind::Attention => "attention_type",
            MixerKind::FeedForward => "feed_forward_type",
        }
    }
}

/// What is wrong with a part, or with what it asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.diagnostic())]
pub struct PartError {
    /// What is wrong.
    pub what: String,
    /// The part's name.
    pub part: String,
    /// What to do.
    pub advice: String,
}

impl Diagnose for PartError {
    fn diagnostic(&self) -> Diagnostic {
        Diagnostic::new(&self.what).at(format_args!("the part `{}`", self.part)).advise(&self.advice)
    }
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
    pub(super) fn misfit(&self, value: &Value) -> Option<String> {
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
    /// A linear layer y = x Wᵀ with W `[outputs, inputs]`, stored as `NAME.weight`. It is drawn as the model's recipe draws
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

    pub(super) fn sizes(&self) -> Vec<usize> {
        match &self.form {
            ParameterForm::Linear { inputs, outputs, .. } => vec![*inputs, *outputs],
            ParameterForm::RmsNorm { dim, .. } => vec![*dim],
            ParameterForm::Tensor { shape } => shape.clone(),
        }
    }

    /// Draws the weight of a linear layer from this distribution.
    #[must_use]
    pub fn init(mut self, init: Init) -> Self {
        self.init = Some(init);
        self
    }
}
