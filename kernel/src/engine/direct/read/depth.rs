//! Stack for reading deeply nested text: parsing and walking a syntax tree recurse, and a stack overflow ends the
//! process.

use proc_macro2::{TokenStream, TokenTree};

/// The stack that one level of nesting takes at most, in bytes; measured with parentheses, blocks and sums.
const PER_LEVEL: usize = 16 * 1024;

/// The stack that text without nesting takes.
const BASE: usize = 512 * 1024;

/// The deepest nesting that is read.
const MAX_LEVELS: usize = 65_000;

/// Text that nests deeper than can be read.
#[derive(Debug)]
pub(crate) struct TooDeep {
    pub(crate) levels: usize,
}

impl std::fmt::Display for TooDeep {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "this cell nests up to {} levels deep, and at most {MAX_LEVELS} are supported; split its longest expression",
            self.levels
        )
    }
}

/// Runs work on a text with as much stack as the text may need.
pub(crate) fn with_room<R>(text: &str, work: impl FnOnce() -> R) -> Result<R, TooDeep> {
    let levels = levels(text);
    if levels > MAX_LEVELS {
        return Err(TooDeep { levels });
    }
    let need = BASE + levels * PER_LEVEL;
    Ok(stacker::maybe_grow(need, need + BASE, work))
}

/// Returns an upper bound for the depth of a text's syntax tree: in each bracket, the tokens since the last comma or semicolon.
fn levels(text: &str) -> usize {
    // Short text cannot be deep, so it is not read twice.
    if text.len() < 256 {
        return text.len();
    }
    let Ok(tokens) = text.parse::<TokenStream>() else {
        // Brackets do not match, so nothing will be parsed.
        return 0;
    };
    let mut open = vec![(tokens.into_iter(), 0_usize)];
    let (mut below, mut deepest) = (0, 0);
    while let Some((tokens, count)) = open.last_mut() {
        match tokens.next() {
            None => {
                open.pop();
                below -= open.last().map_or(0, |(_, count)| *count);
            }
            Some(TokenTree::Punct(punct)) if matches!(punct.as_char(), ',' | ';') => *count = 0,
            Some(token) => {
                *count += 1;
                deepest = deepest.max(below + *count);
                if let TokenTree::Group(group) = token {
                    below += *count;
                    open.push((group.stream().into_iter(), 0));
                }
            }
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_counted_and_lists_are_flat() {
        let list = format!("let v = [{}];", "1, ".repeat(10_000));
        assert!(levels(&list) < 10, "{}", levels(&list));
        let deep = format!("{}1{}", "(".repeat(500), ")".repeat(500));
        assert!(levels(&deep) >= 500);
        let sum = ["1"; 3000].join(" + ");
        assert!(levels(&sum) >= 3000);
        let text = format!("let s = \"{}\";", "(".repeat(5000));
        assert!(levels(&text) < 10);
        let blocks = format!("{{ {} }}", "let a = { 1 }; f(); ".repeat(200));
        assert!(levels(&blocks) < 30, "{}", levels(&blocks));
    }

    #[test]
    fn what_is_too_deep_is_refused() {
        let deep = format!("{}1{}", "(".repeat(100_000), ")".repeat(100_000));
        assert!(with_room(&deep, || ()).is_err());
    }
}
