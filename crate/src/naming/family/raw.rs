//! A family as its YAML describes it, before it is checked.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::FamilyError;
use super::outline::Outline;
use super::raw_rule::{OneOrMore, RawRule, merged};
use super::spanned::Spanned;
use crate::yaml;

/// Families are a few pages long; longer files are something else.
pub(super) const LARGEST: usize = 1 << 20;

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFamily {
    pub(super) family: Spanned,
    #[serde(default)]
    pub(super) extends: Option<Spanned>,
    /// What Forgather calls it; read by `spec`.
    #[serde(default, rename = "forgather_types")]
    pub(super) _forgather_types: Vec<String>,
    /// What GGUF files call it.
    #[serde(default)]
    pub(super) gguf: Option<String>,
    #[serde(default)]
    pub(super) hugging_face: HuggingFace,
    #[serde(default)]
    pub(super) native: Map<String, Value>,
    #[serde(default)]
    pub(super) config: Vec<RawField>,
    #[serde(default)]
    pub(super) checks: Vec<RawCheck>,
    #[serde(default)]
    pub(super) to_native: Vec<RawRule>,
    #[serde(default)]
    pub(super) aliases: Vec<RawRule>,
    #[serde(default)]
    pub(super) skip: Vec<Spanned>,
    /// Tensors of Hugging Face's files that hold a constant of the formulas.
    #[serde(default)]
    pub(super) constants: Vec<RawConstant>,
    /// Fields of config.json that do not change what the model computes.
    #[serde(default)]
    pub(super) harmless: Vec<String>,
    /// The shapes of models by name, for projects; read by `project`.
    #[serde(default, rename = "sizes")]
    pub(super) _sizes: Map<String, Value>,
    /// The family whose `reference:` holds for this one as well.
    #[serde(default)]
    pub(super) same_reference_as: Option<Spanned>,
    #[serde(default)]
    pub(super) reference: Option<Outline>,
    /// Fields that the reference forwards of the families read which this one extends.
    #[serde(skip)]
    pub(super) inherited: Vec<String>,
}

/// What Hugging Face calls the family, and what its config.json says where nothing else is known.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HuggingFace {
    #[serde(default)]
    pub(super) model_type: Option<String>,
    #[serde(default)]
    pub(super) class: Option<String>,
    /// Whether every field of the class is listed, so that it passes over all others.
    #[serde(default)]
    pub(super) all_fields: bool,
    #[serde(default)]
    pub(super) fields: Map<String, Value>,
}

/// One field of Hugging Face's configuration, and what becomes of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawField {
    pub(super) hf: Spanned,
    /// Other names for it, which win over it.
    #[serde(default)]
    pub(super) aliases: Vec<String>,
    /// The native field, or several that have one value; without one the value is read by expressions, or not at all.
    #[serde(default)]
    pub(super) native: OneOrMore,
    /// What the class assumes where the field is left out, and where it is null if `if_null` does not say otherwise.
    #[serde(default)]
    pub(super) default: Option<Spanned>,
    #[serde(default)]
    pub(super) if_null: Option<Spanned>,
    /// Whether a configuration without it is refused, although the class has a default.
    #[serde(default)]
    pub(super) required: bool,
    #[serde(default)]
    pub(super) values: Option<Map<String, Value>>,
    #[serde(default)]
    pub(super) to_native: Option<Spanned>,
    #[serde(default)]
    pub(super) to_hf: Option<Spanned>,
    #[serde(default)]
    pub(super) when: Option<Spanned>,
    /// Whether the native field is one of each layer.
    #[serde(default)]
    pub(super) each_layer: Option<EachLayer>,
    /// It does not change what the model computes.
    #[serde(default)]
    pub(super) harmless: bool,
    /// The values for which the family holds.
    #[serde(default)]
    pub(super) must: Vec<Value>,
    /// It is read and never written.
    #[serde(default)]
    pub(super) read_only: bool,
}

impl RawField {
    /// Returns the native field, or the first of several.
    pub(super) fn target(&self) -> Option<&Spanned> {
        self.native.0.first()
    }
}

/// How a field there says something of each layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum EachLayer {
    /// It is a list with one value for each layer.
    List,
    /// It is one value, from which `to_native` tells what holds for each layer.
    Rule,
}

/// A tensor without dimensions that holds a number which native models do not store; `{layer}` stands for a layer's number.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConstant {
    pub(super) tensor: String,
    pub(super) value: f32,
    /// It is there where this expression of native fields is true.
    #[serde(default)]
    pub(super) when: Option<Spanned>,
}

