//! Renaming parameters by nested regular-expression rules, in both directions.

mod invert;

use regex::Regex;

use super::family::FamilyError;
use super::family::{RawPermute, RawRule, Spanned, Stacked};
use crate::diagnostic::foreign;
use crate::spec::ParamPath;
use invert::invert_one;

/// What happens to a tensor on its way to the native side, apart from its new name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// Rows become columns; a vector stays.
    Transpose,
    /// Rows, seen as a box, change their order.
    Permute(RawPermute),
    /// The rows of the parts of a tensor alternate in this many groups.
    Interleave(Spanned),
    /// This many rows at the beginning are left out.
    SkipRows(usize),
    /// This is added to every element.
    Add(f64),
}

#[derive(Clone, Debug)]
struct Rule {
    pattern: Regex,
    written: Spanned,
    /// Several where a tensor is split.
    replacements: Vec<String>,
    /// Which of how many parts of one tensor, where several are joined.
    part: Option<(usize, usize)>,
    changes: Vec<Change>,
    sizes: Vec<Spanned>,
    stacked: Option<Stacked>,
    inside: Vec<Rule>,
}

/// A set of nested renaming rules.
///
/// A rule is anchored at the start of what its parent left over. The first rule that matches replaces what it matched,
/// and the rest of the name goes to the rules inside it; without a match the rest stays as it is.
#[derive(Clone, Debug)]
pub struct Remap {
    rules: Vec<Rule>,
}

/// What the rules make of a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Renamed {
    /// The new name; several, in the order of their rows, where the tensor is split.
    pub to: Vec<ParamPath>,
    /// For each new name the pairs of what was matched and what replaced it, from left to right; their concatenations
    /// are the two names.
    pub segments: Vec<Vec<(String, String)>>,
    /// Which part of how many the tensor becomes, where several are joined.
    pub part: Option<(usize, usize)>,
    /// What happens to the elements, in order.
    pub(super) changes: Vec<Change>,
    /// The rows of each part, where the rule says so.
    pub(super) sizes: Vec<Spanned>,
    /// How many tensors are stacked in one.
    pub(super) stacked: Option<Stacked>,
    /// The innermost rule that matched.
    pub(super) rule: Spanned,
}

impl Remap {
    pub(super) fn new(written: &[RawRule]) -> Result<Self, FamilyError> {
        Ok(Self { rules: compile(written, false)? })
    }

    /// Reads rules from YAML: a list of `{match, replace, inside}`. `origin` names the place in errors.
    ///
    /// # Errors
    /// [`FamilyError`] for YAML, patterns or rules that cannot be read.
    pub(crate) fn from_yaml(yaml: &serde_yaml::Value, origin: &str) -> Result<Self, FamilyError> {
        let mut written: Vec<RawRule> = serde_yaml::from_value(yaml.clone()).map_err(|error| FamilyError::Syntax {
            reason: error.to_string(),
            place: origin.to_owned(),
            advice: "write a list of {match, replace, inside}".to_owned(),
        })?;
        let place = origin.into();
        written.iter_mut().for_each(|rule| rule.named(&place));
        Self::new(&written)
    }

    /// Renames one name; `None` if no outermost rule matches.
    pub fn rename(&self, name: &ParamPath) -> Option<Renamed> {
        let mut renamed = Renamed {
            to: Vec::new(),
            segments: vec![Vec::new()],
            part: None,
            changes: Vec::new(),
            sizes: Vec::new(),
            stacked: None,
            rule: Spanned::default(),
        };
        let mut rest = name.as_str();
        let mut rules = &self.rules;
        while let Some((rule, captures)) = rules.iter().find_map(|rule| Some((rule, rule.pattern.captures(rest)?))) {
            let matched = captures.get(0).map_or("", |found| found.as_str());
            let before = std::mem::take(&mut renamed.segments);
            for replacement in &rule.replacements {
                let mut replaced = String::new();
                captures.expand(replacement, &mut replaced);
                renamed.segments.extend(before.iter().cloned().map(|mut way| {
                    way.push((matched.to_owned(), replaced.clone()));
                    way
                }));
            }
            renamed.part = renamed.part.or(rule.part);
            renamed.stacked = renamed.stacked.or(rule.stacked);
            renamed.changes.extend(rule.changes.iter().cloned());
            if !rule.sizes.is_empty() {
                renamed.sizes.clone_from(&rule.sizes);
            }
            renamed.rule = rule.written.clone();
            rest = &rest[matched.len()..];
            rules = &rule.inside;
        }
        if renamed.segments[0].is_empty() {
            return None;
        }
        for way in &mut renamed.segments {
            if !rest.is_empty() {
                way.push((rest.to_owned(), rest.to_owned()));
            }
            renamed.to.push(way.iter().map(|(_, to)| to.as_str()).collect::<String>().into());
        }
        Some(renamed)
    }

    /// Renames one name; `None` unless it has exactly one new name.
    pub fn rename_one(&self, name: &ParamPath) -> Option<ParamPath> {
        let renamed = self.rename(name)?;
        (renamed.to.len() == 1).then(|| renamed.to.into_iter().next()).flatten()
    }

