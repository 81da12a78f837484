//! Families made in Rust, for a notebook cell: the same keys as in YAML.

use serde_json::Value;

use super::raw::{RawCheck, RawFamily, RawField};
use super::raw_rule::{OneOrMore, RawPermute, RawRule};
use super::spanned::Spanned;
use super::{Family, FamilyError, known};
use crate::sealed::Sealed;

/// Builds a family; see [`Family::builder`].
#[derive(Clone, Debug)]
pub struct FamilyBuilder(Sealed<RawFamily>);

/// A rule of renaming, and what happens to the tensors that it renames.
#[derive(Clone, Debug)]
pub struct Rule(Sealed<RawRule>);

impl Rule {
    /// Replaces what the regular expression `pattern` matches, where the match of the enclosing rule ended.
    pub fn new(pattern: &str, replace: &str) -> Self {
        Self::between([pattern], [replace])
    }

    /// Splits one tensor into several, in the order of its rows.
    pub fn split<'a>(pattern: &'a str, replace: impl IntoIterator<Item = &'a str>) -> Self {
        Self::between([pattern], replace)
    }

    /// Joins several tensors into one, one below the other.
    pub fn join<'a>(patterns: impl IntoIterator<Item = &'a str>, replace: &'a str) -> Self {
        Self::between(patterns, [replace])
    }

    fn between<'a>(patterns: impl IntoIterator<Item = &'a str>, replace: impl IntoIterator<Item = &'a str>) -> Self {
        let (patterns, replace) = (texts(patterns), texts(replace));
        Self(Sealed::new(RawRule { patterns: OneOrMore(patterns), replace: OneOrMore(replace), ..RawRule::default() }))
    }

    /// Marks matrices that Hugging Face stores transposed: inputs × outputs.
    pub fn transposed(mut self) -> Self {
        self.0.transpose = true;
        self
    }

    /// The rows of each part: expressions of native fields, such as `num_key_value_heads * head_dim`.
    pub fn sizes<'a>(mut self, sizes: impl IntoIterator<Item = &'a str>) -> Self {
        self.0.sizes = texts(sizes);
        self
    }

    /// Views the rows as a box of these sizes (expressions of native fields) and permutes its sides into this order.
    pub fn permuted<'a>(mut self, rows: impl IntoIterator<Item = &'a str>, order: &[usize]) -> Self {
        self.0.permute = Some(RawPermute { rows: texts(rows), order: order.to_vec(), ..RawPermute::default() });
        self
    }

    /// The rows of the parts alternate in this many groups (an expression of native fields): one row of each in turn,
    /// if there are as many groups as a part has rows.
    pub fn interleaved(mut self, groups: &str) -> Self {
        self.0.interleave = Some(groups.into());
        self
    }

    /// One tensor with a dimension more is this many (an expression of native fields), whose number is `{n}` in the
    /// names of the side that has several.
    pub fn stacked(mut self, count: &str) -> Self {
        self.0.stack = Some(count.into());
        self
    }

    /// Adds a constant to every element.
    pub fn added(mut self, constant: f64) -> Self {
        self.0.add = Some(constant);
        self
    }

    /// Leaves out rows at the beginning, which no token reads.
    pub fn without_rows(mut self, rows: usize) -> Self {
        self.0.skip_rows = rows;
        self
    }

    /// Rules for what follows in the name.
    pub fn inside(mut self, rules: impl IntoIterator<Item = Rule>) -> Self {
        self.0.inside = rules.into_iter().map(|rule| (*rule.0).clone()).collect();
        self
    }
}

fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<Spanned> {
    texts.into_iter().map(Spanned::from).collect()
}

impl FamilyBuilder {
    pub(super) fn new(name: &str) -> Self {
        Self(Sealed::new(RawFamily { family: name.into(), ..RawFamily::default() }))
    }

    /// Starts from a built-in family.
    pub fn extends(mut self, family: &str) -> Self {
        self.0.extends = Some(family.into());
        self
    }

    /// Sets the `model_type` of its Hugging Face folders, if it is not the family's name.
    pub fn model_type(mut self, model_type: &str) -> Self {
        self.0.hugging_face.model_type = Some(model_type.to_owned());
        self
    }

    /// The class of transformers that runs it.
    pub fn class(mut self, class: &str) -> Self {
        self.0.hugging_face.class = Some(class.to_owned());
        self
    }

    /// Sets a field of every native config.json: `architecture`, or a choice of parts such as `norm_type`.
    pub fn native(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0.native.insert(field.to_owned(), value.into());
        self
    }

    /// The native field that a field of Hugging Face's config.json becomes.
    pub fn field(mut self, hf: &str, native: &str) -> Self {
        let native = OneOrMore(vec![native.into()]);
        self.0.config.push(RawField { hf: hf.into(), native, ..RawField::default() });
        self
    }

    /// As [`field`](Self::field), with an expression for where it is missing or null.
    pub fn field_or(mut self, hf: &str, native: &str, default: &str) -> Self {
        let (native, default) = (OneOrMore(vec![native.into()]), Some(default.into()));
        self.0.config.push(RawField { hf: hf.into(), native, default, ..RawField::default() });
        self
    }

    /// Rejects configurations for which the expression `that` does not hold, with this message.
    pub fn check(mut self, that: &str, otherwise: &str) -> Self {
        self.0.checks.push(RawCheck { that: that.into(), otherwise: otherwise.to_owned() });
        self
    }

    /// Adds a rule. The first one that matches wins.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.0.to_native.push((*rule.0).clone());
        self
    }

    /// Names, as a regular expression, that files may hold and models do not need.
    pub fn skip(mut self, pattern: &str) -> Self {
        self.0.skip.push(pattern.into());
        self
    }

    /// A field of config.json that does not change what the model computes.
    pub fn harmless(mut self, field: &str) -> Self {
        self.0.harmless.push(field.to_owned());
        self
    }

    /// Conversions are judged by the reference forward of this family.
    pub fn same_reference_as(mut self, family: &str) -> Self {
        self.0.same_reference_as = Some(family.into());
        self
    }

    /// Builds the family.
    ///
    /// # Errors
    /// [`FamilyError`] for patterns or rules that cannot be read or inverted.
    pub fn build(self) -> Result<Family, FamilyError> {
        known::resolve((*self.0).clone(), &[], false)
    }
}
