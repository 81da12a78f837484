//! Syntax errors, and whether more lines could complete a text.

use ra_ap_rustc_lexer::{FrontmatterAllowed, LiteralKind, RawStrError, TokenKind, tokenize, validate_raw_str};
use syn::Block;
use syn::parse::Parser;

use super::depth::with_room;

/// Why a cell could not be parsed.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) message: String,
    /// Counted from 1.
    pub(crate) line: usize,
    /// Counted from 1, in characters.
    pub(crate) column: usize,
    /// Whether this message is used as it is, instead of the compiler's.
    pub(crate) is_final: bool,
}

impl SyntaxError {
    /// Returns the error of a text that nests too deep.
    pub(crate) fn too_deep(deep: &super::depth::TooDeep) -> Self {
        Self { message: deep.to_string(), line: 1, column: 1, is_final: true }
    }

    /// Returns the parser's error.
    pub(crate) fn new(error: &syn::Error) -> Self {
        let start = error.span().start();
        Self { message: error.to_string(), line: start.line, column: start.column + 1, is_final: false }
    }
}

/// What is unclosed at the end of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Open {
    /// Nothing.
    Nothing,
    /// A bracket.
    Bracket,
    /// A string or a comment: what follows is part of it.
    Text,
    /// A closing bracket does not match, or a character literal does not end on its line.
    Never,
}

/// Returns what is unclosed at the end of a text.
pub(crate) fn open(code: &str) -> Open {
    let mut brackets = Vec::new();
    let mut at = 0;
    for token in tokenize(code, FrontmatterAllowed::No) {
        let text = &code[at..];
        at += token.len as usize;
        let closes = match token.kind {
            TokenKind::OpenParen | TokenKind::OpenBracket | TokenKind::OpenBrace => {
                brackets.push(token.kind);
                continue;
            }
            TokenKind::CloseParen => TokenKind::OpenParen,
            TokenKind::CloseBracket => TokenKind::OpenBracket,
            TokenKind::CloseBrace => TokenKind::OpenBrace,
            TokenKind::BlockComment { terminated: false, .. } => return Open::Text,
            TokenKind::Literal { kind, .. } => match kind {
                LiteralKind::Str { terminated: false }
                | LiteralKind::ByteStr { terminated: false }
                | LiteralKind::CStr { terminated: false } => return Open::Text,
                LiteralKind::RawStr { n_hashes: None } if is_open_raw(text, 1) => return Open::Text,
                LiteralKind::RawByteStr { n_hashes: None } | LiteralKind::RawCStr { n_hashes: None }
                    if is_open_raw(text, 2) =>
                {
                    return Open::Text;
                }
                LiteralKind::Char { terminated: false } | LiteralKind::Byte { terminated: false } => {
                    return Open::Never;
                }
                _ => continue,
            },
            _ => continue,
        };
        if brackets.pop() != Some(closes) {
            return Open::Never;
        }
    }
    if brackets.is_empty() { Open::Nothing } else { Open::Bracket }
}

/// Returns whether an invalid raw string only lacks its end.
fn is_open_raw(text: &str, prefix: u32) -> bool {
    matches!(validate_raw_str(text, prefix), Err(RawStrError::NoTerminator { .. }))
}

/// Possible continuations of a text that breaks off. The parser reports some errors at the last word (`async`), which
/// is valid once something that fits follows.
const CONTINUATIONS: &[&str] =
    &["x", "{}", "struct X;", "fn x() {}", "move || {}", "|| {}", ": loop {}", "\"C\" fn x() {}", "move {}", ";"];

/// Returns whether more lines could make a text valid that the parser refuses.
pub(crate) fn can_go_on(code: &str) -> bool {
    match open(code) {
        Open::Bracket | Open::Text => return true,
        Open::Never => return false,
        Open::Nothing => {}
    }
    CONTINUATIONS.iter().any(|more| {
        // On a line of its own: the text may end with a comment.
        let longer = format!("{code}\n{more}");
        let goes_on = || match Block::parse_within.parse_str(&longer) {
            Ok(_) => true,
            // The error is at the end or in the continuation: the text itself is a valid beginning.
            Err(error) => is_at_end(&error) || error.span().byte_range().start > code.len(),
        };
        with_room(&longer, goes_on).unwrap_or(false)
    })
}

