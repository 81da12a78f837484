//! The `{% set %}` statements of a template, found in its text so that each can report the value it gave.

use std::fmt::Write;

/// The function that a rewritten statement calls, with the statement's number.
pub(super) const REPORT: &str = "__chandlery_set";

/// One `{% set NAME = EXPRESSION %}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) template: String,
    /// From 1.
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) expression: String,
}

/// Lets every simple `set` be followed by a report of its number, counted from `first`. Lines stay where they are, and so
/// does the trimming of white space: `{% set x = 1 -%}` becomes `{% set x = 1 %}{% do report(7) -%}`.
pub(super) fn reporting(template: &str, source: &str, first: usize) -> (String, Vec<Statement>) {
    let mut text = String::with_capacity(source.len() + 64);
    let mut statements = Vec::new();
    let mut at = 0;
    while let Some(begin) = source[at..].find('{').map(|offset| at + offset) {
        text.push_str(&source[at..begin]);
        let rest = &source[begin..];
        let end = begin
            + match rest.as_bytes().get(1) {
                Some(b'#') => rest.find("#}").map_or(rest.len(), |offset| offset + 2),
                Some(b'{') => tag_length(rest, "}}"),
                Some(b'%') => tag_length(rest, "%}"),
                _ => 1,
            };
        let tag = &source[begin..end];
        at = end;
        match rest.as_bytes().get(1).and_then(|kind| (*kind == b'%').then(|| assignment(tag)).flatten()) {
            Some((name, expression)) => {
                let close = if tag.ends_with("-%}") || tag.ends_with("+%}") { tag.len() - 3 } else { tag.len() - 2 };
                let _ = write!(text, "{}%}}{{% do {REPORT}({}) ", &tag[..close], first + statements.len());
                text.push_str(&tag[close..]);
                statements.push(Statement {
                    template: template.to_owned(),
                    line: 1 + source[..begin].matches('\n').count(),
                    name: name.to_owned(),
                    expression: expression.to_owned(),
                });
            }
            None => text.push_str(tag),
        }
        if keyword(tag) == Some("raw") {
            // Nothing in there is a statement.
            let raw = source[at..].find("endraw").map_or(source.len(), |offset| at + offset);
            text.push_str(&source[at..raw]);
            at = raw;
        }
    }
    text.push_str(&source[at..]);
    (text, statements)
}

/// Returns the bytes up to and including `close`, outside of strings and brackets.
fn tag_length(tag: &str, close: &str) -> usize {
    let mut depth = 0usize;
    let mut quote = None;
    let mut chars = tag.char_indices().skip(2);
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (Some(_), '\\') => {
                chars.next();
            }
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, _) if depth == 0 && tag[at..].starts_with(close) => return at + close.len(),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    tag.len()
}

/// Returns the content of `{% … %}` without its signs.
fn inner(tag: &str) -> Option<&str> {
    let inner = tag.strip_prefix("{%")?.strip_suffix("%}")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    Some(inner.strip_suffix(['-', '+']).unwrap_or(inner).trim())
}

fn keyword(tag: &str) -> Option<&str> {
    inner(tag)?.split_whitespace().next()
}

/// Name and expression of `{% set name = expression %}`. Attributes, several names and blocks are left alone.
fn assignment(tag: &str) -> Option<(&str, &str)> {
    let rest = inner(tag)?.strip_prefix("set")?;
    let (name, expression) = rest.strip_prefix(char::is_whitespace)?.split_once('=')?;
    let (name, expression) = (name.trim(), expression.trim());
    let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    (plain && !expression.starts_with('=')).then_some((name, expression))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_found_and_lines_and_trimming_stay() {
        let source = "{# {% set no = 1 %} #}\n{%- set a = {\"x\": {\"%}\": 1}} -%}\n{{ \"{% set no = 1 %}\" }}\n{% set b = a.x\n  | length %}{% raw %}{% set no = 2 %}{% endraw %}{% set ns.c = 1 %}{% set d %}1{% endset %}{";
        let (text, found) = reporting("t", source, 5);
        assert_eq!(
            text,
            source
                .replace("1}} -%}", "1}} %}{% do __chandlery_set(5) -%}")
                .replace("length %}", "length %}{% do __chandlery_set(6) %}")
        );
        let found: Vec<_> = found.iter().map(|set| (set.line, set.name.as_str(), set.expression.as_str())).collect();
        assert_eq!(found, [(2, "a", "{\"x\": {\"%}\": 1}}"), (4, "b", "a.x\n  | length")]);
    }
}
