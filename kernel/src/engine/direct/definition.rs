//! Definitions that outlive their cell: functions, types, impls, macros, imports.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::Item;
use syn::spanned::Spanned;
use syn::visit::Visit;

use super::items::At;
use super::names::mentioned;
use super::source::Source;

/// What a definition is found by. A later definition of the same key replaces it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Type(String),
    Value(String),
    Macro(String),
    /// A macro call that expands to items of these names, as far as they are known.
    Call(BTreeSet<String>),
    /// An import, by its tokens.
    Use(String),
    /// An impl, by what stands before its braces; inherent impls also by the names they define.
    Impl(String, BTreeSet<String>),
}

/// One definition, as the user wrote it.
#[derive(Clone, Debug)]
pub(super) struct Definition {
    pub(super) key: Key,
    /// The names of the type that an impl is for. The trait does not count: its methods are called without naming it.
    implements: BTreeSet<String>,
    mentions: BTreeSet<String>,
    /// Its tokens, by which a definition is the same in another layout.
    pub(super) tokens: String,
    pub(super) text: String,
    pub(super) range: Range<usize>,
    pub(super) at: At,
    /// A macro that expands to items.
    pub(super) makes_items: bool,
    /// A constant or a `const fn`.
    constant: bool,
    main: Option<&'static str>,
    statics: Statics,
}

/// The statics in a definition. Each cell that is compiled with the definition has a copy of its own; the loader makes
/// all of them the first one, because they are exported under one name.
#[derive(Clone, Debug, Default)]
struct Statics {
    /// Part of the exported names, so that a static that is defined anew is a new one.
    generation: u32,
    /// Offsets of `static` items in the text, with their names.
    items: Vec<(usize, String)>,
    /// The statics of a `thread_local!`, with their types.
    locals: Vec<(String, String)>,
}

/// Generations of statics; names must not repeat while the process lives that loaded them.
static GENERATION: AtomicU32 = AtomicU32::new(1);

impl Definition {
    pub(super) fn new(item: &Item, text: String, range: Range<usize>, at: At) -> Self {
        let implements = match item {
            Item::Impl(item) => mentioned(&item.self_ty),
            _ => BTreeSet::new(),
        };
        let constant = match item {
            Item::Const(_) => true,
            Item::Fn(item) => item.sig.constness.is_some(),
            _ => false,
        };
        let makes_items =
            matches!(item, Item::Macro(item) if item.ident.is_some() && makes_items(item.mac.tokens.clone()));
        let statics = statics(item, range.start);
        let key = match item {
            Item::Macro(item) if item.ident.is_none() && !statics.locals.is_empty() => {
                Key::Call(statics.locals.iter().map(|(name, _)| name.clone()).collect())
            }
            item => key(item),
        };
        let (mentions, tokens) = (mentioned(item), item.to_token_stream().to_string());
        let main = main(item);
        Self { key, implements, mentions, tokens, text, range, at, makes_items, constant, main, statics }
    }