/// Returns whether the parser expected something at the end of the text. Such an error does not have a position; one at the end of
/// a bracket has that of the bracket.
fn is_at_end(error: &syn::Error) -> bool {
    let message = error.to_string();
    error.span().byte_range().is_empty()
        && error.span().byte_range().start == 0
        && (message.starts_with("expected") || message.contains("unexpected end of input"))
}

#[cfg(test)]
mod tests {
    use super::super::split::split;
    use super::*;

    /// Returns `None` for valid Rust.
    fn incomplete(code: &str) -> Option<bool> {
        split(code, 1).err().map(|_| can_go_on(code))
    }

    #[test]
    fn incomplete_and_invalid() {
        assert_eq!(incomplete("fn f() {"), Some(true));
        assert_eq!(incomplete("let x = \"abc"), Some(true));
        assert_eq!(incomplete("let x ="), Some(true));
        assert_eq!(incomplete("let x = 1"), Some(true));
        assert_eq!(incomplete("let = 1;"), Some(false));
        assert_eq!(incomplete("f())"), Some(false));
        assert_eq!(incomplete("x.iter()"), None);
    }

    #[test]
    fn texts_that_break_off_can_be_continued() {
        for code in [
            "/* open",
            "/* open /* nested */",
            "1 /* open /* nested */ */ + /*",
            "let s = r##\"raw",
            "let s = r##\"raw \"# still",
            "let s = br#\"raw",
            "let s = \"a \\\"",
            "let s = b\"abc",
            "let s = c\"abc",
            "f('\"', \"",
            "#[derive(Debug)]",
            "#[derive(Debug)] // for all\n#[allow(dead_code)]",
            "/// What it is.",
            "#",
            "async",
            "async move",
            "unsafe",
            "pub",
            "pub(crate)",
            "const",
            "move",
            "extern",
            "extern \"C\"",
            "'outer:",
            "let c = 'x",
            "fn f()",
            "fn f() -> u8",
            "struct P",
            "impl P",
            "impl<T> Named for P<T> where T: Copy",
            "macro_rules! twice",
            "println!",
            "println!(",
            "vec![1,",
            "use std::",
            "use std::fmt",
            "const N: u8 = 1",
            "let Some(x) = y else",
            "if x",
            "if x {} else",
            "match x",
            "for i in 0..3",
            "while x",
            "loop",
            "x.iter().",
            "x.iter()\n    .map(|x| x)\n    .",
            "a = ",
            "a +",
            "|x|",
            "let x = 1 // the first",
            "let x: Vec<u8> =",
        ] {
            assert_eq!(incomplete(code), Some(true), "{code}");
        }
    }

    #[test]
    fn texts_with_an_error_cannot_be_continued() {
        for code in [
            "let c = '",
            "let x = );",
            "(1]",
            "f(1 +)",
            "vec![1 2]; }",
            "match x { 1 => }",
            "else {}",
            "1 2",
            "let x = 1 2",
            "fn 3() {}",
            "#[derive(Debug)] 1 2",
        ] {
            assert_eq!(incomplete(code), Some(false), "{code}");
        }
    }

    #[test]
    fn complete_texts_are_complete() {
        for code in [
            "let x = 1;",
            "let c = '\"'; let d = '\\''; let e = b'\\\\';",
            "let s = r#\"a \" b\"#;",
            "/* a /* b */ c */ 1",
            "// \"",
            "fn f<'a>(x: &'a str) -> &'a str { x }",
            "x.iter()\n    .map(|x| x)\n    .sum::<u8>()",
            "vec![1, 2]",
            "println!(\"{\")",
            "async { 1 }.await",
            "#[derive(Debug)]\nstruct P;",
        ] {
            assert_eq!(incomplete(code), None, "{code}");
        }
    }
}
