//! Decides what a macro call that is a statement expands to: items, which later cells have as well, statements, or a value.
//!
//! The macro's text sometimes tells. Otherwise the call is compiled as one after the other until it fits;
//! what fit is tried first when the macro is called again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use proc_macro2::{TokenStream, TokenTree};

use super::names::{Binding, plain};
use super::split::{Split, Statement};
use crate::engine::direct::session::items::Items;

/// What a macro call expands to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadAs {
    Items,
    Statements,
    Value,
}

/// Macros of the standard library that are statements or values, never items.
const PLAIN: &[&str] = &[
    "assert",
    "assert_eq",
    "assert_ne",
    "dbg",
    "debug_assert",
    "debug_assert_eq",
    "debug_assert_ne",
    "eprint",
    "eprintln",
    "format",
    "matches",
    "panic",
    "print",
    "println",
    "thread_local",
    "todo",
    "unimplemented",
    "unreachable",
    "vec",
    "write",
    "writeln",
    "compile_error",
    "concat",
    "env",
    "option_env",
    "file",
    "line",
    "column",
    "stringify",
    "module_path",
    "include_str",
    "include_bytes",
    "format_args",
    "try",
    "json",
    "df",
    "select",
    "join",
    "info",
    "warn",
    "error",
    "debug",
    "trace",
    "ensure",
    "bail",
];

/// What earlier calls showed about macros.
#[derive(Clone, Debug, Default)]
pub(crate) struct Macros {
    read_as: BTreeMap<String, ReadAs>,
    /// Macros that do not make variables of the names in their calls.
    bind_nothing: BTreeSet<String>,
}

/// The calls of one cell whose meaning is not known for sure, by where they start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls(BTreeMap<usize, Call>);

#[derive(Clone, Debug)]
struct Call {
    name: String,
    range: Range<usize>,
    read_as: ReadAs,
    /// Returns what is tried when this does not fit.
    next: Vec<ReadAs>,
    /// Names in the call that may be variables which it makes.
    candidates: BTreeSet<String>,
}

impl Macros {
    /// Forgets a macro that is redefined.
    pub(crate) fn forget(&mut self, name: &str) {
        self.read_as.remove(name);
        self.bind_nothing.remove(name);
    }

    /// Returns the calls of a cell, to be tried.
    pub(crate) fn calls(&self, split: &Split, items: &Items) -> Calls {
        let mut made: BTreeSet<&str> = BTreeSet::new();
        let mut calls = BTreeMap::new();
        for statement in &split.statements {
            made.extend(statement.binds.iter().map(|binding| binding.name.as_str()));
            let (Some(name), Some(call)) = (statement.macro_name(), &statement.call) else { continue };
            let own = items.macro_named(&name);
            if own.is_none() && PLAIN.contains(&name.as_str()) {
                continue;
            }
            let is_last = split.statements.last().is_some_and(|last| last.range == statement.range);
            let mut order = match call.semi_token.is_none() && is_last {
                true => vec![ReadAs::Value, ReadAs::Items, ReadAs::Statements],
                false => vec![ReadAs::Items, ReadAs::Statements],
            };
            if let Some(known) = self.read_as.get(&name)
                && let Some(at) = order.iter().position(|read_as| read_as == known)
            {
                order.remove(at);
                order.insert(0, *known);
            }
            let mut candidates = BTreeSet::new();
            if !self.bind_nothing.contains(&name) && own.is_none_or(|own| own.has_let) {
                names(call.mac.tokens.clone(), &mut candidates);
                candidates.retain(|name| !made.contains(name.as_str()) && !items.has_value(name));
            }
            let read_as = order.remove(0);
            let call = Call { name, range: statement.range.clone(), read_as, next: order, candidates };
            calls.insert(statement.range.start, call);
        }
        Calls(calls)
    }

    /// Remembers how these calls were read when the cell compiled.
    pub(crate) fn learn(&mut self, calls: &Calls) {
        for call in calls.0.values() {
            self.read_as.insert(call.name.clone(), call.read_as);
            if call.read_as == ReadAs::Statements && call.candidates.is_empty() {
                self.bind_nothing.insert(call.name.clone());
            }
        }
    }
}

impl Calls {
    pub(crate) fn are_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Applies these readings to a cell.
    pub(crate) fn apply(&self, split: &mut Split, code: &str, cell: u32) {
        let is_read = |statement: &Statement, as_what| {
            self.0.get(&statement.range.start).is_some_and(|call| call.read_as == as_what)
        };
        split.define(code, cell, &|statement| is_read(statement, ReadAs::Items));
        let last = split.statements.last().map(|last| last.range.clone());
        for statement in &mut split.statements {
            let Some(call) = self.0.get(&statement.range.start) else { continue };
            match call.read_as {
                ReadAs::Value if last.as_ref() == Some(&statement.range) => split.tail = last.clone(),
                ReadAs::Statements => {
                    if split.tail.as_ref() == Some(&statement.range) {
                        split.tail = None;
                    }
                    statement.uses.retain(|name| !call.candidates.contains(name));
                    let made = call.candidates.iter().map(|name| Binding {
                        name: name.clone(),
                        mutable: true,
                        at: call.range.start,
                    });
                    statement.binds.extend(made);
                }
                ReadAs::Value | ReadAs::Items => {}
            }
        }
    }

