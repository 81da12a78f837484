//! The statics in a definition.

use std::sync::atomic::{AtomicU32, Ordering};

use quote::ToTokens;
use syn::Item;
use syn::spanned::Spanned;
use syn::visit::Visit;

/// The statics in a definition. Each cell that is compiled with the definition has its own copy; the loader resolves
/// all of them to the first one, because they are exported under one name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statics {
    /// Part of the exported names, so that a redefined static is a new one.
    generation: u32,
    /// Offsets of `static` items in the text, with their names.
    pub(crate) items: Vec<(usize, String)>,
    /// The statics of a `thread_local!`, with their types.
    pub(crate) locals: Vec<(String, String)>,
}

/// Counts generations of statics; names must not repeat while the process that loaded them lives.
static GENERATION: AtomicU32 = AtomicU32::new(1);

impl Statics {
    /// Returns the statics in an item whose text starts at this offset of its cell.
    pub(crate) fn of(item: &Item, start: usize) -> Self {
        struct Finder(Vec<(usize, String)>, usize);
        impl<'ast> Visit<'ast> for Finder {
            fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
                let named = |attribute: &syn::Attribute| {
                    let text = attribute.to_token_stream().to_string();
                    ["no_mangle", "export_name", "link_section"].iter().any(|name| text.contains(name))
                };
                if !item.attrs.iter().any(named) {
                    self.0.push((item.span().byte_range().start - self.1, item.ident.to_string()));
                }
            }
        }
        let mut found = Finder(Vec::new(), start);
        found.visit_item(item);
        let locals = match item {
            Item::Macro(item) if item.mac.path.segments.last().is_some_and(|last| last.ident == "thread_local") => {
                item.mac.parse_body_with(thread_locals).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let generation =
            if found.0.is_empty() && locals.is_empty() { 0 } else { GENERATION.fetch_add(1, Ordering::Relaxed) };
        Self { generation, items: found.0, locals }
    }

    /// Makes them new ones.
    pub(crate) fn renew(&mut self) {
        self.generation = GENERATION.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the attribute that exports a static; its number or offset distinguishes it from others of its name.
    pub(crate) fn export(&self, name: &str, at: usize) -> String {
        format!("#[unsafe(export_name = \"chandlery_static_{}_{at}_{name}\")]", self.generation)
    }
}

/// Returns the names and types of a `thread_local!`.
fn thread_locals(input: syn::parse::ParseStream<'_>) -> syn::Result<Vec<(String, String)>> {
    let mut locals = Vec::new();
    while !input.is_empty() {
        input.call(syn::Attribute::parse_outer)?;
        input.parse::<syn::Visibility>()?;
        input.parse::<syn::Token![static]>()?;
        let name: syn::Ident = input.parse()?;
        input.parse::<syn::Token![:]>()?;
        let kind: syn::Type = input.parse()?;
        input.parse::<syn::Token![=]>()?;
        if input.peek(syn::Token![const]) {
            input.parse::<syn::Token![const]>()?;
            input.parse::<syn::Block>()?;
        } else {
            input.parse::<syn::Expr>()?;
        }
        input.parse::<Option<syn::Token![;]>>()?;
        locals.push((name.to_string(), kind.to_token_stream().to_string()));
    }
    Ok(locals)
}

#[cfg(test)]
mod tests {
    use super::super::split::split;
    use super::*;
    use crate::engine::direct::generate::source::Source;

    #[test]
    fn statics_are_exported_everywhere() {
        let code = "fn f() -> u8 {\n    static N: u8 = 1;\n    N\n}";
        let mut source = Source::default();
        split(code, 1).unwrap().definitions[0].emit(true, &mut source);
        let (text, lines) = source.finish();
        let row = text.lines().position(|line| line == "    static N: u8 = 1;").unwrap();
        assert_eq!(lines.cell(row + 1), Some((1, 2)));
        assert!(text.lines().nth(row - 1).unwrap().contains("_N\")]"), "{text}");
    }

    #[test]
    fn thread_locals_are_statics() {
        let text = "thread_local! { static A: u8 = 1; pub static B: Cell<u8> = const { Cell::new(1) } }";
        let found = Statics::of(&syn::parse_str(text).unwrap(), 0);
        let found: Vec<(&str, &str)> = found.locals.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
        assert_eq!(found, [("A", "u8"), ("B", "Cell < u8 >")]);
    }
}
