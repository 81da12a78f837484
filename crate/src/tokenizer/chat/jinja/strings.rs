//! The methods of Python's texts.

use std::rc::Rc;

use super::braces::braces;
use super::error::{Error, Outcome, fail};
use super::eval::{Called, Interpreter};
use super::string_parts::{capitalized, expanded, justified, lines, part, split, strip, titled, translated};
use super::value::{Dict, Value};

/// Every method.
pub(super) const NAMES: &[&str] = &[
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "maketrans",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
];

/// A text may not be filled up to more characters than this.
pub(super) const MAX_WIDTH: i128 = 1_000_000;

/// Returns whether Python takes a character for a blank.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn text_of(value: &Option<Value>) -> Outcome<Option<&str>> {
    match value {
        None | Some(Value::None) => Ok(None),
        Some(value) => match value.text() {
            Some(text) => Ok(Some(text)),
            None => fail(format!("a text was expected, not {}", value.kind())),
        },
    }
}

fn needed(value: &Option<Value>) -> Outcome<&str> {
    text_of(value)?.ok_or_else(|| Error::new("a text was expected, not NoneType"))
}

pub(super) fn int_of(value: &Option<Value>, usual: i128) -> Outcome<i128> {
    match value {
        None => Ok(usual),
        Some(value) => value.int().ok_or_else(|| Error::new(format!("an integer was expected, not {}", value.kind()))),
    }
}

