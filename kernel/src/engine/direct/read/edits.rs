//! Insertions into the user's text that keep its lines and columns.

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Item, Stmt};

use crate::engine::direct::generate::source::Source;

/// Text that is inserted before an offset of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) at: usize,
    pub(crate) text: String,
    /// The check whether the user asked the cell to stop; optimized cells do not have it.
    pub(crate) is_tick: bool,
}

impl Edit {
    pub(crate) fn new(at: usize, text: impl Into<String>) -> Self {
        Self { at, text: text.into(), is_tick: false }
    }
}

/// The check at the start of a loop's body.
const TICK: &str = "::chandlery::cell::tick();";

/// What a `return` without a value returns from the closure that a statement runs in.
const ENDED: &str = " ::chandlery::cell::ended()";
const ENDED_WITH: &str = " ::chandlery::cell::ended_with(";

/// The effects of a statement on its cell.
pub(crate) struct Ends {
    pub(crate) edits: Vec<Edit>,
    /// Whether it awaits something outside of functions, closures and asynchronous blocks.
    pub(crate) awaits: bool,
}

/// Returns the edits in a statement, and whether it awaits.
pub(crate) fn of_statement(statement: &Stmt) -> Ends {
    let mut ends = Returns::default();
    ends.visit_stmt(statement);
    let mut loops = Loops::default();
    loops.visit_stmt(statement);
    let mut edits = ends.edits;
    edits.extend(loops.0);
    edits.sort_by_key(|edit| edit.at);
    Ends { edits, awaits: ends.awaits }
}

/// Returns the edits in an item.
pub(crate) fn of_item(item: &Item) -> Vec<Edit> {
    let mut loops = Loops::default();
    loops.visit_item(item);
    loops.0
}

/// Finds code that leaves the cell, or awaits in it.
#[derive(Default)]
struct Returns {
    edits: Vec<Edit>,
    awaits: bool,
}

