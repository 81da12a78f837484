//! Renaming parameters by nested regular-expression rules, in both directions.

use regex::Regex;
use serde::Deserialize;

use crate::spec::ParamPath;

/// One rule as written in a family's YAML.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(rename = "match")]
    pattern: String,
    replace: String,
    #[serde(default)]
    inside: Vec<Written>,
}

#[derive(Clone, Debug)]
struct Rule {
    pattern: Regex,
    written: Written,
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

/// A name's way through the rules: the pairs of what was matched and what replaced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// The new name.
    pub to: ParamPath,
    /// (matched, replacement) from left to right; their concatenations are the two names.
    pub segments: Vec<(String, String)>,
}

/// What is wrong with a set of rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemapError {
    /// YAML that is not a list of rules.
    #[error("the rules cannot be read: {reason}\n  where: {origin}\n  do: write a list of {{match, replace, inside}}")]
    Syntax {
        /// What the parser says, with its line.
        reason: String,
        /// The file.
        origin: String,
    },
    /// A pattern that is not a regular expression.
    #[error("pattern `{pattern}` is not a regular expression: {reason}\n  where: {origin}\n  do: correct the pattern")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What the parser says.
        reason: String,
        /// The file.
        origin: String,
    },
    /// A rule whose inverse cannot be computed.
    #[error(
        "rule `{pattern}` cannot be inverted: {reason}\n  do: use only literal text, `\\.` and groups such as `(\\d+)`, each once in the replacement"
    )]
    NotInvertible {
        /// The pattern.
        pattern: String,
        /// Why not.
        reason: String,
    },
}

impl Remap {
    /// Reads rules from YAML: a list of `{match, replace, inside}`.
    ///
    /// # Errors
    /// [`RemapError`] for YAML or patterns that cannot be read; `origin` names the file.
    pub fn from_yaml(yaml: &serde_yaml::Value, origin: &str) -> Result<Self, RemapError> {
        let written: Vec<Written> = serde_yaml::from_value(yaml.clone())
            .map_err(|error| RemapError::Syntax { reason: error.to_string(), origin: origin.to_owned() })?;
        Ok(Self { rules: compile(written, origin)? })
    }

    /// Renames one name; `None` if no outermost rule matches.
    pub fn rename(&self, name: &ParamPath) -> Option<Renamed> {
        let mut segments = Vec::new();
        let mut rest = name.as_str();
        let mut rules = &self.rules;
        while let Some((rule, captures)) = rules.iter().find_map(|rule| Some((rule, rule.pattern.captures(rest)?))) {
            let matched = captures.get(0).map_or("", |found| found.as_str());
            let mut replacement = String::new();
            captures.expand(&rule.written.replace, &mut replacement);
            segments.push((matched.to_owned(), replacement));
            rest = &rest[matched.len()..];
            rules = &rule.inside;
        }
        if segments.is_empty() {
            return None;
        }
        if !rest.is_empty() {
            segments.push((rest.to_owned(), rest.to_owned()));
        }
        let to: String = segments.iter().map(|(_, to)| to.as_str()).collect();
        Some(Renamed { to: to.into(), segments })
    }

    /// The rules of the way back.
    ///
    /// # Errors
    /// [`RemapError::NotInvertible`] for patterns beyond literals and groups, or groups the replacement does not keep.
    pub fn inverse(&self) -> Result<Self, RemapError> {
        fn invert(rules: &[Rule]) -> Result<Vec<Written>, RemapError> {
            rules
                .iter()
                .map(|rule| {
                    let (pattern, replace) =
                        invert_one(&rule.written.pattern, &rule.written.replace).map_err(|reason| {
                            RemapError::NotInvertible { pattern: rule.written.pattern.clone(), reason }
                        })?;
                    Ok(Written { pattern, replace, inside: invert(&rule.inside)? })
                })
                .collect()
        }
        Ok(Self { rules: compile(invert(&self.rules)?, "the computed inverse")? })
    }
}

fn compile(written: Vec<Written>, origin: &str) -> Result<Vec<Rule>, RemapError> {
    written
        .into_iter()
        .map(|written| {
            let pattern = Regex::new(&format!("^(?:{})", written.pattern)).map_err(|error| RemapError::Pattern {
                pattern: written.pattern.clone(),
                reason: error.to_string(),
                origin: origin.to_owned(),
            })?;
            Ok(Rule { pattern, inside: compile(written.inside.clone(), origin)?, written })
        })
        .collect()
}

enum Piece {
    Literal(String),
    Group(usize, String),
}