pub(super) fn call(interpreter: &mut Interpreter, text: &str, name: &str, called: Called) -> Outcome<Value> {
    let all = |test: fn(char) -> bool| Value::Bool(!text.is_empty() && text.chars().all(test));
    let cased = |c: char| c.is_lowercase() || c.is_uppercase();
    match name {
        "format" => {
            let Called { positional, named } = called;
            let named = named.into_iter().map(|(name, value)| (name.into(), value)).collect();
            return formatted(interpreter, text, &positional, &Dict::of(named));
        }
        "format_map" => {
            let [mapping] = called.bind([""], 1)?;
            let Some(Value::Dict(dict)) = mapping else { return fail("format_map needs a mapping") };
            return formatted(interpreter, text, &[], &dict);
        }
        "split" | "rsplit" => {
            let [separator, most] = called.bind(["sep", "maxsplit"], 0)?;
            let most = usize::try_from(int_of(&most, -1)?).unwrap_or(usize::MAX);
            return Ok(split(text, text_of(&separator)?, most, name == "rsplit")?.into());
        }
        "splitlines" => {
            let [keep] = called.bind(["keepends"], 0)?;
            return Ok(lines(text, keep.is_some_and(|keep| keep.truth())).into());
        }
        "strip" | "lstrip" | "rstrip" => {
            let [characters] = called.bind([""], 0)?;
            let stripped = strip(text, text_of(&characters)?, name);
            return Ok(stripped.into());
        }
        "startswith" | "endswith" => {
            let [affix, start, stop] = called.bind(["", "", ""], 1)?;
            let part = part(text, &start, &stop)?;
            let affixes = match &affix {
                Some(Value::Tuple(items)) => items.to_vec(),
                other => other.iter().cloned().collect(),
            };
            for affix in affixes {
                let affix = Some(affix);
                let affix = needed(&affix)?;
                let found = part.is_some_and(|part| match name {
                    "startswith" => part.starts_with(affix),
                    _ => part.ends_with(affix),
                });
                if found {
                    return Ok(Value::Bool(true));
                }
            }
            return Ok(Value::Bool(false));
        }
        "replace" => {
            let [old, new, count] = called.bind(["", "", "count"], 2)?;
            let count = usize::try_from(int_of(&count, -1)?).unwrap_or(usize::MAX);
            return Ok(text.replacen(needed(&old)?, needed(&new)?, count).into());
        }
        "join" => {
            let [items] = called.bind([""], 1)?;
            let items = items.unwrap_or(Value::None).items()?;
            let texts = items.iter().enumerate().map(|(at, item)| {
                item.text().ok_or_else(|| {
                    Error::new(format!("sequence item {at}: expected str instance, {} found", item.kind()))
                })
            });
            return Ok(texts.collect::<Outcome<Vec<_>>>()?.join(text).into());
        }
        "count" => {
            let [wanted, start, stop] = called.bind(["", "", ""], 1)?;
            let count = part(text, &start, &stop)?.map_or(Ok(0), |part| {
                let wanted = needed(&wanted)?;
                Ok(if wanted.is_empty() { part.chars().count() + 1 } else { part.matches(wanted).count() })
            })?;
            return Ok(Value::Int(count as i128));
        }
        "find" | "rfind" | "index" | "rindex" => {
            let [wanted, start, stop] = called.bind(["", "", ""], 1)?;
            let wanted = needed(&wanted)?;
            let found = part(text, &start, &stop)?.and_then(|part| {
                let at = if name.starts_with('r') { part.rfind(wanted) } else { part.find(wanted) }?;
                let before = part.as_ptr() as usize - text.as_ptr() as usize + at;
                Some(text[..before].chars().count())
            });
            return match found {
                Some(at) => Ok(Value::Int(at as i128)),
                None if name.ends_with("find") => Ok(Value::Int(-1)),
                None => fail("substring not found"),
            };
        }
        "partition" | "rpartition" => {
            let [separator] = called.bind([""], 1)?;
            let separator = needed(&separator)?;
            if separator.is_empty() {
                return fail("empty separator");
            }
            let found = if name == "partition" { text.split_once(separator) } else { text.rsplit_once(separator) };
            let parts = match (found, name) {
                (Some((before, after)), _) => [before, separator, after],
                (None, "partition") => [text, "", ""],
                (None, _) => ["", "", text],
            };
            return Ok(Value::tuple(parts.iter().map(|part| Value::from(*part)).collect()));
        }
        "removeprefix" | "removesuffix" => {
            let [affix] = called.bind([""], 1)?;
            let affix = needed(&affix)?;
            let rest = if name == "removeprefix" { text.strip_prefix(affix) } else { text.strip_suffix(affix) };
            return Ok(rest.unwrap_or(text).into());
        }
        "center" | "ljust" | "rjust" => {
            let [width, fill] = called.bind(["", ""], 1)?;
            return Ok(justified(text, int_of(&width, 0)?, text_of(&fill)?.unwrap_or(" "), name)?.into());
        }
        "zfill" => {
            let [width] = called.bind([""], 1)?;
            let missing = int_of(&width, 0)?.min(MAX_WIDTH) - text.chars().count() as i128;
            let zeros = "0".repeat(usize::try_from(missing).unwrap_or(0));
            let signed = text.starts_with(['+', '-']);
            let (sign, digits) = text.split_at(usize::from(signed));
            return Ok(format!("{sign}{zeros}{digits}").into());
        }
        "expandtabs" => {
            let [size] = called.bind(["tabsize"], 0)?;
            return Ok(expanded(text, usize::try_from(int_of(&size, 8)?.min(1000)).unwrap_or(0)).into());
        }
        "encode" => {
            let [encoding, _] = called.bind(["encoding", "errors"], 0)?;
            let encoding = text_of(&encoding)?.unwrap_or("utf-8").to_lowercase().replace('_', "-");
            let known = ["utf-8", "utf8"].contains(&encoding.as_str()) || encoding == "ascii" && text.is_ascii();
            if !known {
                return fail(format!("the encoding {encoding} is not supported"));
            }
            return Ok(Value::Bytes(Rc::new(text.as_bytes().to_vec())));
        }
        "translate" => {
            let [table] = called.bind([""], 1)?;
            return translated(text, &table);
        }
        "maketrans" => return fail("`maketrans` is not supported"),
        _ => called.bind([], 0).map(|[]| ())?,
    }
    Ok(match name {
        "upper" => text.to_uppercase().into(),
        "lower" => text.to_lowercase().into(),
        "casefold" => text.to_uppercase().to_lowercase().into(),
        "swapcase" => {
            let swap =
                |c: char| if c.is_uppercase() { c.to_lowercase().to_string() } else { c.to_uppercase().to_string() };
            text.chars().map(swap).collect::<String>().into()
        }
        "capitalize" => capitalized(text).into(),
        "title" => titled(text).into(),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isascii" => Value::Bool(text.is_ascii()),
        "isdigit" | "isdecimal" | "isnumeric" if !text.is_ascii() => {
            return fail(format!("`{name}` of text that is not ASCII is not supported"));
        }
        "isdigit" | "isdecimal" | "isnumeric" => all(|c| c.is_ascii_digit()),
        "isspace" => all(is_space),
        "isprintable" => Value::Bool(text.chars().all(super::text::is_printable)),
        "islower" => Value::Bool(text.chars().any(cased) && !text.chars().any(char::is_uppercase)),
        "isupper" => Value::Bool(text.chars().any(cased) && !text.chars().any(char::is_lowercase)),
        "istitle" => Value::Bool(text.chars().any(cased) && titled(text) == text),
        _ => {
            let first = text.chars().next().is_some_and(|c| c == '_' || c.is_alphabetic());
            Value::Bool(first && text.chars().all(|c| c == '_' || c.is_alphanumeric()))
        }
    })
}

fn formatted(interpreter: &mut Interpreter, text: &str, positional: &[Value], named: &Dict) -> Outcome<Value> {
    let mut counter = Some(0);
    let mut field = |path: &str| -> Outcome<Value> {
        let end = path.find(['.', '[']).unwrap_or(path.len());
        let (first, mut rest) = path.split_at(end);
        let found = match first.parse::<usize>() {
            Ok(index) => positional.get(index).cloned(),
            Err(_) => named.get(&first.into()).cloned(),
        };
        let mut value = found.ok_or_else(|| Error::new(format!("no argument `{first}` for the format string")))?;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                value = interpreter.attribute(&value, &after[..end])?;
                rest = &after[end..];
            } else {
                let after = rest.strip_prefix('[').ok_or_else(|| Error::new("only '.' or '[' may follow ']'"))?;
                let end = after.find(']').ok_or_else(|| Error::new("missing ']' in format string"))?;
                let key = match after[..end].parse::<i128>() {
                    Ok(index) => Value::Int(index),
                    Err(_) => after[..end].into(),
                };
                value = interpreter.item(&value, &key)?;
                rest = &after[end + 1..];
            }
        }
        Ok(value)
    };
    Ok(braces(text, 0, &mut counter, &mut field)?.into())
}
