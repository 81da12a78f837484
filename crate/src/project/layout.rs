//! Where in a YAML text each value stands: enough of YAML to follow block mappings, which is how configurations are
//! written. Unrecognized text belongs to the key above it.

use std::ops::Range;

use serde_json::Value;

/// A key whose value is not a block mapping, with the bytes of its value (comments and continuation lines included).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) path: Vec<String>,
    pub(super) value: Range<usize>,
}

struct Open {
    indent: usize,
    leaf: Leaf,
    parent: bool,
}

/// All leaves, in order.
pub(super) fn leaves(yaml: &str) -> Vec<Leaf> {
    let mut found: Vec<Open> = Vec::new();
    let mut stack: Vec<usize> = Vec::new(); // the open keys, outermost first, as indices of `found`
    let mut within: Option<usize> = None; // the least indent of lines that belong to a list or block scalar
    let mut begin = 0;
    for line in yaml.split_inclusive('\n') {
        let at = begin;
        begin += line.len();
        let text = line.trim_end();
        let indent = text.len() - text.trim_start_matches(' ').len();
        let content = &text[indent..];
        if content.is_empty() || content.starts_with('#') || within.is_some_and(|least| indent >= least) {
            continue;
        }
        if content.starts_with("- ") || content == "-" {
            within = Some(indent + 1);
            continue;
        }
        // A list may stand at its key's own indent; then the next key ends it.
        within = None;
        let Some((key, after)) = key(content) else { continue };
        while stack.last().is_some_and(|open| found[*open].indent >= indent) {
            stack.pop();
        }
        if let Some(previous) = found.last_mut() {
            previous.leaf.value.end = previous.leaf.value.end.min(at);
        }
        let mut path = Vec::new();
        if let Some(parent) = stack.last() {
            found[*parent].parent = true;
            path.clone_from(&found[*parent].leaf.path);
        }
        path.push(key);
        if content[after..].trim_start().starts_with(['|', '>']) {
            within = Some(indent + 1);
        }
        stack.push(found.len());
        found.push(Open { indent, leaf: Leaf { path, value: at + indent + after..yaml.len() }, parent: false });
    }
    found.into_iter().filter(|open| !open.parent).map(|open| open.leaf).collect()
}

/// Returns the YAML with another value for a key of its outermost mapping; `None` if no line begins with the key.
pub(super) fn replaced(yaml: &str, name: &str, value: &Value) -> Option<String> {
    let mut text = String::with_capacity(yaml.len());
    let (mut found, mut within) = (false, false);
    for line in yaml.split_inclusive('\n') {
        // Lists may stand at their key's own indent.
        let inside = line.trim().is_empty() || line.starts_with([' ', '#']) || line.starts_with("- ");
        within &= inside;
        if within {
            continue;
        }
        if !inside && key(line.trim_end()).is_some_and(|(key, _)| key == name) {
            text.push_str(&format!("{name}: {value}\n"));
            (found, within) = (true, true);
        } else {
            text.push_str(line);
        }
    }
    found.then_some(text)
}

/// Returns the key that a line begins with, and where the colon behind it ends.
fn key(content: &str) -> Option<(String, usize)> {
    let (name, rest) = match content.chars().next()? {
        quote @ ('"' | '\'') => {
            let end = 1 + content[1..].find(quote)?;
            (&content[1..end], end + 1)
        }
        _ => {
            let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '<');
            let end = content.find(|c| !plain(c)).unwrap_or(content.len());
            (&content[..end], end)
        }
    };
    let colon = rest + content[rest..].len() - content[rest..].trim_start().len();
    let after = content[colon..].strip_prefix(':')?;
    (!name.is_empty() && (after.is_empty() || after.starts_with(' '))).then(|| (name.to_owned(), colon + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_replaced_with_all_its_lines() {
        let yaml = "a: 1\nrope:\n  theta: 5\n\n  type: x\nlist:\n- k: 1\n  l: 2\nb: 2\n";
        let with = |name: &str| replaced(yaml, name, &serde_json::json!({ "y": 3 }));
        assert_eq!(with("rope").unwrap(), yaml.replace("\n  theta: 5\n\n  type: x\n", " {\"y\":3}\n"));
        assert_eq!(with("list").unwrap(), yaml.replace("\n- k: 1\n  l: 2\n", " {\"y\":3}\n"));
        assert_eq!(with("b").unwrap(), yaml.replace("b: 2", "b: {\"y\":3}"));
        assert_eq!(with("theta"), None);
    }

    #[test]
    fn keys_nest_by_indent_and_lists_and_texts_stay_whole() {
        let yaml = "a: 1 # one\n\nrope:\n  theta: 5\n  \"type\": x\nlist:\n- k: 1\n  l: 2\nnote: |\n  b: 3\nflow: {c: 4,\n  5}\nlast:\n";
        let found: Vec<_> = leaves(yaml).into_iter().map(|leaf| (leaf.path.join("."), &yaml[leaf.value])).collect();
        let expected = [
            ("a", " 1 # one\n\n"),
            ("rope.theta", " 5\n"),
            ("rope.type", " x\n"),
            ("list", "\n- k: 1\n  l: 2\n"),
            ("note", " |\n  b: 3\n"),
            ("flow", " {c: 4,\n  5}\n"),
            ("last", "\n"),
        ];
        assert_eq!(found, expected.map(|(path, value)| (path.to_owned(), value)));
    }
}
