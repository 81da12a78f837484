//! Which names a piece of source mentions, and which ones a pattern binds.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit::Visit;

/// Every identifier in the tokens, those in macro bodies and in inline format arguments included. What follows a
/// single dot is a field or a method, not a variable, and is left out.
pub(super) fn mentioned(tokens: &impl ToTokens) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    scan(tokens.to_token_stream(), &mut found);
    found
}

fn scan(tokens: TokenStream, found: &mut BTreeSet<String>) {
    let mut dots = 0;
    for token in tokens {
        let after_dot = dots == 1;
        dots = match &token {
            TokenTree::Punct(punct) if punct.as_char() == '.' => dots + 1,
            _ => 0,
        };
        match token {
            TokenTree::Ident(ident) if !after_dot => {
                found.insert(ident.to_string().trim_start_matches("r#").to_owned());
            }
            TokenTree::Group(group) => scan(group.stream(), found),
            TokenTree::Literal(literal) => format_arguments(&literal.to_string(), found),
            TokenTree::Ident(_) | TokenTree::Punct(_) => {}
        }
    }
}

/// The names in `{name}`, `{name:?}`, `{0:width$}` and `{:.precision$}` of a string literal.
fn format_arguments(literal: &str, found: &mut BTreeSet<String>) {
    if !literal.contains('"') {
        return;
    }
    for piece in literal.split('{').skip(1) {
        let Some((argument, _)) = piece.split_once('}') else { continue };
        let (name, spec) = argument.split_once(':').unwrap_or((argument, ""));
        let sizes = spec.split('$').rev().skip(1).map(|size| {
            let start = size.rfind(|c: char| !(c.is_alphanumeric() || c == '_')).map_or(0, |at| at + 1);
            size.get(start..).unwrap_or("")
        });
        let names = std::iter::once(name.trim()).chain(sizes);
        found.extend(names.filter(|name| is_name(name)).map(str::to_owned));
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_') && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// A variable that a `let` makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binding {
    pub(super) name: String,
    pub(super) mutable: bool,
}

/// The variables of a pattern, in order. In a pattern that may fail to match, names that start with a capital letter are
/// constants or variants.
pub(super) fn bound(pattern: &syn::Pat, refutable: bool) -> Vec<Binding> {
    struct Bound(Vec<Binding>, bool);
    impl<'ast> Visit<'ast> for Bound {
        fn visit_pat_ident(&mut self, pattern: &'ast syn::PatIdent) {
            let name = pattern.ident.to_string();
            let sure = pattern.by_ref.is_some() || pattern.mutability.is_some();
            if sure || !(self.1 && name.starts_with(char::is_uppercase)) {
                self.0.push(Binding { name, mutable: pattern.mutability.is_some() });
            }
            syn::visit::visit_pat_ident(self, pattern);
        }
        fn visit_expr(&mut self, _: &'ast syn::Expr) {}
    }
    let mut bound = Bound(Vec::new(), refutable);
    bound.visit_pat(pattern);
    bound.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(code: &str) -> Vec<String> {
        mentioned(&code.parse::<TokenStream>().unwrap()).into_iter().collect()
    }

    #[test]
    fn fields_are_no_variables_and_ranges_are() {
        assert_eq!(names("a.b(c).d; 0..e; f..=g"), ["a", "c", "e", "f", "g"]);
    }

    #[test]
    fn macro_bodies_and_format_arguments() {
        assert_eq!(names(r#"println!("{x} {y:?} {:w$.p$} {{z}} {0}", q)"#), ["p", "println", "q", "w", "x", "y", "z"]);
    }

    #[test]
    fn patterns() {
        let pattern = |code: &str| match syn::parse_str::<syn::Stmt>(code).unwrap() {
            syn::Stmt::Local(local) => bound(&local.pat, local.init.is_some_and(|init| init.diverge.is_some())),
            _ => Vec::new(),
        };
        let names = |code| pattern(code).into_iter().map(|b| b.name).collect::<Vec<_>>();
        assert_eq!(names("let (a, P { b, c: [d, ..], .. }) = x;"), ["a", "b", "d"]);
        assert_eq!(names("let (None, _) = x else { return };"), [""; 0]);
        assert_eq!(names("let (X, y) = x;"), ["X", "y"]);
        assert!(pattern("let mut a = 1;")[0].mutable);
    }
}
