//! Definitions that outlive their cell: functions, types, impls, macros, imports.

use std::collections::BTreeSet;
use std::ops::Range;

use quote::ToTokens;
use syn::Item;

use super::imports;
use super::items::At;
use super::key::Key;
use super::macros::makes_items;
use super::names::mentioned;
use super::source::Source;
use super::statics::Statics;

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
        let statics = Statics::of(item, range.start);
        let key = match item {
            Item::Macro(item) if item.ident.is_none() && !statics.locals.is_empty() => {
                Key::Call(statics.locals.iter().map(|(name, _)| name.clone()).collect())
            }
            item => Key::of(item),
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

    /// Without what these import once more from the same place; nothing if nothing is left.
    pub(super) fn unless_imported(&self, others: &[Self]) -> Option<Self> {
        let imports = |item: &&Self| matches!(item.key, Key::Use(_));
        let texts: Vec<String> = others.iter().filter(imports).map(|other| other.text.clone()).collect();
        if texts.is_empty() || !imports(&self) {
            return Some(self.clone());
        }
        let text = imports::unless(&self.text, &texts)?;
        match syn::parse_str::<Item>(&text) {
            Ok(item) if text != self.text => Some(Self::new(&item, text, self.range.clone(), self.at)),
            _ => Some(self.clone()),
        }
    }

    /// An import without the name that it brings at a place, and that name.
    pub(super) fn without_import(&self, (_, line, column): At) -> Option<(String, Self)> {
        let (_, first, indent) = self.at;
        // From 1, as messages count; the first line begins where the definition stands.
        let before = if line == first { indent + 1 } else { 1 };
        let row = line.checked_sub(first)?;
        let start: usize = self.text.split_inclusive('\n').take(row).map(str::len).sum();
        let (inside, _) = self.text[start..].char_indices().nth(column.checked_sub(before)?)?;
        let (name, text) = imports::without(&self.text, start + inside)?;
        let item = syn::parse_str::<Item>(&text).ok()?;
        Some((name, Self::new(&item, text, self.range.clone(), self.at)))
    }

    /// Its statics are other ones from now on.
    pub(super) fn renew(&mut self) {
        self.statics.renew();
    }

    /// Writes it.
    pub(super) fn emit(&self, source: &mut Source) {
        let Statics { items, locals, .. } = &self.statics;
        if locals.is_empty() {
            let mut from = 0;
            for (at, name) in items {
                source.cell(&self.text[from..*at], self.place(from));
                source.ours(&self.statics.export(name, *at));
                from = *at;
            }
            source.cell(&self.text[from..], self.place(from));
        }
        for (index, (name, kind)) in locals.iter().enumerate() {
            source.ours(&format!(
                "{} pub static {name}: ::std::thread::LocalKey<{kind}> = {{",
                self.statics.export(name, index)
            ));
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

#[cfg(test)]
mod tests {
    use super::super::split::split;
    use super::*;

    #[test]
    fn titles() {
        let titles: Vec<String> = split(
            "pub fn f() {} impl<T> A for B<T> { } use a::b; macro_rules! m { () => {} } #[derive(Clone)] struct S; thread_local! { static N: u8 = 1; static O: u8 = 2 }",
            1,
        )
        .unwrap()
        .definitions
        .iter()
        .map(Definition::title)
        .collect();
        assert_eq!(titles, ["fn f", "impl<T> A for B<T>", "use a::b", "m!", "struct S", "N, O"]);
    }
}
