//! Splits a cell's text into items, statements, and the expression whose value is shown.

use std::collections::BTreeSet;
use std::ops::Range;

use quote::ToTokens;
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::{Block, Item, Stmt};

use super::definition::{Definition, MainCall};
use super::depth::with_room;
use super::edits::{self, Edit};
use super::files::{self, FileFolders, Mention};
use super::names::{Assigned, Binding, assigned, bound, mentioned, plain};
use super::syntax::SyntaxError;

/// A parsed cell. Ranges are byte ranges of its text.
pub(crate) struct Split {
    pub(crate) definitions: Vec<Definition>,
    pub(crate) statements: Vec<Statement>,
    pub(crate) tail: Option<Range<usize>>,
    /// The call of `main` of a cell that defines it and does nothing else.
    pub(crate) main: Option<MainCall>,
    /// Whether something is awaited outside of functions and closures.
    pub(crate) awaits: bool,
}

/// A statement of the cell's top level, including the tail.
pub(crate) struct Statement {
    pub(crate) range: Range<usize>,
    pub(crate) mentions: BTreeSet<String>,
    pub(crate) binds: Vec<Binding>,
    /// For a `let`, what it mentions outside its pattern.
    pub(crate) uses: BTreeSet<String>,
    /// The type written in the `let`, if it is a complete type.
    pub(crate) declared: Option<String>,
    /// The insertions into the user's text, by offset in the cell, in order.
    pub(crate) edits: Vec<Edit>,
    pub(crate) role: Role,
    /// Whether it awaits something outside of functions and closures.
    pub(crate) awaits: bool,
    pub(crate) assigns: Assigned,
    /// The files and lines that it names.
    pub(crate) files: Vec<Mention>,
    /// A macro call that is a statement.
    pub(crate) call: Option<syn::ItemMacro>,
    /// The range of a `let`'s pattern: lines and columns, counted from 1.
    pub(crate) pattern: Option<Range<(usize, usize)>>,
}

impl Statement {
    /// The last part of the path of the macro that it calls.
    pub(crate) fn macro_name(&self) -> Option<String> {
        let last = self.call.as_ref()?.mac.path.segments.last()?;
        Some(plain(&last.ident))
    }
}

/// The role of a statement for those after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A `let` with a value.
    Let {
        /// The range of its value.
        value: Range<usize>,
        /// The type that is written in it.
        kind: Option<String>,
        /// The text between the braces of its `else`.
        diverges: Option<Range<usize>>,
    },
    /// A `let` that only names another variable or a part of one, or borrows it.
    Place,
    /// A `let` whose variable is assigned later.
    Open,
    /// Anything else.
    Work,
}

/// Parses a cell.
pub(crate) fn split(code: &str, cell: u32) -> Result<Split, SyntaxError> {
    with_room(code, || parse(code, cell)).unwrap_or_else(|deep| Err(SyntaxError::too_deep(&deep)))
}

