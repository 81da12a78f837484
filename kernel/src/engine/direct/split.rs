//! A cell's text taken apart: items, statements, and the expression whose value is shown.

use std::collections::BTreeSet;
use std::ops::Range;

use quote::ToTokens;
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::{Block, Item, Stmt};

use super::items::Definition;
use super::names::{Binding, bound, mentioned};

/// A parsed cell. Ranges are byte ranges of its text.
pub(super) struct Split {
    pub(super) definitions: Vec<Definition>,
    pub(super) statements: Vec<Statement>,
    pub(super) tail: Option<Range<usize>>,
}

/// A statement of the cell's top level, the tail included.
pub(super) struct Statement {
    pub(super) range: Range<usize>,
    pub(super) mentions: BTreeSet<String>,
    pub(super) binds: Vec<Binding>,
    /// For a `let`, what it mentions outside its pattern.
    pub(super) uses: BTreeSet<String>,
    /// The type written in the `let`, if it is a plain name and says it all.
    pub(super) declared: Option<String>,
}

/// Why a cell could not be parsed.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) message: String,
    /// From 1.
    pub(super) line: usize,
    /// From 1, in characters.
    pub(super) column: usize,
    /// More lines could make it valid.
    pub(super) incomplete: bool,
}

/// Parses a cell.
pub(super) fn split(code: &str, cell: u32) -> Result<Split, SyntaxError> {
    // The parser remembers every text it has seen; spans of earlier cells are not used any more.
    proc_macro2::extra::invalidate_current_thread_spans();
    let parsed = Block::parse_within.parse_str(code).map_err(|error| syntax_error(code, &error))?;
    let mut split = Split { definitions: Vec::new(), statements: Vec::new(), tail: None };
    let last = parsed.len().saturating_sub(1);
    for (index, statement) in parsed.into_iter().enumerate() {
        let range = statement.span().byte_range();
        match statement {
            Stmt::Item(item) => split.definitions.push(definition(&item, range, code, cell)),
            Stmt::Local(local) => {
                let init = local.init.as_ref();
                let uses = init.map(|init| {
                    let mut uses = mentioned(&init.expr);
                    uses.extend(init.diverge.iter().flat_map(|(_, other)| mentioned(other)));
                    uses
                });
                split.statements.push(Statement {
                    range,
                    mentions: mentioned(&local),
                    binds: bound(&local.pat),
                    uses: uses.unwrap_or_default(),
                    declared: declared(&local.pat),
                });
            }
            other => {
                if index == last && is_value(&other) {
                    split.tail = Some(range.clone());
                }
                let mentions = mentioned(&other);
                split.statements.push(Statement {
                    range,
                    uses: mentions.clone(),
                    mentions,
                    binds: Vec::new(),
                    declared: None,
                });
            }
        }
    }
    Ok(split)
}

/// Whether a cell's last statement has a value to show. A macro call in braces may expand to items, so it has none.
fn is_value(statement: &Stmt) -> bool {
    match statement {
        Stmt::Expr(_, semicolon) => semicolon.is_none(),
        Stmt::Macro(call) => call.semi_token.is_none() && !matches!(call.mac.delimiter, syn::MacroDelimiter::Brace(_)),
        Stmt::Local(_) | Stmt::Item(_) => false,
    }
}

fn declared(pattern: &syn::Pat) -> Option<String> {
    let syn::Pat::Type(typed) = pattern else { return None };
    let syn::Pat::Ident(_) = &*typed.pat else { return None };
    let tokens = typed.ty.to_token_stream().to_string();
    let vague = tokens.contains('_') && mentioned(&typed.ty).contains("_")
        || tokens.contains('\'')
        || tokens.contains('&')
        || tokens.contains("impl ");
    (!vague).then_some(tokens)
}

fn definition(item: &Item, range: Range<usize>, code: &str, cell: u32) -> Definition {
    let start = &code[..range.start];
    let line = start.matches('\n').count() + 1;
    let column = start.rsplit('\n').next().unwrap_or("").chars().count();
    Definition::new(item, code[range.clone()].to_owned(), range, (cell, line, column))
}