    /// The names it defines, as far as they are known.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match &self.key {
            Key::Type(name) | Key::Value(name) | Key::Macro(name) => (Some(name), None),
            Key::Call(names) => (None, Some(names)),
            Key::Use(_) | Key::Impl(..) => (None, None),
        };
        one.into_iter().chain(many.into_iter().flatten()).map(String::as_str)
    }

    /// The names in it.
    pub(super) fn mentions(&self) -> &BTreeSet<String> {
        &self.mentions
    }

    /// The names in the type that an impl is for.
    pub(super) fn implements(&self) -> &BTreeSet<String> {
        &self.implements
    }

    /// Macros must stand before their uses.
    pub(super) fn is_macro(&self) -> bool {
        matches!(self.key, Key::Macro(_))
    }

    /// Whether types can be made of it.
    pub(super) fn shapes_types(&self) -> bool {
        self.constant || matches!(self.key, Key::Type(_) | Key::Macro(_) | Key::Call(_))
    }

    /// The call that runs it, if it is a program's `main`.
    pub(super) fn as_main(&self) -> Option<&'static str> {
        self.main
    }

    pub(super) fn replaces(&self, other: &Self) -> bool {
        match (&self.key, &other.key) {
            (Key::Impl(head, names), Key::Impl(old, others)) => {
                head == old && (names.is_empty() || others.is_empty() || !names.is_disjoint(others))
            }
            (Key::Call(new), Key::Call(old)) => self.tokens == other.tokens || !new.is_disjoint(old),
            (new, old) => new == old,
        }
    }

    /// How a notice calls it.
    pub(super) fn title(&self) -> String {
        let head = self.tokens.split(['{', '=', ';']).next().unwrap_or("");
        let mut words = head
            .split_whitespace()
            .skip_while(|word| matches!(*word, "pub" | "async" | "unsafe" | "const" if !head.starts_with("const")));
        match &self.key {
            Key::Type(name) | Key::Value(name) => {
                format!("{} {name}", words.find(|word| KINDS.contains(word)).unwrap_or("item"))
            }
            Key::Macro(name) => format!("{name}!"),
            Key::Call(names) if !names.is_empty() => names.iter().cloned().collect::<Vec<_>>().join(", "),
            Key::Call(_) | Key::Use(_) | Key::Impl(..) => {
                let line = self.text.lines().find(|line| !line.trim_start().starts_with(['/', '#'])).unwrap_or("");
                line.split('{')
                    .next()
                    .filter(|_| matches!(self.key, Key::Impl(..)))
                    .unwrap_or(line)
                    .trim()
                    .trim_end_matches(';')
                    .to_owned()
            }
        }
    }

    /// Its statics are other ones from now on.
    pub(super) fn renew(&mut self) {
        self.statics.generation = GENERATION.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes it.
    pub(super) fn emit(&self, source: &mut Source) {
        let Statics { generation, items, locals } = &self.statics;
        let export =
            |name: &str, at: usize| format!("#[unsafe(export_name = \"chandlery_static_{generation}_{at}_{name}\")]");
        if locals.is_empty() {
            let mut from = 0;
            for (at, name) in items {
                source.cell(&self.text[from..*at], self.place(from));
                source.ours(&export(name, *at));
                from = *at;
            }
            source.cell(&self.text[from..], self.place(from));
        }
        for (index, (name, kind)) in locals.iter().enumerate() {
            source.ours(&format!("{} pub static {name}: ::std::thread::LocalKey<{kind}> = {{", export(name, index)));
            source.cell(&self.text, self.at);
            source.ours(&format!("{name} }};"));
        }
    }

    /// The place of an offset in the text.
    fn place(&self, offset: usize) -> At {
        let (cell, line, column) = self.at;
        let before = &self.text[..offset];
        match before.rsplit_once('\n') {
            None => (cell, line, column + before.chars().count()),
            Some((lines, last)) => (cell, line + lines.matches('\n').count() + 1, last.chars().count()),
        }
    }
}

const KINDS: &[&str] = &["struct", "enum", "union", "type", "trait", "mod", "fn", "const", "static"];

fn main(item: &Item) -> Option<&'static str> {
    let Item::Fn(function) = item else { return None };
    let plain = function.sig.inputs.is_empty() && function.sig.ident == "main";
    let result = function.sig.output.to_token_stream().to_string().contains("Result");
    // An attribute such as `#[tokio::main]` makes an ordinary function of an asynchronous one.
    let waits = function.sig.asyncness.is_some()
        && function
            .attrs
            .iter()
            .all(|attribute| attribute.path().segments.last().is_none_or(|last| last.ident != "main"));
    plain.then_some(match (waits, result) {
        (false, false) => "main();",
        (false, true) => "main()?;",
        (true, false) => "main().await;",
        (true, true) => "main().await?;",
    })
}

