//! Inner attributes and inner documentation, which belong at the start of a crate, and which of them a cell can have.

/// A cell whose leading inner attributes are blanked out.
pub(crate) struct Apart {
    pub(crate) code: String,
    /// Attributes about lints, as outer ones: `#[allow(unused)]`.
    pub(crate) lints: Vec<String>,
}

/// An inner attribute that a cell cannot have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Its line, counted from 1.
    pub(crate) line: usize,
    /// Its column, counted from 1, in characters.
    pub(crate) column: usize,
    pub(crate) message: String,
}

/// Removes the leading inner attributes of a cell.
pub(crate) fn apart(code: &str) -> Result<Apart, Refused> {
    let mut apart = Apart { code: code.to_owned(), lints: Vec::new() };
    let mut at = 0;
    loop {
        let rest = &code[at..];
        let trimmed = rest.trim_start();
        at += rest.len() - trimmed.len();
        let end = if trimmed.starts_with("//") {
            at + trimmed.find('\n').unwrap_or(trimmed.len())
        } else if trimmed.starts_with("/*!") {
            match trimmed.find("*/") {
                Some(end) => at + end + 2,
                None => return Ok(apart), // the parser says what is wrong
            }
        } else if trimmed.starts_with("#![") {
            let Some(end) = closing(trimmed) else { return Ok(apart) };
            let inside = trimmed[3..end].trim();
            let name = inside.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or("");
            match name {
                "allow" | "warn" | "deny" | "forbid" | "expect" => apart.lints.push(format!("#[{inside}]")),
                _ => return Err(refused(code, at, name)),
            }
            at + end + 1
        } else {
            return Ok(apart);
        };
        let inner = ["//!", "/*!", "#!["].iter().any(|start| trimmed.starts_with(start));
        if inner {
            let blank: String = code[at..end]
                .chars()
                .map(|c| if c == '\n' { "\n".to_owned() } else { " ".repeat(c.len_utf8()) })
                .collect();
            apart.code.replace_range(at..end, &blank);
        }
        at = end;
    }
}

/// Returns the end of `#![…]`.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0;
    text.char_indices().find_map(|(at, c)| {
        open += i32::from(c == '[') - i32::from(c == ']');
        (c == ']' && open == 0).then_some(at)
    })
}

fn refused(code: &str, at: usize, name: &str) -> Refused {
    let before = &code[..at];
    let why = match name {
        "feature" => "cells are compiled as stable Rust, which has no feature gates",
        _ => {
            "this attribute applies to a whole crate, and a cell is a part of one; put an attribute on an item instead, as in `#[…] fn f() {}`"
        }
    };
    Refused {
        line: before.matches('\n').count() + 1,
        column: before.rsplit('\n').next().unwrap_or("").chars().count() + 1,
        message: format!("`#![{name}]` cannot be in a cell: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lints_are_kept_and_the_rest_is_blanked() {
        let apart = apart("//! docs\n#![allow(unused, dead_code)] let x = 1; // #![no]").unwrap();
        assert_eq!(apart.code, "        \n                             let x = 1; // #![no]");
        assert_eq!(apart.lints, ["#[allow(unused, dead_code)]"]);
    }

    #[test]
    fn features_are_refused_with_their_position() {
        let refused = apart("// é\n #![feature(x)]").err().unwrap();
        assert_eq!((refused.line, refused.column), (2, 2));
        assert!(refused.message.contains("stable Rust"), "{}", refused.message);
    }
}