fn parse(code: &str, cell: u32) -> Result<Split, SyntaxError> {
    // The parser remembers every text it has seen. Spans of earlier cells are no longer used.
    proc_macro2::extra::invalidate_current_thread_spans();
    let parsed = Block::parse_within.parse_str(code).map_err(|error| SyntaxError::new(&error))?;
    let mut split = Split { definitions: Vec::new(), statements: Vec::new(), tail: None, main: None, awaits: false };
    let last = parsed.len().saturating_sub(1);
    for (index, statement) in parsed.into_iter().enumerate() {
        let range = statement.span().byte_range();
        if let Stmt::Item(item) = statement {
            split.definitions.push(definition(&item, range, code, cell));
            continue;
        }
        let ends = edits::of_statement(&statement);
        split.awaits |= ends.awaits;
        let mut found = Statement {
            range: range.clone(),
            mentions: BTreeSet::new(),
            binds: Vec::new(),
            uses: BTreeSet::new(),
            declared: None,
            edits: ends.edits,
            role: Role::Work,
            awaits: ends.awaits,
            assigns: assigned(&statement),
            files: files::mentions(statement.to_token_stream()),
            call: None,
            pattern: None,
        };
        match statement {
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
                found.role = role(&local);
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
    let tail = split.tail.clone();
    split.define(code, cell, &|call| {
        call.macro_name() == Some("thread_local".into()) && tail.as_ref() != Some(&call.range)
    });
    Ok(split)
}

impl Split {
    /// Returns the variables that the cell makes, each name once, and whether the last one is mutable.
    pub(crate) fn made(&self) -> Vec<(&str, bool)> {
        let mut made: Vec<(&str, bool)> = Vec::new();
        for binding in self.statements.iter().flat_map(|statement| &statement.binds) {
            made.retain(|(name, _)| *name != binding.name);
            made.push((&binding.name, binding.mutable));
        }
        made
    }

    /// Resolves the files and lines that the cell names relative to the notebook.
    ///
    /// # Errors
    /// A module's file that does not exist, by offset.
    pub(crate) fn place(&mut self, places: &FileFolders<'_>) -> Result<(), (usize, String)> {
        for statement in self.statements.iter_mut().filter(|statement| !statement.files.is_empty()) {
            let (edits, _) = places.edits(&statement.files, false)?;
            statement.edits.extend(edits);
            statement.edits.sort_by_key(|edit| edit.at);
        }
        self.definitions.iter_mut().try_for_each(|definition| definition.place(places))
    }

    /// Returns whether it assigns to a variable.
    pub(crate) fn assigns(&self, name: &str) -> bool {
        self.statements.iter().any(|statement| statement.assigns.names.contains(name))
    }

    /// Returns whether it assigns to a variable or to a part of one.
    pub(crate) fn assigns_part(&self, name: &str) -> bool {
        self.statements.iter().any(|statement| statement.assigns.parts.contains(name))
    }

    /// Makes definitions of the macro calls that expand to items.
    pub(crate) fn define(&mut self, code: &str, cell: u32, makes_items: &dyn Fn(&Statement) -> bool) {
        let (calls, others) = std::mem::take(&mut self.statements)
            .into_iter()
            .partition(|statement: &Statement| statement.call.is_some() && makes_items(statement));
        self.statements = others;
        let calls: Vec<Statement> = calls;
        if calls.iter().any(|call| self.tail.as_ref() == Some(&call.range)) {
            self.tail = None;
        }
        let calls = calls.into_iter().filter_map(|statement| Some((statement.call?, statement.range)));
        for (call, range) in calls {
            let read = with_room(code, || definition(&Item::Macro(call), range, code, cell));
            self.definitions.extend(read.ok());
        }
        self.main = self.statements.is_empty().then(|| self.definitions.iter().find_map(Definition::as_main)).flatten();
    }

    /// Shows the errors of `?` at these positions with `Debug`: line and column, from 1, or `None` for the call of
    /// `main`. Returns false if there is nothing to change.
    pub(crate) fn show_by_debug(&mut self, code: &str, places: &[Option<(usize, usize)>]) -> bool {
        let mut changed = false;
        for place in places {
            let Some((line, column)) = *place else {
                if let Some(call) = &mut self.main
                    && call.fails
                    && !std::mem::replace(&mut call.by_debug, true)
                {
                    changed = true;
                }
                continue;
            };
            let start: usize = code.split_inclusive('\n').take(line - 1).map(str::len).sum();
            let column: usize = code[start..].chars().take(column - 1).map(char::len_utf8).sum();
            let at = start + column;
            let own = self.statements.iter_mut().find(|statement| statement.range.contains(&at));
            let Some(own) = own.filter(|_| code[at..].starts_with('?')) else { continue };
            let edit = Edit::new(at, BY_DEBUG);
            if !own.edits.contains(&edit) {
                let index = own.edits.partition_point(|other| other.at <= at);
                own.edits.insert(index, edit);
                changed = true;
            }
        }
        changed
    }

    /// Returns a statement's text as it is repeated in later cells.
    pub(crate) fn text(&self, code: &str, statement: &Statement) -> String {
        let mut text = edits::applied(&code[statement.range.clone()], statement.range.start, &statement.edits);
        if self.tail.as_ref() == Some(&statement.range) {
            text.push(';');
        }
        text
    }
}

/// The conversion that lets `?` take an error without `Display`.
const BY_DEBUG: &str = ".map_err(::chandlery::cell::by_debug)";

/// Returns whether a cell's last statement has a value to show. A macro call in braces may expand to items, so it does not.
fn is_value(statement: &Stmt) -> bool {
    match statement {
        Stmt::Expr(_, semicolon) => semicolon.is_none(),
        Stmt::Macro(call) => call.semi_token.is_none() && !matches!(call.mac.delimiter, syn::MacroDelimiter::Brace(_)),
        Stmt::Local(_) | Stmt::Item(_) => false,
    }
}

fn role(local: &syn::Local) -> Role {
    let Some(init) = &local.init else { return Role::Open };
    let mut kind = match &local.pat {
        syn::Pat::Type(typed) => Some(typed.ty.to_token_stream().to_string()),
        _ => None,
    };
    // An expression that only names a place cannot fail, and a pattern may take a part of it.
    if init.diverge.is_none() && is_place(&init.expr) {
        return Role::Place;
    }
    // A borrowed temporary lives as long as the variable if the borrow is outside of all closures.
    let mut value = &*init.expr;
    while let syn::Expr::Reference(borrow) = value {
        match &*borrow.expr {
            place if is_place(place) => return Role::Place,
            syn::Expr::Index(_) | syn::Expr::Unary(_) | syn::Expr::Field(_) | syn::Expr::Paren(_) => break,
            inner => {
                value = inner;
                kind = None;
            }
        }
    }
    let inside = |block: &syn::Block| {
        let braces = &block.brace_token.span;
        braces.open().byte_range().end..braces.close().byte_range().start
    };
    let diverges = init.diverge.as_ref().and_then(|(_, other)| match &**other {
        syn::Expr::Block(block) => Some(inside(&block.block)),
        _ => None,
    });
    Role::Let { value: value.span().byte_range(), kind, diverges }
}

/// Returns whether an expression is a variable, or a field of one at any depth.
fn is_place(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Path(_) => true,
        syn::Expr::Field(field) => is_place(&field.base),
        _ => false,
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
        let returns: Vec<usize> = split.statements.iter().map(|statement| statement.edits.len()).collect();
        assert_eq!((returns, split.awaits), (vec![0, 1, 0, 0], true));
        assert_eq!(split.text(code, &split.statements[1]), "if x { return ::chandlery::cell::ended(); }");
        assert!(!super::split("async { g().await };", 1).unwrap().awaits);
    }

    #[test]
    fn a_question_mark_is_found_by_its_position() {
        let code = "let é = 1; f()?;\nif x { return; } else { g(\"é\")  ? }";
        let mut split = split(code, 1).unwrap();
        let places = [Some((1, 15)), Some((2, 33)), Some((2, 1)), None];
        assert!(split.show_by_debug(code, &places));
        assert!(!split.show_by_debug(code, &places), "that was done");
        let shown: Vec<String> = split.statements.iter().map(|statement| split.text(code, statement)).collect();
        assert_eq!(shown[1], "f().map_err(::chandlery::cell::by_debug)?;");
        assert_eq!(
            shown[2],
            "if x { return ::chandlery::cell::ended(); } else { g(\"é\")  .map_err(::chandlery::cell::by_debug)? };"
        );
    }

    #[test]
    fn a_program_is_run() {
        let main = |code: &str| split(code, 1).unwrap().main.map(|call| call.text());
        let run =
            |call: &str| Some(format!("::chandlery::cell::exited(::std::process::Termination::report({call}))?;"));
        assert_eq!(main("use std::fmt;\nfn main() { f() } fn f() {}"), run("main()"));
        assert_eq!(main("fn main() -> Result<(), E> { f() }"), run("main()?"));
        assert_eq!(main("async fn main() -> Result<(), E> { f() }"), run("main().await?"));
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
