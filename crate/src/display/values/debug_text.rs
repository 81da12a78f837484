//! The items of a list or map in the text that `{:?}` makes of it.

/// One item.
pub(in crate::display) enum Item<'a> {
    /// `Name { field: value, … }`: fields and their text.
    Record(Vec<(&'a str, &'a str)>),
    /// `(value, …)`.
    Tuple(Vec<&'a str>),
    /// `key: value` of a map.
    Pair(&'a str, &'a str),
    /// Anything else.
    Simple(&'a str),
}

/// The items of `[…]` or `{…}`; nothing where the text is neither or does not close as it opened.
pub(in crate::display) fn items(text: &str) -> Option<Vec<Item<'_>>> {
    let (inside, is_map) = match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inside) => (inside, false),
        None => (text.strip_prefix('{')?.strip_suffix('}')?, true),
    };
    split(inside, ", ")?.into_iter().map(|item| if is_map { pair(item) } else { Some(of(item)) }).collect()
}

fn pair(item: &str) -> Option<Item<'_>> {
    match split(item, ": ")?.as_slice() {
        [key, value] => Some(Item::Pair(key, value)),
        _ => None,
    }
}

fn of(item: &str) -> Item<'_> {
    record(item).or_else(|| tuple(item)).unwrap_or(Item::Simple(item))
}

fn record(item: &str) -> Option<Item<'_>> {
    let (name, rest) = item.split_once(" { ")?;
    if !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let fields = split(rest.strip_suffix(" }")?, ", ")?;
    let named: Option<Vec<(&str, &str)>> = fields.into_iter().map(|field| field.split_once(": ")).collect();
    named
        .filter(|fields| fields.iter().all(|(name, _)| name.chars().all(|c| c.is_alphanumeric() || c == '_')))
        .map(Item::Record)
}

fn tuple(item: &str) -> Option<Item<'_>> {
    let inside = item.strip_prefix('(')?.strip_suffix(')')?;
    split(inside, ", ").filter(|values| values.len() > 1).map(Item::Tuple)
}

/// Parts between separators that stand outside of brackets and quotes.
fn split<'a>(text: &'a str, separator: &str) -> Option<Vec<&'a str>> {
    let (mut parts, mut start, mut depth, mut quoted) = (Vec::new(), 0, 0usize, false);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if quoted => {
                chars.next();
            }
            '"' => quoted = !quoted,
            _ if quoted => {}
            '\'' => {
                // A character, which may be a quote or a bracket; lifetimes do not occur in values.
                let rest = &text[at + 1..];
                let end =
                    if rest.starts_with('\\') { 2 + rest.get(2..)?.find('\'')? } else { rest.char_indices().nth(1)?.0 };
                while chars.clone().next().is_some_and(|(next, _)| next <= at + 1 + end) {
                    chars.next();
                }
            }
            '[' | '(' | '{' => depth += 1,
            ']' | ')' | '}' => depth = depth.checked_sub(1)?,
            _ if depth == 0 && text[at..].starts_with(separator) => {
                parts.push(&text[start..at]);
                start = at + separator.len();
            }
            _ => {}
        }
    }
    if depth > 0 || quoted {
        return None;
    }
    if !text.is_empty() {
        parts.push(&text[start..]);
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_brackets_hold_their_separators() {
        assert_eq!(
            split(r#""a, \"b", [1, 2], ',', '\'', x"#, ", ").unwrap(),
            [r#""a, \"b""#, "[1, 2]", "','", r"'\''", "x"]
        );
        assert_eq!(split("1, 2)", ", "), None);
        assert_eq!(split("\"open", ", "), None);
        assert!(items("no list").is_none() && items("[]").unwrap().is_empty());
    }
}
