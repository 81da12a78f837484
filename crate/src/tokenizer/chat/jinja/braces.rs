//! The placeholders of `'{0} {name.attribute[item]!r:>5}'.format(…)`.

use super::error::{Error, Outcome, fail};
use super::format::ascii;
use super::specification::formatted;
use super::text::{repr, str_of};
use super::value::Value;

/// Resolves `{}`, `{0}`, `{name.attribute[item]!r:spec}` of a text; `field` finds a value by its name and what follows it.
pub(super) fn braces(
    template: &str,
    depth: usize,
    counter: &mut Option<usize>,
    field: &mut dyn FnMut(&str) -> Outcome<Value>,
) -> Outcome<String> {
    if depth > 2 {
        return fail("Max string recursion exceeded");
    }
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = rest.as_bytes()[at];
        if rest.as_bytes().get(at + 1) == Some(&brace) {
            out.push(char::from(brace));
            rest = &rest[at + 2..];
            continue;
        }
        if brace == b'}' {
            return fail("Single '}' encountered in format string");
        }
        let inner = &rest[at + 1..];
        let mut open = 1;
        let end = inner.char_indices().find(|(_, c)| {
            open += i32::from(*c == '{') - i32::from(*c == '}');
            open == 0
        });
        let Some((end, _)) = end else { return fail("expected '}' before end of string") };
        let (name, specification) = match inner[..end].find([':', '!']) {
            Some(colon) => inner[..end].split_at(colon),
            None => (&inner[..end], ""),
        };
        let (conversion, specification) = match specification.strip_prefix('!') {
            Some(rest) => {
                let Some(conversion) = rest.chars().next() else { return fail("unmatched '{' in format spec") };
                let after = &rest[conversion.len_utf8()..];
                match after.strip_prefix(':') {
                    Some(specification) => (Some(conversion), specification),
                    None if after.is_empty() => (Some(conversion), ""),
                    None => return fail("expected ':' after conversion specifier"),
                }
            }
            None => (None, specification.strip_prefix(':').unwrap_or(specification)),
        };
        let name = match name.split(['.', '[']).next().unwrap_or_default() {
            "" => {
                let index = counter.as_mut().ok_or_else(|| {
                    Error::new("cannot switch from manual field specification to automatic field numbering")
                })?;
                *index += 1;
                format!("{}{name}", *index - 1)
            }
            first if first.bytes().all(|byte| byte.is_ascii_digit()) => {
                if counter.is_some_and(|count| count > 0) {
                    return fail("cannot switch from automatic field numbering to manual field specification");
                }
                *counter = None;
                name.to_owned()
            }
            _ => name.to_owned(),
        };
        let value = field(&name)?;
        let value = match conversion {
            None => value,
            Some('s') => str_of(&value)?.into(),
            Some('r') => repr(&value)?.into(),
            Some('a') => ascii(&repr(&value)?).into(),
            Some(other) => return fail(format!("Unknown conversion specifier '{other}'")),
        };
        let specification = braces(specification, depth + 1, counter, field)?;
        out.push_str(&formatted(&value, &specification)?);
        rest = &inner[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}
