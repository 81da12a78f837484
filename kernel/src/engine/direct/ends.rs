//! What statements do to the function they stand in: return from it, and wait in it.

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{Item, Stmt};

/// What a statement does.
#[derive(Default)]
pub(super) struct Ends {
    /// Offsets behind each `return` without a value.
    pub(super) returns: Vec<usize>,
    pub(super) awaits: bool,
}

impl<'ast> Visit<'ast> for Ends {
    fn visit_expr_return(&mut self, expression: &'ast syn::ExprReturn) {
        if expression.expr.is_none() {
            self.returns.push(expression.span().byte_range().end);
        }
        syn::visit::visit_expr_return(self, expression);
    }
    fn visit_expr_await(&mut self, expression: &'ast syn::ExprAwait) {
        self.awaits = true;
        syn::visit::visit_expr_await(self, expression);
    }
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.awaits |= awaits(call.tokens.clone());
    }
    fn visit_expr_closure(&mut self, _: &'ast syn::ExprClosure) {}
    fn visit_expr_async(&mut self, _: &'ast syn::ExprAsync) {}
    fn visit_item(&mut self, _: &'ast Item) {}
}

impl Ends {
    pub(super) fn of(statement: &Stmt) -> Self {
        let mut ends = Self::default();
        ends.visit_stmt(statement);
        ends
    }
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
