//! What a `macro_rules!` expands to, as far as its text tells.

use proc_macro2::{TokenStream, TokenTree};

/// Whether what a `macro_rules!` expands to are items, as the first words of its rules tell.
pub(super) fn makes_items(rules: TokenStream) -> bool {
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
            // `#[…]`, `$(#[$meta])*` and `$vis` may stand before an item.
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