fn syntax_error(code: &str, error: &syn::Error) -> SyntaxError {
    let start = error.span().start();
    let message = error.to_string();
    // An error at the very end of the text is reported where the text begins.
    let end = error.span().end();
    let at_end = (start == end && start.column == 0) || code.trim_end().lines().count() < start.line;
    let incomplete =
        unbalanced(code) || message.contains("unexpected end of input") || (at_end && message.starts_with("expected"));
    SyntaxError { message, line: start.line, column: start.column + 1, incomplete }
}

/// Whether brackets, a string or a comment are still open.
fn unbalanced(code: &str) -> bool {
    let mut open = 0_i32;
    let mut chars = code.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open -= 1,
            '/' if chars.peek() == Some(&'/') => {
                chars.by_ref().take_while(|c| *c != '\n').for_each(drop);
            }
            '/' if chars.peek() == Some(&'*') => {
                chars.next();
                let mut before = ' ';
                if !chars.any(|c| std::mem::replace(&mut before, c) == '*' && c == '/') {
                    return true;
                }
            }
            '"' => {
                let mut escaped = false;
                let closed = chars.any(|c| {
                    let ends = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    ends
                });
                if !closed {
                    return true;
                }
            }
            '\'' => {
                // A character literal, or a lifetime.
                let mut ahead = chars.clone();
                if let (Some(first), Some(second)) = (ahead.next(), ahead.next()) {
                    if first == '\\' {
                        chars.next();
                        chars.next();
                        chars.by_ref().take_while(|c| *c != '\'').for_each(drop);
                    } else if second == '\'' {
                        chars.next();
                        chars.next();
                    }
                }
            }
            _ => {}
        }
        if open < 0 {
            return false;
        }
    }
    open > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_statements_and_tail() {
        let code = "/// doc\nfn f() -> i32 { 1 }\nlet x = f(); let (mut y, z): (i32, i32) = (x, 2);\nuse std::fmt;\ny + z // end";
        let split = split(code, 1).unwrap();
        assert_eq!(split.definitions.len(), 2);
        assert!(code[split.definitions[0].range.clone()].starts_with("/// doc"));
        assert_eq!(split.statements.len(), 3);
        assert_eq!(split.statements[1].binds.len(), 2);
        assert_eq!(&code[split.tail.unwrap()], "y + z");
    }

    #[test]
    fn what_is_shown() {
        let tail = |code: &str| split(code, 1).unwrap().tail.map(|range| code[range].to_owned());
        assert_eq!(tail("1;"), None);
        assert_eq!(tail("vec![1]").as_deref(), Some("vec![1]"));
        assert_eq!(tail("if true { 1 } else { 2 }").as_deref(), Some("if true { 1 } else { 2 }"));
        assert_eq!(tail("let x = 1;"), None);
        assert_eq!(tail(""), None);
    }

    #[test]
    fn incomplete_and_invalid() {
        let incomplete = |code: &str| split(code, 1).err().map(|error| error.incomplete);
        assert_eq!(incomplete("fn f() {"), Some(true));
        assert_eq!(incomplete("let x = \"abc"), Some(true));
        assert_eq!(incomplete("let x ="), Some(true));
        assert_eq!(incomplete("let x = 1"), Some(true));
        assert_eq!(incomplete("let = 1;"), Some(false));
        assert_eq!(incomplete("f())"), Some(false));
        assert_eq!(incomplete("x.iter()"), None);
    }

    #[test]
    fn declared_types() {
        let declared = |code: &str| split(code, 1).unwrap().statements[0].declared.clone();
        assert_eq!(declared("let x: Vec<i32> = v;").as_deref(), Some("Vec < i32 >"));
        assert_eq!(declared("let x: Vec<_> = v;"), None);
        assert_eq!(declared("let x: &str = v;"), None);
    }
}