    /// The names of the way back. What happens to the elements is known to the rules of the way there alone.
    ///
    /// # Errors
    /// [`FamilyError::NotInvertible`] for patterns beyond literals and groups, or groups the replacement does not keep.
    pub fn inverse(&self) -> Result<Self, FamilyError> {
        Ok(Self { rules: invert(&self.rules)? })
    }
}

fn compile(written: &[RawRule], several: bool) -> Result<Vec<Rule>, FamilyError> {
    let mut rules = Vec::new();
    for rule in written {
        let (patterns, replacements) = (&rule.patterns.0, &rule.replace.0);
        let Some(first) = patterns.first() else {
            return Err(syntax("the rule has no pattern", &Spanned::default()));
        };
        if replacements.is_empty() {
            return Err(syntax("the rule has no replacement", first));
        }
        let parts = patterns.len().max(replacements.len());
        if parts > 1 && (several || patterns.len() > 1 && replacements.len() > 1) {
            return Err(syntax("a tensor can be split or joined once only on its way", first));
        }
        let each = parts / rule.stacked.map_or(1, |stacked| stacked.count).max(1);
        if !rule.sizes.is_empty() && rule.sizes.len() != each {
            return Err(syntax(&format!("{} sizes for {each} parts", rule.sizes.len()), &rule.sizes[0]));
        }
        let mut changes = Vec::new();
        if rule.transpose {
            changes.push(Change::Transpose);
        }
        if let Some(permute) = &rule.permute {
            let mut sorted = permute.order.clone();
            sorted.sort_unstable();
            let sides = permute.sizes();
            if sorted != (0..sides.len()).collect::<Vec<_>>() {
                let reason = format!("order {:?} does not name each of {} sides once", permute.order, sides.len());
                return Err(syntax(&reason, sides.first().unwrap_or(first)));
            }
            if permute.rows.is_empty() == permute.columns.is_empty() {
                return Err(syntax("`permute` needs either `rows` or `columns`", first));
            }
            if permute.of.is_some() && (permute.rows.is_empty() || permute.order.first() != Some(&0)) {
                return Err(syntax("`of` needs rows whose first side stays the first", first));
            }
            changes.push(Change::Permute(permute.clone()));
        }
        changes.extend(rule.interleave.clone().map(Change::Interleave));
        changes.extend((rule.skip_rows > 0).then_some(Change::SkipRows(rule.skip_rows)));
        changes.extend(rule.add.map(Change::Add));
        if rule.interleave.is_some() && replacements.len() < 2 {
            return Err(syntax("`alternate` needs one tensor that becomes several", first));
        }
        let alone = parts < 2 && !rule.transpose && rule.permute.is_none() && rule.stack.is_none();
        if (rule.add.is_some() || rule.skip_rows > 0) && !alone {
            return Err(syntax("`add` and `skip_rows` apply to a single tensor", first));
        }
        if rule.add.is_some_and(|constant| !constant.is_finite()) {
            return Err(syntax("`add` is not a number", first));
        }
        if rule.stack.is_some() && rule.stacked.is_none() {
            return Err(syntax("`stack` is allowed only in the rules of families", first));
        }
        for (index, pattern) in patterns.iter().enumerate() {
            rules.push(Rule {
                pattern: anchored(&pattern.text, pattern)?,
                written: pattern.clone(),
                replacements: replacements.iter().map(|replacement| replacement.text.clone()).collect(),
                part: (patterns.len() > 1).then_some((index, patterns.len())),
                changes: changes.clone(),
                sizes: rule.sizes.clone(),
                stacked: rule.stacked,
                inside: compile(&rule.inside, several || parts > 1)?,
            });
        }
    }
    Ok(rules)
}

fn syntax(reason: &str, at: &Spanned) -> FamilyError {
    FamilyError::Syntax {
        reason: reason.to_owned(),
        place: at.at(),
        advice: "correct the rule; notebooks/converters/gpt2.yaml shows every key".to_owned(),
    }
}

/// Returns a pattern for whole names.
pub(super) fn whole(pattern: &Spanned) -> Result<Regex, FamilyError> {
    anchored(&format!("(?:{})$", pattern.text), pattern)
}

fn anchored(pattern: &str, written: &Spanned) -> Result<Regex, FamilyError> {
    Regex::new(&format!("^(?:{pattern})")).map_err(|error| FamilyError::Pattern {
        pattern: written.text.clone(),
        // The message shows the pattern; its last line is the reason.
        reason: foreign::last_line(&error).trim_start_matches("error: ").to_owned(),
        place: written.at(),
    })
}

