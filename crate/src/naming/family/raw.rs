//! A family as its YAML describes it, before it is checked.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::FamilyError;
use super::outline::Outline;
use super::spanned::Spanned;
use crate::yaml::{self, Position};

/// Stands for the number of each tensor in the names of stacked tensors.
const NUMBER: &str = "{n}";

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
    /// Fields of config.json that do not change what the model computes.
    #[serde(default)]
    pub(super) harmless: Vec<String>,
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

/// What a Hugging Face configuration must say.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCheck {
    pub(super) that: Spanned,
    #[serde(rename = "else")]
    pub(super) otherwise: String,
}

/// One rule of renaming, with what happens to the tensors it renames.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRule {
    #[serde(rename = "match")]
    pub(crate) patterns: OneOrMore,
    pub(crate) replace: OneOrMore,
    #[serde(default)]
    pub(crate) transpose: bool,
    #[serde(default)]
    pub(crate) permute: Option<RawPermute>,
    #[serde(default)]
    pub(crate) sizes: Vec<Spanned>,
    /// The rows of the parts alternate in this many groups.
    #[serde(default)]
    pub(crate) interleave: Option<Spanned>,
    /// This many tensors, whose number is `{n}` in their names, lie along the first dimension of one.
    #[serde(default)]
    pub(crate) stack: Option<Spanned>,
    /// What is added to every element.
    #[serde(default)]
    pub(crate) add: Option<f64>,
    /// Rows at the beginning that no token reads.
    #[serde(default)]
    pub(crate) skip_rows: usize,
    #[serde(default)]
    pub(crate) inside: Vec<RawRule>,
    /// How many tensors are stacked, where their names are written out.
    #[serde(skip)]
    pub(crate) stacked: Option<Stacked>,
}

/// Tensors that lie along the first dimension of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stacked {
    pub(crate) count: usize,
    /// Whether it is the native side that has the one.
    pub(crate) native: bool,
}

/// Rows seen as a box of these sizes, whose sides change places.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPermute {
    pub(crate) rows: Vec<Spanned>,
    pub(crate) order: Vec<usize>,
}

/// A text, or a list of texts.
#[derive(Clone, Debug, Default)]
pub(crate) struct OneOrMore(pub(crate) Vec<Spanned>);

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = serde_saphyr::Spanned::<Texts>::deserialize(deserializer)?;
        let at = Position::of(&texts);
        Ok(Self(match texts.value {
            Texts::One(text) => vec![Spanned::read(text, at)],
            Texts::More(texts) => texts,
        }))
    }
}

enum Texts {
    One(String),
    More(Vec<Spanned>),
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextsVisitor;
        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Texts::More(texts))
            }
        }
        deserializer.deserialize_any(TextsVisitor)
    }
}

impl RawRule {
    /// Returns whether it or a rule inside it stacks tensors.
    pub(crate) fn stacks(&self) -> bool {
        self.stack.is_some() || self.inside.iter().any(Self::stacks)
    }

    /// With the names of tensors that are stacked written out. `count` says how many there are.
    pub(crate) fn unstacked(
        &self,
        count: &dyn Fn(&Spanned) -> Result<usize, FamilyError>,
    ) -> Result<Self, FamilyError> {
        let mut rule = self.clone();
        if let Some(stack) = &self.stack {
            let (hf, native) = (&self.patterns, &self.replace);
            let names = |texts: &OneOrMore| texts.0.iter().filter(|text| text.text.contains(NUMBER)).count();
            let native = match (names(hf), names(native)) {
                (numbered, 0) if numbered == hf.0.len() => true,
                (0, numbered) if numbered == native.0.len() => false,
                _ => {
                    return Err(FamilyError::Syntax {
                        reason: format!(
                            "`stack` without `{NUMBER}` in the names of one side, all of them, and of one only"
                        ),
                        place: stack.at(),
                        advice: format!(
                            "write `{NUMBER}` for the number of each tensor that is stacked; a number that both sides have is a group `(\\d+)`"
                        ),
                    });
                }
            };
            let count = count(stack)?;
            let numbered = |texts: &OneOrMore| match texts.0.iter().any(|text| text.text.contains(NUMBER)) {
                false => texts.clone(),
                true => {
                    let of = |number: usize| {
                        let one = move |text: &Spanned| text.with_text(text.text.replace(NUMBER, &number.to_string()));
                        texts.0.iter().map(one)
                    };
                    OneOrMore((0..count).flat_map(of).collect())
                }
            };
            (rule.patterns, rule.replace) = (numbered(&self.patterns), numbered(&self.replace));
            rule.stacked = Some(Stacked { count, native });
        }
        rule.inside = self.inside.iter().map(|inside| inside.unstacked(count)).collect::<Result<_, _>>()?;
        Ok(rule)
    }

    /// Names the file or place that its texts stand in.
    pub(crate) fn named(&mut self, origin: &Arc<str>) {
        let Self {
            patterns,
            replace,
            permute,
            sizes,
            interleave,
            stack,
            inside,
            transpose: _,
            add: _,
            skip_rows: _,
            stacked: _,
        } = self;
        let permuted = permute.iter_mut().flat_map(|permute| &mut permute.rows);
        let texts = patterns.0.iter_mut().chain(&mut replace.0).chain(sizes).chain(interleave).chain(stack);
        texts.chain(permuted).for_each(|text| text.named(origin));
        inside.iter_mut().for_each(|rule| rule.named(origin));
    }
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
            same_reference_as,
            _forgather_types: _,
            gguf: _,
            hugging_face: _,
            native: _,
            harmless: _,
            reference: _,
            inherited: _,
        } = self;
        let texts = std::iter::once(family).chain(extends).chain(skip).chain(same_reference_as);
        texts.chain(checks.iter_mut().map(|check| &mut check.that)).for_each(|text| text.named(origin));
        config.iter_mut().for_each(|field| field.named(origin));
        to_native.iter_mut().chain(aliases).for_each(|rule| rule.named(origin));
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
        let own = self.reference.iter().flat_map(Outline::reads).map(str::to_owned);
        own.chain(self.inherited.clone())
    }
}

/// Puts a family's own rules before those of its parent. Rules for the same name are merged.
fn merged(own: Vec<RawRule>, parent: &[RawRule]) -> Vec<RawRule> {
    let same = |a: &RawRule, b: &RawRule| a.patterns.0 == b.patterns.0 && a.replace.0 == b.replace.0;
    let mut rules: Vec<RawRule> = own
        .into_iter()
        .map(|rule| match parent.iter().find(|old| same(&rule, old)) {
            Some(old) => RawRule { inside: merged(rule.inside, &old.inside), ..rule },
            None => rule,
        })
        .collect();
    let inherited = parent.iter().filter(|old| !rules.iter().any(|rule| same(rule, old)));
    let inherited: Vec<RawRule> = inherited.cloned().collect();
    rules.extend(inherited);
    rules
}
