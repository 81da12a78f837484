//! The names that source mentions, and those that a pattern binds.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit::Visit;

/// Returns every identifier in the tokens, including those in macro bodies and inline format arguments. An identifier after a
/// single dot is a field or a method, not a variable, and is left out.
pub(crate) fn mentioned(tokens: &impl ToTokens) -> BTreeSet<String> {
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
                found.insert(plain(&ident));
            }
            TokenTree::Group(group) => scan(group.stream(), found),
            TokenTree::Literal(literal) => format_arguments(&literal.to_string(), found),
            TokenTree::Ident(_) | TokenTree::Punct(_) => {}
        }
    }
}

/// Returns the names in `{name}`, `{name:?}`, `{0:width$}` and `{:.precision$}` of a string literal.
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

/// Returns a name without the `r#` that a keyword needs.
pub(crate) fn plain(ident: &proc_macro2::Ident) -> String {
    let name = ident.to_string();
    name.strip_prefix("r#").map(str::to_owned).unwrap_or(name)
}

/// Returns a name as it is written in source: keywords need `r#`.
pub(crate) fn written(name: &str) -> String {
    match syn::parse_str::<syn::Ident>(name) {
        Ok(_) => name.to_owned(),
        Err(_) => format!("r#{name}"),
    }
}

/// The targets that a statement assigns to.
#[derive(Default)]
pub(crate) struct Assigned {
    /// The variables that get a new value, by `name = value`.
    pub(crate) names: BTreeSet<String>,
    /// The same, and variables of which a part is assigned, as by `name.field = value` and `(name, other) = value`.
    pub(crate) parts: BTreeSet<String>,
}

/// Returns the variables on the left side of an assignment.
struct Targets<'a>(&'a mut BTreeSet<String>);

impl<'ast> Visit<'ast> for Targets<'_> {
    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        self.0.extend(path.path.get_ident().map(plain));
    }
}

impl<'ast> Visit<'ast> for Assigned {
    fn visit_expr_assign(&mut self, assign: &'ast syn::ExprAssign) {
        if let syn::Expr::Path(path) = &*assign.left {
            self.names.extend(path.path.get_ident().map(plain));
        }
        Targets(&mut self.parts).visit_expr(&assign.left);
        syn::visit::visit_expr_assign(self, assign);
    }
    fn visit_item(&mut self, _: &'ast syn::Item) {}
}

/// The targets that a statement assigns to.
pub(crate) fn assigned(statement: &syn::Stmt) -> Assigned {
    let mut found = Assigned::default();
    found.visit_stmt(statement);
    found
}

/// A variable that a `let` makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) name: String,
    pub(crate) mutable: bool,
    /// Its range in the cell.
    pub(crate) at: usize,
}

/// Returns the variables of a pattern, in order. In a refutable pattern, names that start with a capital letter are
/// constants or variants.
pub(crate) fn bound(pattern: &syn::Pat, refutable: bool) -> Vec<Binding> {
    struct Bound(Vec<Binding>, bool);
    impl<'ast> Visit<'ast> for Bound {
        fn visit_pat_ident(&mut self, pattern: &'ast syn::PatIdent) {
            let name = plain(&pattern.ident);
            let sure = pattern.by_ref.is_some() || pattern.mutability.is_some();
            if sure || !(self.1 && name.starts_with(char::is_uppercase)) {
                self.0.push(Binding {
                    name,
                    mutable: pattern.mutability.is_some(),
                    at: pattern.ident.span().byte_range().start,
                });
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
    fn fields_are_not_variables_and_ranges_are() {
        assert_eq!(names("a.b(c).d; 0..e; f..=g"), ["a", "c", "e", "f", "g"]);
    }

    #[test]
    fn macro_bodies_and_format_arguments() {
        assert_eq!(names(r#"println!("{x} {y:?} {:w$.p$} {{z}} {0}", q)"#), ["p", "println", "q", "w", "x", "y", "z"]);
    }

    #[test]
    fn keywords_are_written_raw() {
        assert_eq!(
            (written("type").as_str(), written("a").as_str(), written("größe").as_str()),
            ("r#type", "a", "größe")
        );
        let statement = syn::parse_str("if x { r#type = 1; y.z = 2; w = 3; (u, v[0]) = t; }").unwrap();
        let found = assigned(&statement);
        assert_eq!(found.names.into_iter().collect::<Vec<_>>(), ["type", "w"]);
        assert_eq!(found.parts.into_iter().collect::<Vec<_>>(), ["type", "u", "v", "w", "y"]);
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