    /// Reads the calls at these offsets in the next possible way. Returns false if none is left.
    pub(crate) fn reconsider(&mut self, offsets: &[usize]) -> bool {
        let wrong = |call: &&mut Call| offsets.iter().any(|at| call.range.contains(at)) && !call.next.is_empty();
        let mut any = false;
        for call in self.0.values_mut().filter(wrong) {
            call.read_as = call.next.remove(0);
            any = true;
        }
        any
    }

    /// Marks names as not made by a call. Returns false if none was considered one.
    pub(crate) fn unbind(&mut self, names: &BTreeSet<String>) -> bool {
        let mut any = false;
        for call in self.0.values_mut().filter(|call| call.read_as == ReadAs::Statements) {
            let before = call.candidates.len();
            call.candidates.retain(|name| !names.contains(name));
            any |= call.candidates.len() < before;
        }
        any
    }
}

/// Returns the names in a call's arguments that may be variables.
fn names(tokens: TokenStream, found: &mut BTreeSet<String>) {
    let mut tokens = tokens.into_iter().peekable();
    let mut before = None;
    while let Some(token) = tokens.next() {
        match &token {
            TokenTree::Group(group) => names(group.stream(), found),
            TokenTree::Ident(ident) => {
                let name = plain(ident);
                let variable = name.starts_with(|c: char| c.is_lowercase() || c == '_') && name != "_";
                let path = |c: &Option<char>| matches!(c, Some('.' | ':'));
                let follows = tokens.peek().map(ToString::to_string).unwrap_or_default();
                let is_call = follows == "!" || follows == ":" || follows.starts_with('(');
                if variable && !path(&before) && !is_call && syn::parse_str::<syn::Ident>(&name).is_ok() {
                    found.insert(name);
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
        before = match &token {
            TokenTree::Punct(punct) => Some(punct.as_char()),
            _ => None,
        };
    }
}

/// Returns whether a `macro_rules!` contains a `let`, so that it may make variables.
pub(crate) fn has_let(rules: TokenStream) -> bool {
    rules.into_iter().any(|token| match token {
        TokenTree::Group(group) => has_let(group.stream()),
        TokenTree::Ident(word) => word == "let",
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

/// Returns whether a `macro_rules!` expands to items, judging by the first words of its rules.
pub(crate) fn makes_items(rules: TokenStream) -> bool {
    let mut tokens = rules.into_iter().peekable();
    let mut any = false;
    while let Some(token) = tokens.next() {
        let arrow = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '>');
        if !arrow {
            continue;
        }
        let Some(TokenTree::Group(body)) = tokens.next() else { return false };
        if !starts_item(body.stream()) {
            return false;
        }
        any = true;
    }
    any
}

fn starts_item(body: TokenStream) -> bool {
    let mut tokens = body.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            // `#[…]`, `$(#[$meta])*` and `$vis` may come before an item.
            TokenTree::Punct(punct) if punct.as_char() == '#' => drop(tokens.next()),
            TokenTree::Punct(punct) if punct.as_char() == '$' => match tokens.next() {
                Some(TokenTree::Group(group)) if starts_item(group.stream()) => return true,
                Some(TokenTree::Group(group)) if group.stream().to_string().starts_with('#') => drop(tokens.next()),
                Some(TokenTree::Ident(name)) if name == "vis" => {}
                _ => return false,
            },
            TokenTree::Ident(word) => {
                let follows = tokens.peek().map(ToString::to_string).unwrap_or_default();
                return match word.to_string().as_str() {
                    "unsafe" | "async" => matches!(follows.as_str(), "fn" | "impl" | "trait" | "extern"),
                    "thread_local" | "macro_rules" => true,
                    "pub" | "extern" | "fn" | "struct" | "enum" | "union" | "trait" | "impl" | "mod" | "type"
                    | "use" => true,
                    "const" | "static" => follows != "{",
                    _ => false,
                };
            }
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::split::split;

    #[test]
    fn macros_that_make_items() {
        let makes = |rule: &str| {
            split(&format!("macro_rules! m {{ ($($t:tt)*) => {{ {rule} }} }}"), 1).unwrap().definitions[0].makes_items
        };
        assert!(
            makes("fn f() {}")
                && makes("#[derive(Debug)] pub struct S;")
                && makes("$(#[$m])* $vis enum E {}")
                && makes("$(impl T for $t {})*")
        );
        assert!(!makes("$e * $e") && !makes("let x = 1;") && !makes("unsafe{ f() }") && !makes("$(let $x = 1;)*"));
    }
}
