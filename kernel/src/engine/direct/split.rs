//! A cell's text taken apart: items, statements, and the expression whose value is shown.

use std::collections::BTreeSet;
use std::ops::Range;

use quote::ToTokens;
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::{Block, Item, Stmt};

use super::definition::Definition;
use super::ends::Ends;
use super::names::{Binding, bound, mentioned};
use super::syntax::SyntaxError;

/// A parsed cell. Ranges are byte ranges of its text.
pub(super) struct Split {
    pub(super) definitions: Vec<Definition>,
    pub(super) statements: Vec<Statement>,
    pub(super) tail: Option<Range<usize>>,
    /// The call of `main` of a cell that defines it and does nothing else.
    pub(super) main: Option<&'static str>,
    /// Something is awaited outside of functions and closures.
    pub(super) awaits: bool,
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
    /// What is added to the user's words, by offset in the cell, in order.
    pub(super) insertions: Vec<(usize, &'static str)>,
    /// A macro call that is a statement of its own.
    pub(super) call: Option<syn::ItemMacro>,
    /// The place of a `let`'s pattern: lines and columns, from 1.
    pub(super) pattern: Option<Range<(usize, usize)>>,
}

/// Parses a cell.
pub(super) fn split(code: &str, cell: u32) -> Result<Split, SyntaxError> {
    // The parser remembers every text it has seen; spans of earlier cells are not used any more.
    proc_macro2::extra::invalidate_current_thread_spans();
    let parsed = Block::parse_within.parse_str(code).map_err(|error| SyntaxError::new(&error))?;
    let mut split = Split { definitions: Vec::new(), statements: Vec::new(), tail: None, main: None, awaits: false };
    let last = parsed.len().saturating_sub(1);
    for (index, statement) in parsed.into_iter().enumerate() {
        let range = statement.span().byte_range();
        let ends = Ends::of(&statement);
        split.awaits |= !matches!(statement, Stmt::Item(_)) && ends.awaits;
        let mut found = Statement {
            range: range.clone(),
            mentions: BTreeSet::new(),
            binds: Vec::new(),
            uses: BTreeSet::new(),
            declared: None,
            // Behind each `return` that has no value and ends the cell.
            insertions: ends.returns.into_iter().map(|at| (at, RETURNED)).collect(),
            call: None,
            pattern: None,
        };
        match statement {
            Stmt::Item(item) => {
                split.definitions.push(definition(&item, range, code, cell));
                continue;
            }
            Stmt::Local(local) => {
                let init = local.init.as_ref();
                let uses = init.map(|init| {
                    let mut uses = mentioned(&init.expr);
                    uses.extend(init.diverge.iter().flat_map(|(_, other)| mentioned(other)));
                    uses
                });
                found.mentions = mentioned(&local);
                let refutable = init.is_some_and(|init| init.diverge.is_some());
                found.binds = bound(&local.pat, refutable);
                found.uses = uses.unwrap_or_default();
                found.declared = declared(&local.pat);
                found.pattern = Some(place(local.pat.span()));
            }
            other => {
                if index == last && is_value(&other) {
                    split.tail = Some(range);
                }
                found.mentions = mentioned(&other);
                found.uses.clone_from(&found.mentions);
                if let Stmt::Macro(call) = other {
                    found.call = Some(syn::ItemMacro {
                        attrs: call.attrs,
                        ident: None,
                        mac: call.mac,
                        semi_token: call.semi_token,
                    });
                }
            }
        }
        split.statements.push(found);
    }
    split.define(code, cell, &|name| name == "thread_local");
    Ok(split)
}

impl Split {
    /// The variables that the cell makes, each name once, with whether the last one is mutable.
    pub(super) fn made(&self) -> Vec<(&str, bool)> {
        let mut made: Vec<(&str, bool)> = Vec::new();
        for binding in self.statements.iter().flat_map(|statement| &statement.binds) {
            made.retain(|(name, _)| *name != binding.name);
            made.push((&binding.name, binding.mutable));
        }
        made
    }

    /// Makes definitions of the macro calls that expand to items.
    pub(super) fn define(&mut self, code: &str, cell: u32, makes_items: &dyn Fn(&str) -> bool) {
        let (calls, others) = std::mem::take(&mut self.statements).into_iter().partition(|statement: &Statement| {
            let name = statement.call.as_ref().and_then(|call| call.mac.path.segments.last());
            self.tail.as_ref() != Some(&statement.range)
                && name.is_some_and(|name| makes_items(&name.ident.to_string()))
        });
        self.statements = others;
        let calls: Vec<Statement> = calls;
        let calls = calls.into_iter().filter_map(|statement| Some((statement.call?, statement.range)));
        self.definitions.extend(calls.map(|(call, range)| definition(&Item::Macro(call), range, code, cell)));
        self.main = self.statements.is_empty().then(|| self.definitions.iter().find_map(Definition::as_main)).flatten();
    }