/// What a Hugging Face configuration must say.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCheck {
    pub(super) that: Spanned,
    #[serde(rename = "else")]
    pub(super) otherwise: String,
}

impl RawField {
    fn named(&mut self, origin: &Arc<str>) {
        let Self {
            hf,
            native,
            default,
            if_null,
            to_native,
            to_hf,
            when,
            aliases: _,
            required: _,
            values: _,
            each_layer: _,
            harmless: _,
            must: _,
            read_only: _,
        } = self;
        let expressions = default.iter_mut().chain(if_null).chain(to_native).chain(to_hf).chain(when);
        std::iter::once(hf).chain(&mut native.0).chain(expressions).for_each(|text| text.named(origin));
    }
}

impl RawFamily {
    /// Reads a YAML; `origin` names it in errors.
    pub(super) fn from_yaml(yaml: &str, origin: &str) -> Result<Self, FamilyError> {
        let syntax = |reason: String, place: String| FamilyError::Syntax {
            reason,
            place,
            advice: "correct the file there; notebooks/converters/gpt2.yaml shows every key".to_owned(),
        };
        if yaml.len() > LARGEST {
            let reason = format!("{} bytes are too many (at most {LARGEST})", yaml.len());
            return Err(syntax(reason, origin.to_owned()));
        }
        let mut family: Self = yaml::read(yaml)
            .map_err(|error| syntax(error.reason, format!("{origin}:{}:{}", error.line, error.column)))?;
        family.named(&Arc::from(origin));
        Ok(family)
    }

    /// Names the file that its texts stand in.
    fn named(&mut self, origin: &Arc<str>) {
        let Self {
            family,
            extends,
            config,
            checks,
            to_native,
            aliases,
            skip,
            constants,
            same_reference_as,
            _forgather_types: _,
            gguf: _,
            hugging_face: _,
            native: _,
            harmless: _,
            _sizes: _,
            reference: _,
            inherited: _,
        } = self;
        let texts = std::iter::once(family).chain(extends).chain(skip).chain(same_reference_as);
        texts.chain(checks.iter_mut().map(|check| &mut check.that)).for_each(|text| text.named(origin));
        config.iter_mut().for_each(|field| field.named(origin));
        to_native.iter_mut().chain(aliases).for_each(|rule| rule.named(origin));
        constants.iter_mut().flat_map(|constant| &mut constant.when).for_each(|text| text.named(origin));
    }

    /// This family on top of the one it extends.
    pub(super) fn over(self, parent: &Self) -> Self {
        let same = self.model_type() == parent.model_type();
        let mut native = parent.native.clone();
        native.extend(self.native);
        let mut fields = parent.hugging_face.fields.clone();
        fields.extend(self.hugging_face.fields);
        Self {
            family: self.family,
            extends: None,
            _forgather_types: Vec::new(),
            _sizes: Map::new(),
            // What readers of those files compute does not hold for another family.
            gguf: self.gguf.or_else(|| parent.gguf.clone().filter(|_| same)),
            hugging_face: HuggingFace {
                all_fields: self.hugging_face.all_fields || same && parent.hugging_face.all_fields,
                model_type: self.hugging_face.model_type,
                class: self.hugging_face.class.or_else(|| parent.hugging_face.class.clone()),
                fields,
            },
            native,
            config: if self.config.is_empty() { parent.config.clone() } else { self.config },
            checks: parent.checks.iter().cloned().chain(self.checks).collect(),
            to_native: merged(self.to_native, &parent.to_native),
            aliases: merged(self.aliases, &parent.aliases),
            skip: parent.skip.iter().cloned().chain(self.skip).collect(),
            constants: parent.constants.iter().cloned().chain(self.constants).collect(),
            harmless: parent.harmless.iter().cloned().chain(self.harmless).collect(),
            inherited: parent.reads().chain(self.inherited).collect(),
            // Another model's forward is not the parent's just because its tensors have the same names.
            reference: self.reference.or_else(|| parent.reference.clone().filter(|_| same)),
            same_reference_as: self.same_reference_as,
        }
    }

    /// Returns the `model_type` of its folders at Hugging Face.
    pub(super) fn model_type(&self) -> &str {
        self.hugging_face.model_type.as_deref().unwrap_or(&self.family.text)
    }

    /// Returns the fields that the reference forward reads, its own and those of the families that it extends.
    pub(super) fn reads(&self) -> impl Iterator<Item = String> {
        let own = self.reference.iter().flat_map(Outline::reads);
        own.chain(self.inherited.clone())
    }
}