fn statics(item: &Item, start: usize) -> Statics {
    struct Found(Vec<(usize, String)>, usize);
    impl<'ast> Visit<'ast> for Found {
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
    let mut found = Found(Vec::new(), start);
    found.visit_item(item);
    let locals = match item {
        Item::Macro(item) if item.mac.path.segments.last().is_some_and(|last| last.ident == "thread_local") => {
            item.mac.parse_body_with(locals).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    let generation =
        if found.0.is_empty() && locals.is_empty() { 0 } else { GENERATION.fetch_add(1, Ordering::Relaxed) };
    Statics { generation, items: found.0, locals }
}

/// The names and types of a `thread_local!`.
fn locals(input: syn::parse::ParseStream<'_>) -> syn::Result<Vec<(String, String)>> {
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

/// Whether what a `macro_rules!` expands to are items, as the first words of its rules tell.
fn makes_items(rules: TokenStream) -> bool {
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

fn key(item: &Item) -> Key {
    let named = |ident: &syn::Ident| ident.to_string();
    match item {
        Item::Struct(item) => Key::Type(named(&item.ident)),
        Item::Enum(item) => Key::Type(named(&item.ident)),
        Item::Union(item) => Key::Type(named(&item.ident)),
        Item::Type(item) => Key::Type(named(&item.ident)),
        Item::Trait(item) => Key::Type(named(&item.ident)),
        Item::TraitAlias(item) => Key::Type(named(&item.ident)),
        Item::Mod(item) => Key::Type(named(&item.ident)),
        Item::Fn(item) => Key::Value(named(&item.sig.ident)),
        Item::Const(item) => Key::Value(named(&item.ident)),
        Item::Static(item) => Key::Value(named(&item.ident)),
        Item::Macro(item) => match &item.ident {
            Some(name) => Key::Macro(named(name)),
            None => Key::Call(BTreeSet::new()),
        },
        Item::Impl(item) => {
            let generics = &item.generics;
            let of = item.trait_.as_ref().map(|(not, path, _)| format!("{} {}", not.is_some(), path.to_token_stream()));
            let head = format!(
                "{} {:?} {} {}",
                generics.to_token_stream(),
                of,
                item.self_ty.to_token_stream(),
                generics.where_clause.to_token_stream()
            );
            let members = item.items.iter().filter_map(|member| match member {
                syn::ImplItem::Fn(member) => Some(member.sig.ident.to_string()),
                syn::ImplItem::Const(member) => Some(member.ident.to_string()),
                _ => None,
            });
            Key::Impl(head, if of.is_some() { BTreeSet::new() } else { members.collect() })
        }
        other => Key::Use(other.to_token_stream().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::split::split;
    use super::*;

    fn definitions(code: &str) -> Vec<Definition> {
        split(code, 1).unwrap().definitions
    }

    #[test]
    fn statics_are_exported_wherever_they_stand() {
        let code = "fn f() -> u8 {\n    static N: u8 = 1;\n    N\n}";
        let mut source = Source::default();
        definitions(code)[0].emit(&mut source);
        let (text, lines) = source.finish();
        let row = text.lines().position(|line| line == "    static N: u8 = 1;").unwrap();
        assert_eq!(lines.cell(row + 1), Some((1, 2)));
        assert!(text.lines().nth(row - 1).unwrap().contains("_N\")]"), "{text}");
    }

    #[test]
    fn thread_locals_are_definitions() {
        let found = definitions("thread_local! { static A: u8 = 1; pub static B: Cell<u8> = const { Cell::new(1) } }");
        assert_eq!(found[0].names().collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(found[0].statics.locals[1].1, "Cell < u8 >");
    }

    #[test]
    fn macros_that_make_items() {
        let makes =
            |rule: &str| definitions(&format!("macro_rules! m {{ ($($t:tt)*) => {{ {rule} }} }}"))[0].makes_items;
        assert!(
            makes("fn f() {}")
                && makes("#[derive(Debug)] pub struct S;")
                && makes("$(#[$m])* $vis enum E {}")
                && makes("$(impl T for $t {})*")
        );
        assert!(!makes("$e * $e") && !makes("let x = 1;") && !makes("unsafe{ f() }") && !makes("$(let $x = 1;)*"));
    }

    #[test]
    fn titles() {
        let titles: Vec<String> = definitions(
            "pub fn f() {} impl<T> A for B<T> { } use a::b; macro_rules! m { () => {} } #[derive(Clone)] struct S;",
        )
        .iter()
        .map(Definition::title)
        .collect();
        assert_eq!(titles, ["fn f", "impl<T> A for B<T>", "use a::b", "m!", "struct S"]);
    }
}