/// Turns `layers\.(\d+)\.` → `x.$1.` into `x\.(\d+)\.` → `layers.$1.`.
fn invert_one(pattern: &str, replace: &str) -> Result<(String, String), String> {
    let mut groups = Vec::new();
    let mut back = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped) if !escaped.is_alphanumeric() => back.push(escaped),
                other => return Err(format!("`\\{}` outside a group", other.map(String::from).unwrap_or_default())),
            },
            '(' => {
                let mut body = String::new();
                loop {
                    match chars.next() {
                        Some(')') => break,
                        Some('(') | None => return Err("nested or unclosed group".to_owned()),
                        Some('?') if body.is_empty() => return Err("a group with options".to_owned()),
                        Some(inner) => body.push(inner),
                    }
                }
                groups.push(body);
                back.push_str(&format!("${{{}}}", groups.len()));
            }
            '$' | '^' | '.' | '*' | '+' | '?' | '[' | ']' | '{' | '}' | '|' | ')' => {
                return Err(format!("`{c}` outside a group"));
            }
            literal => back.push(literal),
        }
    }
    let mut forward = String::new();
    let mut order = Vec::new();
    for piece in replacement_pieces(replace)? {
        match piece {
            Piece::Literal(text) => forward.push_str(&regex::escape(&text)),
            Piece::Group(number, written) => {
                let body = number.checked_sub(1).and_then(|index| groups.get(index));
                let body = body.ok_or_else(|| format!("`{written}` names a group that is not there"))?;
                forward.push_str(&format!("({body})"));
                order.push(number);
            }
        }
    }
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if sorted != (1..=groups.len()).collect::<Vec<_>>() {
        return Err("the replacement does not keep each group once".to_owned());
    }
    // Group i of the inverse is group order[i] of the rule.
    for (position, number) in order.iter().enumerate() {
        back = back.replace(&format!("${{{number}}}"), &format!("$<{}>", position + 1));
    }
    Ok((forward, back.replace("$<", "${").replace('>', "}")))
}

fn replacement_pieces(replace: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = vec![Piece::Literal(String::new())];
    let mut chars = replace.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '$' {
            match pieces.last_mut() {
                Some(Piece::Literal(text)) => text.push(c),
                _ => pieces.push(Piece::Literal(c.to_string())),
            }
            continue;
        }
        let braced = chars.next_if_eq(&'{').is_some();
        let mut digits = String::new();
        while let Some(digit) = chars.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        if braced && chars.next() != Some('}') {
            return Err("`${` without `}`".to_owned());
        }
        let number = digits.parse().map_err(|_| "`$` without a group number".to_owned())?;
        pieces.push(Piece::Group(number, format!("${digits}")));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(yaml: &str) -> Remap {
        Remap::from_yaml(&serde_yaml::from_str(yaml).unwrap(), "test").unwrap()
    }

    #[test]
    fn rules_nest_and_the_rest_of_the_name_stays() {
        let remap = rules(r"[{match: 'a\.(\d+)\.', replace: 'b.${1}.', inside: [{match: 'x\.', replace: 'y.'}]}]");
        let renamed = remap.rename(&"a.12.x.weight".into()).unwrap();
        assert_eq!(renamed.to.as_str(), "b.12.y.weight");
        let pairs = [("a.12.", "b.12."), ("x.", "y."), ("weight", "weight")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(renamed.segments, pairs);
        assert_eq!(remap.rename(&"c.weight".into()), None);
    }

    #[test]
    fn the_first_match_wins_and_is_not_matched_again() {
        let remap = rules(r"[{match: 'a\.', replace: 'b.'}, {match: 'b\.', replace: 'c.'}]");
        assert_eq!(remap.rename(&"a.x".into()).unwrap().to.as_str(), "b.x");
    }

    #[test]
    fn the_inverse_renames_back_also_with_swapped_groups() {
        let remap =
            rules(r"[{match: 'p\.(\d+)\.q\.(\d+)\.', replace: 'r.$2.s.$1.', inside: [{match: 'x', replace: 'y'}]}]");
        let there = remap.rename(&"p.1.q.22.x".into()).unwrap().to;
        assert_eq!(there.as_str(), "r.22.s.1.y");
        assert_eq!(remap.inverse().unwrap().rename(&there).unwrap().to.as_str(), "p.1.q.22.x");
    }

    #[test]
    fn rules_that_lose_information_have_no_inverse() {
        for rule in
            [r"{match: 'a.*', replace: 'b'}", r"{match: 'a(\d+)', replace: 'b'}", r"{match: '\d', replace: 'b'}"]
        {
            let remap = rules(&format!("[{rule}]"));
            assert!(matches!(remap.inverse(), Err(RemapError::NotInvertible { .. })), "{rule}");
        }
    }
}
