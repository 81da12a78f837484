//! The rules of renaming as a family's YAML has them.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::FamilyError;
use super::spanned::Spanned;
use crate::yaml::Position;

/// Stands for the number of each tensor in the names of stacked tensors.
const NUMBER: &str = "{n}";

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
    /// The rule applies only to models for which this expression of native fields is true.
    #[serde(default)]
    pub(crate) when: Option<Spanned>,
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

/// Rows or columns seen as a box of these sizes, whose sides change places.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPermute {
    #[serde(default)]
    pub(crate) rows: Vec<Spanned>,
    #[serde(default)]
    pub(crate) columns: Vec<Spanned>,
    pub(crate) order: Vec<usize>,
    /// How many rows each index of the first side has, where those beyond the box stay as they are.
    #[serde(default)]
    pub(crate) of: Option<Spanned>,
}

impl RawPermute {
    /// Returns the sizes of the box.
    pub(crate) fn sizes(&self) -> &[Spanned] {
        if self.rows.is_empty() { &self.columns } else { &self.rows }
    }
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
    /// Returns whether it, or a rule inside it, is another for another model.
    pub(crate) fn depends_on_model(&self) -> bool {
        self.stack.is_some() || self.when.is_some() || self.inside.iter().any(Self::depends_on_model)
    }

    /// Returns the rules of one model: those that apply to it, with the names of tensors that are stacked written out. `count`
    /// says how many there are, and `holds` whether a condition is true.
    pub(crate) fn of_model(
        rules: &[Self],
        count: &dyn Fn(&Spanned) -> Result<usize, FamilyError>,
        holds: &dyn Fn(&Spanned) -> Result<bool, FamilyError>,
    ) -> Result<Vec<Self>, FamilyError> {
        let mut found = Vec::new();
        for rule in rules {
            if rule.when.as_ref().map_or(Ok(true), holds)? {
                found.push(rule.unstacked(count, holds)?);
            }
        }
        Ok(found)
    }

    fn unstacked(
        &self,
        count: &dyn Fn(&Spanned) -> Result<usize, FamilyError>,
        holds: &dyn Fn(&Spanned) -> Result<bool, FamilyError>,
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
        rule.inside = Self::of_model(&self.inside, count, holds)?;
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
            when,
            inside,
            transpose: _,
            add: _,
            skip_rows: _,
            stacked: _,
        } = self;
        let permuted = permute.iter_mut().flat_map(|permute| {
            let RawPermute { rows, columns, order: _, of } = permute;
            rows.iter_mut().chain(columns).chain(of)
        });
        let texts = patterns.0.iter_mut().chain(&mut replace.0).chain(sizes).chain(interleave).chain(stack).chain(when);
        texts.chain(permuted).for_each(|text| text.named(origin));
        inside.iter_mut().for_each(|rule| rule.named(origin));
    }
}

/// Puts a family's own rules before those of its parent. Rules for the same name are merged.
pub(super) fn merged(own: Vec<RawRule>, parent: &[RawRule]) -> Vec<RawRule> {
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