impl<'ast> Visit<'ast> for Returns {
    fn visit_expr_return(&mut self, expression: &'ast syn::ExprReturn) {
        match &expression.expr {
            None => self.edits.push(Edit::new(expression.span().byte_range().end, ENDED)),
            Some(value) => {
                let range = value.span().byte_range();
                self.edits.push(Edit::new(range.start, ENDED_WITH));
                visit::visit_expr_return(self, expression);
                self.edits.push(Edit::new(range.end, ")"));
            }
        }
    }
    fn visit_expr_await(&mut self, expression: &'ast syn::ExprAwait) {
        self.awaits = true;
        visit::visit_expr_await(self, expression);
    }
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.awaits |= awaits(call.tokens.clone());
    }
    fn visit_expr_closure(&mut self, _: &'ast syn::ExprClosure) {}
    fn visit_expr_async(&mut self, _: &'ast syn::ExprAsync) {}
    fn visit_item(&mut self, _: &'ast Item) {}
}

/// Finds the loops of code that runs, but not of constants or functions that C calls.
#[derive(Default)]
struct Loops(Vec<Edit>);

impl Loops {
    fn body(&mut self, block: &syn::Block, attributes: &[syn::Attribute]) {
        if !attributes.iter().any(|attribute| matches!(attribute.style, syn::AttrStyle::Inner(_))) {
            let at = block.brace_token.span.open().byte_range().end;
            self.0.push(Edit { at, text: TICK.to_owned(), is_tick: true });
        }
    }

    fn runs(signature: &syn::Signature) -> bool {
        let plain = |abi: &syn::Abi| abi.name.as_ref().is_some_and(|name| name.value() == "Rust");
        signature.constness.is_none() && signature.abi.as_ref().is_none_or(plain)
    }
}

impl<'ast> Visit<'ast> for Loops {
    fn visit_expr_for_loop(&mut self, found: &'ast syn::ExprForLoop) {
        self.body(&found.body, &found.attrs);
        visit::visit_expr_for_loop(self, found);
    }
    fn visit_expr_while(&mut self, found: &'ast syn::ExprWhile) {
        self.body(&found.body, &found.attrs);
        visit::visit_expr_while(self, found);
    }
    fn visit_expr_loop(&mut self, found: &'ast syn::ExprLoop) {
        self.body(&found.body, &found.attrs);
        visit::visit_expr_loop(self, found);
    }
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if Self::runs(&item.sig) {
            visit::visit_item_fn(self, item);
        }
    }
    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if Self::runs(&item.sig) {
            visit::visit_impl_item_fn(self, item);
        }
    }
    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if Self::runs(&item.sig) {
            visit::visit_trait_item_fn(self, item);
        }
    }
    fn visit_expr_repeat(&mut self, found: &'ast syn::ExprRepeat) {
        self.visit_expr(&found.expr);
    }
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_item_enum(&mut self, _: &'ast syn::ItemEnum) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_trait_item_const(&mut self, _: &'ast syn::TraitItemConst) {}
    fn visit_expr_const(&mut self, _: &'ast syn::ExprConst) {}
    fn visit_type(&mut self, _: &'ast syn::Type) {}
    fn visit_generics(&mut self, _: &'ast syn::Generics) {}
    fn visit_path_arguments(&mut self, _: &'ast syn::PathArguments) {}
    fn visit_pat(&mut self, _: &'ast syn::Pat) {}
}

fn awaits(tokens: TokenStream) -> bool {
    let mut dot = false;
    tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => awaits(group.stream()),
        TokenTree::Ident(ident) => std::mem::take(&mut dot) && ident == "await",
        TokenTree::Punct(punct) => {
            dot = punct.as_char() == '.';
            false
        }
        TokenTree::Literal(_) => false,
    })
}

/// Returns a part of a cell's text with edits.
pub(crate) fn applied(text: &str, start: usize, edits: &[Edit]) -> String {
    let mut out = text.to_owned();
    for edit in edits.iter().rev() {
        out.insert_str(edit.at - start, &edit.text);
    }
    out
}

/// Writes a part of a cell's text, whose first character stands at `place` (cell, line from 1, column from 0), with edits
/// whose offsets count from the same start.
pub(crate) fn write<'a>(
    source: &mut Source,
    text: &str,
    place: (u32, usize, usize),
    edits: impl Iterator<Item = (usize, &'a str)>,
) {
    let mut from = 0;
    for (at, ours) in edits.chain([(text.len(), "")]) {
        if from < at {
            source.cell(&text[from..at], place_of(text, place, from));
        }
        if !ours.is_empty() {
            source.ours(ours);
        }
        from = at;
    }
}

/// Returns the position of an offset in a text that starts at a position.
pub(crate) fn place_of(text: &str, (cell, line, column): (u32, usize, usize), offset: usize) -> (u32, usize, usize) {
    let before = &text[..offset];
    match before.rsplit_once('\n') {
        None => (cell, line, column + before.chars().count()),
        Some((lines, last)) => (cell, line + lines.matches('\n').count() + 1, last.chars().count()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(code: &str) -> String {
        let statements = syn::parse_str::<syn::File>(&format!("fn f() {{\n{code}\n}}")).unwrap();
        let syn::Item::Fn(function) = &statements.items[0] else { panic!("a function") };
        let all = &function.block.stmts;
        let edits: Vec<Edit> = all.iter().flat_map(|statement| of_statement(statement).edits).collect();
        applied(code, "fn f() {\n".len(), &edits)
    }

    #[test]
    fn loops_of_running_code_listen() {
        let tick = |code: &str| edited(code).matches(TICK).count();
        assert_eq!(edited("loop { f() }"), format!("loop {{{TICK} f() }}"));
        assert_eq!(tick("for i in 0..2 { while x() { let c = || loop {}; } }"), 3);
        assert_eq!(tick("let a = [0; { let mut n = 0; while n < 3 { n += 1; } n }];"), 0);
        assert_eq!(tick("const { let mut n = 0; while n < 3 { n += 1; } };"), 0);
        let item = |code: &str| of_item(&syn::parse_str(code).unwrap()).len();
        assert_eq!(item("fn f() { loop {} }"), 1);
        assert_eq!(item("impl A { fn f() { for x in y { } } const fn g() { while true {} } }"), 1);
        assert_eq!(item("const fn f() { loop {} }"), 0);
        assert_eq!(item("extern \"C\" fn f() { loop {} }"), 0);
        assert_eq!(item("const N: usize = { loop { break 1; } };"), 0);
        assert_eq!(item("mod m { fn f() { loop {} } static S: u8 = loop {}; }"), 1);
    }

    #[test]
    fn a_return_ends_the_cell() {
        assert_eq!(edited("if x { return; }"), "if x { return ::chandlery::cell::ended(); }");
        assert_eq!(edited("return Err(\"é\".into());"), "return  ::chandlery::cell::ended_with(Err(\"é\".into()));");
        assert_eq!(edited("let f = || { return; };"), "let f = || { return; };");
    }
}