    /// Has the errors that `?` meets at these places shown by `Debug`: line and column, from 1, or `None` for the call of
    /// `main`. False if there is nothing to change.
    pub(super) fn show_by_debug(&mut self, code: &str, places: &[Option<(usize, usize)>]) -> bool {
        let mut changed = false;
        for place in places {
            let Some((line, column)) = *place else {
                let call = self.main.and_then(|call| match call {
                    "main()?;" => Some("main().map_err(::chandlery::cell::by_debug)?;"),
                    "main().await?;" => Some("main().await.map_err(::chandlery::cell::by_debug)?;"),
                    _ => None,
                });
                changed |= call.is_some();
                self.main = call.or(self.main);
                continue;
            };
            let start: usize = code.split_inclusive('\n').take(line - 1).map(str::len).sum();
            let column: usize = code[start..].chars().take(column - 1).map(char::len_utf8).sum();
            let at = start + column;
            let own = self.statements.iter_mut().find(|statement| statement.range.contains(&at));
            let Some(own) = own.filter(|_| code[at..].starts_with('?')) else { continue };
            if let Err(index) = own.insertions.binary_search(&(at, BY_DEBUG)) {
                own.insertions.insert(index, (at, BY_DEBUG));
                changed = true;
            }
        }
        changed
    }

    /// A statement's text with a value for each `return` that ends the cell.
    pub(super) fn text(&self, code: &str, statement: &Statement) -> String {
        let mut text = code[statement.range.clone()].to_owned();
        for (at, ours) in statement.insertions.iter().rev() {
            text.insert_str(at - statement.range.start, ours);
        }
        if self.tail.as_ref() == Some(&statement.range) {
            text.push(';');
        }
        text
    }
}

/// What a `return` without a value returns.
const RETURNED: &str = " Ok(())";

/// What makes an error that cannot be displayed one that `?` takes.
const BY_DEBUG: &str = ".map_err(::chandlery::cell::by_debug)";

/// Whether a cell's last statement has a value to show. A macro call in braces may expand to items, so it has none.
fn is_value(statement: &Stmt) -> bool {
    match statement {
        Stmt::Expr(_, semicolon) => semicolon.is_none(),
        Stmt::Macro(call) => call.semi_token.is_none() && !matches!(call.mac.delimiter, syn::MacroDelimiter::Brace(_)),
        Stmt::Local(_) | Stmt::Item(_) => false,
    }
}

fn place(span: proc_macro2::Span) -> Range<(usize, usize)> {
    let (start, end) = (span.start(), span.end());
    (start.line, start.column + 1)..(end.line, end.column + 1)
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
    fn what_ends_the_cell() {
        let code = "let f = || { return; };\nif x { return; } async { g().await };\nprintln!(\"{}\", h().await);";
        let split = split(code, 1).unwrap();
        let returns: Vec<usize> = split.statements.iter().map(|statement| statement.insertions.len()).collect();
        assert_eq!((returns, split.awaits), (vec![0, 1, 0, 0], true));
        assert_eq!(split.text(code, &split.statements[1]), "if x { return Ok(()); }");
        assert!(!super::split("async { g().await };", 1).unwrap().awaits);
    }

    #[test]
    fn a_question_mark_is_found_by_its_place() {
        let code = "let é = 1; f()?;\nif x { return; } else { g(\"é\")  ? }";
        let mut split = split(code, 1).unwrap();
        let places = [Some((1, 15)), Some((2, 33)), Some((2, 1)), None];
        assert!(split.show_by_debug(code, &places));
        assert!(!split.show_by_debug(code, &places), "that was done");
        let shown: Vec<String> = split.statements.iter().map(|statement| split.text(code, statement)).collect();
        assert_eq!(shown[1], "f().map_err(::chandlery::cell::by_debug)?;");
        assert_eq!(shown[2], "if x { return Ok(()); } else { g(\"é\")  .map_err(::chandlery::cell::by_debug)? };");
    }

    #[test]
    fn a_program_is_run() {
        let main = |code: &str| split(code, 1).unwrap().main;
        assert_eq!(main("use std::fmt;\nfn main() { f() } fn f() {}"), Some("main();"));
        assert_eq!(main("fn main() -> Result<(), E> { f() }"), Some("main()?;"));
        assert_eq!(main("fn main() {} main()"), None);
        assert_eq!(main("fn main(x: u8) {}"), None);
    }

    #[test]
    fn declared_types() {
        let declared = |code: &str| split(code, 1).unwrap().statements[0].declared.clone();
        assert_eq!(declared("let x: Vec<i32> = v;").as_deref(), Some("Vec < i32 >"));
        assert_eq!(declared("let x: Vec<_> = v;"), None);
        assert_eq!(declared("let x: &str = v;"), None);
    }
}