fn invert(rules: &[Rule]) -> Result<Vec<Rule>, FamilyError> {
    let mut inverse: Vec<Rule> = Vec::new();
    for rule in rules {
        for (index, replacement) in rule.replacements.iter().enumerate() {
            let refuse = |reason: String| FamilyError::NotInvertible {
                pattern: rule.written.text.clone(),
                reason,
                place: rule.written.at(),
                advice: "use only literal text, `\\.` and groups such as `(\\d+)`, each once in the replacement"
                    .to_owned(),
            };
            let (pattern, back) = invert_one(rule.written.text.as_str(), replacement).map_err(refuse)?;
            // The parts of a join come from one tensor on the way back.
            if let (Some((1.., _)), Some(first)) = (rule.part, inverse.last_mut()) {
                first.replacements.push(back);
                continue;
            }
            inverse.push(Rule {
                pattern: anchored(&pattern, &rule.written)?,
                written: rule.written.clone(),
                replacements: vec![back],
                part: (rule.replacements.len() > 1).then_some((index, rule.replacements.len())),
                changes: Vec::new(),
                sizes: Vec::new(),
                stacked: rule.stacked,
                inside: invert(&rule.inside)?,
            });
        }
    }
    Ok(inverse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(yaml: &str) -> Remap {
        let written: Vec<RawRule> = serde_yaml::from_str(yaml).unwrap();
        Remap::new(&written).unwrap()
    }

    fn renamed(remap: &Remap, name: &str) -> Vec<String> {
        remap.rename(&name.into()).unwrap().to.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rules_nest_and_the_rest_of_the_name_stays() {
        let remap = rules(r"[{match: 'a\.(\d+)\.', replace: 'b.${1}.', inside: [{match: 'x\.', replace: 'y.'}]}]");
        let renamed = remap.rename(&"a.12.x.weight".into()).unwrap();
        assert_eq!(renamed.to, ["b.12.y.weight".into()]);
        let pairs = [("a.12.", "b.12."), ("x.", "y."), ("weight", "weight")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(renamed.segments, [pairs]);
        assert_eq!(remap.rename(&"c.weight".into()), None);
    }

    #[test]
    fn the_first_match_wins_and_is_not_matched_again() {
        let remap = rules(r"[{match: 'a\.', replace: 'b.'}, {match: 'b\.', replace: 'c.'}]");
        assert_eq!(renamed(&remap, "a.x"), ["b.x"]);
    }

    #[test]
    fn the_inverse_renames_back_also_with_swapped_groups() {
        let remap =
            rules(r"[{match: 'p\.(\d+)\.q\.(\d+)\.', replace: 'r.$2.s.$1.', inside: [{match: 'x', replace: 'y'}]}]");
        assert_eq!(renamed(&remap, "p.1.q.22.x"), ["r.22.s.1.y"]);
        assert_eq!(renamed(&remap.inverse().unwrap(), "r.22.s.1.y"), ["p.1.q.22.x"]);
    }

    #[test]
    fn dollars_and_brackets_in_names_come_back() {
        let remap = rules(r"[{match: 'a\$<(\d+)>', replace: 'b$$[$1]'}]");
        assert_eq!(renamed(&remap, "a$<7>"), ["b$[7]"]);
        assert_eq!(renamed(&remap.inverse().unwrap(), "b$[7]"), ["a$<7>"]);
    }

    #[test]
    fn a_split_is_joined_on_the_way_back_and_a_join_is_split() {
        let remap = rules(r"[{match: 'qkv\.', replace: ['q.', 'k.', 'v.']}, {match: ['a\.', 'b\.'], replace: 'ab.'}]");
        let back = remap.inverse().unwrap();
        assert_eq!(renamed(&remap, "qkv.weight"), ["q.weight", "k.weight", "v.weight"]);
        let key = back.rename(&"k.weight".into()).unwrap();
        assert_eq!((key.to, key.part), (vec!["qkv.weight".into()], Some((1, 3))));
        let second = remap.rename(&"b.bias".into()).unwrap();
        assert_eq!((second.to, second.part), (vec!["ab.bias".into()], Some((1, 2))));
        assert_eq!(renamed(&back, "ab.bias"), ["a.bias", "b.bias"]);
    }

    #[test]
    fn rules_that_lose_information_have_no_inverse() {
        for rule in
            [r"{match: 'a.*', replace: 'b'}", r"{match: 'a(\d+)', replace: 'b'}", r"{match: '\d', replace: 'b'}"]
        {
            let remap = rules(&format!("[{rule}]"));
            assert!(matches!(remap.inverse(), Err(FamilyError::NotInvertible { .. })), "{rule}");
        }
    }

    #[test]
    fn rules_that_contradict_themselves_are_refused() {
        for rule in [
            r"{match: ['a', 'b'], replace: ['c', 'd']}",
            r"{match: 'a', replace: ['b', 'c'], inside: [{match: 'x', replace: ['y', 'z']}]}",
            r"{match: 'a', replace: ['b', 'c'], sizes: ['1']}",
            r"{match: 'a', replace: 'b', permute: {rows: ['2', '3'], order: [0, 0]}}",
            r"{match: 'a', replace: []}",
        ] {
            let written: Vec<RawRule> = serde_yaml::from_str(&format!("[{rule}]")).unwrap();
            assert!(matches!(Remap::new(&written), Err(FamilyError::Syntax { .. })), "{rule}");
        }
    }
}
