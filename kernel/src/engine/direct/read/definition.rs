//! Definitions that outlive their cell: functions, types, impls, macros, imports.

use std::collections::BTreeSet;
use std::ops::Range;

use quote::ToTokens;
use syn::Item;

use super::edits::{self, Edit};
use super::files::{FileFolders, Mention};
use super::imports;
use super::item_facts::{file_mentions, main, makes_types, offers, parameters, shapes};
use super::key::DefinitionKey;
use super::macros::{has_let, makes_items};
use super::names::mentioned;
use super::statics::Statics;
use crate::engine::direct::generate::source::Source;
use crate::engine::direct::session::items::At;

/// One definition, as the user wrote it.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    pub(crate) key: DefinitionKey,
    /// The names of the type that an impl is for. The trait does not count: its methods are called without naming it.
    implements: BTreeSet<String>,
    mentions: BTreeSet<String>,
    /// Its tokens: definitions that differ only in layout are the same.
    pub(crate) tokens: String,
    pub(crate) text: String,
    pub(crate) range: Range<usize>,
    pub(crate) at: At,
    /// A macro that expands to items.
    pub(crate) makes_items: bool,
    /// A macro with a `let` in it.
    pub(crate) has_let: bool,
    /// Whether the layout of types can depend on it.
    shapes: bool,
    is_function: bool,
    /// Whether it is a function whose body or signature makes types of its own.
    makes_types: bool,
    /// The names in the head of an impl, without its own parameters.
    head: BTreeSet<String>,
    /// The names that a glob import of it brings.
    offers: BTreeSet<String>,
    /// The names that it imports, and the same with their paths.
    imports: BTreeSet<String>,
    import_paths: Vec<(String, String)>,
    main: Option<MainCall>,
    statics: Statics,
    /// Insertions, such as the interrupt checks of its loops, by offset in its text.
    edits: Vec<Edit>,
    /// The files and lines that it names, by offset in the cell.
    files: Vec<Mention>,
}

/// The call that runs a program's `main`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MainCall {
    /// Whether it is asynchronous.
    pub(crate) waits: bool,
    /// Whether it returns a `Result`.
    pub(crate) fails: bool,
    /// Whether its error is shown with `Debug`.
    pub(crate) by_debug: bool,
}

impl MainCall {
    /// Returns a statement that fails if the program fails.
    pub(crate) fn text(self) -> String {
        let waits = if self.waits { ".await" } else { "" };
        let by_debug = if self.by_debug { ".map_err(::chandlery::cell::by_debug)" } else { "" };
        let fails = if self.fails { "?" } else { "" };
        let call = format!("main(){waits}{by_debug}{fails}");
        format!("::chandlery::cell::exited(::std::process::Termination::report({call}))?;")
    }
}

impl Definition {
    pub(crate) fn new(item: &Item, text: String, range: Range<usize>, at: At) -> Self {
        let own = parameters(item);
        let without_own = |mut names: BTreeSet<String>| {
            names.retain(|name| !own.contains(name));
            names
        };
        let (implements, head) = match item {
            Item::Impl(item) => {
                let implements = without_own(mentioned(&item.self_ty));
                let of = item.trait_.as_ref().map(|(_, path, _)| mentioned(path)).unwrap_or_default();
                (implements.clone(), implements.union(&without_own(of)).cloned().collect())
            }
            _ => (BTreeSet::new(), BTreeSet::new()),
        };
        let (imports, import_paths) = match item {
            Item::Use(item) => (imports::names(item), imports::named_paths(item)),
            _ => (BTreeSet::new(), Vec::new()),
        };
        let makes_items =
            matches!(item, Item::Macro(item) if item.ident.is_some() && makes_items(item.mac.tokens.clone()));
        let has_let = matches!(item, Item::Macro(item) if has_let(item.mac.tokens.clone()));
        let statics = Statics::of(item, range.start);
        let key = match item {
            Item::Macro(item) if item.ident.is_none() && !statics.locals.is_empty() => {
                DefinitionKey::Call(statics.locals.iter().map(|(name, _)| name.clone()).collect())
            }
            item => DefinitionKey::of(item),
        };
        let (mentions, tokens) = (mentioned(item), item.to_token_stream().to_string());
        let main = main(item);
        let (shapes, makes_types, offers) = (shapes(item), makes_types(item), offers(item));
        let edits = edits::of_item(item).into_iter().map(|edit| Edit { at: edit.at - range.start, ..edit }).collect();
        Self {
            key,
            implements,
            mentions,
            tokens,
            text,
            range,
            at,
            makes_items,
            has_let,
            shapes,
            makes_types,
            is_function: matches!(item, Item::Fn(_)),
            head,
            offers,
            imports,
            import_paths,
            main,
            statics,
            edits,
            files: file_mentions(item),
        }
    }

    /// Returns the names it defines, as far as they are known.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match &self.key {
            DefinitionKey::Type(name) | DefinitionKey::Value(name) | DefinitionKey::Macro(name) => (Some(name), None),
            DefinitionKey::Call(names) => (None, Some(names)),
            DefinitionKey::Use(_) | DefinitionKey::Impl(..) => (None, None),
        };
        one.into_iter().chain(many.into_iter().flatten()).map(String::as_str)
    }

    /// Returns the names that it makes values: functions, constants, statics, and imports that may be such.
    pub(crate) fn values(&self) -> impl Iterator<Item = &str> {
        let own = match &self.key {
            DefinitionKey::Value(name) => Some(name.as_str()),
            _ => None,
        };
        own.into_iter().chain(self.imports())
    }

    /// Returns the names that it mentions.
    pub(crate) fn mentions(&self) -> &BTreeSet<String> {
        &self.mentions
    }

    /// Returns the names in the type that an impl is for.
    pub(crate) fn implements(&self) -> &BTreeSet<String> {
        &self.implements
    }

    /// Returns whether it is a macro, which must come before its uses.
    pub(crate) fn is_macro(&self) -> bool {
        matches!(self.key, DefinitionKey::Macro(_))
    }

    /// Returns whether the layout of types can depend on it.
    pub(crate) fn shapes_types(&self) -> bool {
        self.shapes
    }

    /// Whether it is a type, a trait, a module or a macro call that may define some.
    pub(crate) fn is_type(&self) -> bool {
        matches!(self.key, DefinitionKey::Type(_) | DefinitionKey::Call(_))
    }

    /// Whether it is a function whose body or signature makes types of its own.
    pub(crate) fn makes_types(&self) -> bool {
        self.makes_types
    }

    /// Whether it is a function.
    pub(crate) fn is_function(&self) -> bool {
        self.is_function
    }

    /// Whether it holds statics.
    pub(crate) fn has_statics(&self) -> bool {
        !self.statics.items.is_empty() || !self.statics.locals.is_empty()
    }

    /// The names in the head of an impl, without its own parameters.
    pub(crate) fn head(&self) -> impl Iterator<Item = &str> {
        self.head.iter().map(String::as_str)
    }

    /// The names that a glob import of it brings.
    pub(crate) fn offers(&self) -> impl Iterator<Item = &str> {
        self.offers.iter().map(String::as_str)
    }

    /// The names that it imports.
    pub(crate) fn imports(&self) -> impl Iterator<Item = &str> {
        self.imports.iter().map(String::as_str)
    }

    /// The names that it imports, each with its path; `*` for all names of a path.
    pub(crate) fn import_paths(&self) -> &[(String, String)] {
        &self.import_paths
    }

    /// Returns the call that runs it, if it is a program's `main`.
    pub(crate) fn as_main(&self) -> Option<MainCall> {
        self.main
    }

    pub(crate) fn replaces(&self, other: &Self) -> bool {
        match (&self.key, &other.key) {
            (DefinitionKey::Impl(head, names), DefinitionKey::Impl(old, others)) => {
                head == old && (names.is_empty() || others.is_empty() || !names.is_disjoint(others))
            }
            (DefinitionKey::Call(new), DefinitionKey::Call(old)) => {
                self.tokens == other.tokens || !new.is_disjoint(old)
            }
            (new, old) => new == old,
        }
    }

    /// Returns how notices call it.
    pub(crate) fn title(&self) -> String {
        let head = self.tokens.split(['{', '=', ';']).next().unwrap_or("");
        let mut words = head
            .split_whitespace()
            .skip_while(|word| matches!(*word, "pub" | "async" | "unsafe" | "const" if !head.starts_with("const")));
        match &self.key {
            DefinitionKey::Type(name) | DefinitionKey::Value(name) => {
                format!("{} {name}", words.find(|word| KINDS.contains(word)).unwrap_or("item"))
            }
            DefinitionKey::Macro(name) => format!("{name}!"),
            DefinitionKey::Call(names) if !names.is_empty() => names.iter().cloned().collect::<Vec<_>>().join(", "),
            DefinitionKey::Call(_) | DefinitionKey::Use(_) | DefinitionKey::Impl(..) => {
                let line = self.text.lines().find(|line| !line.trim_start().starts_with(['/', '#'])).unwrap_or("");
                line.split('{')
                    .next()
                    .filter(|_| matches!(self.key, DefinitionKey::Impl(..)))
                    .unwrap_or(line)
                    .trim()
                    .trim_end_matches(';')
                    .to_owned()
            }
        }
    }

    /// Returns it without the names that these import again from the same place; `None` if nothing is left.
    pub(crate) fn unless_imported(&self, others: &[Self]) -> Option<Self> {
        let imports = |item: &&Self| matches!(item.key, DefinitionKey::Use(_));
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

    /// Returns an import without the name at a position, and that name.
    pub(crate) fn without_import(&self, (_, line, column): At) -> Option<(String, Self)> {
        let (_, first, indent) = self.at;
        // Counted from 1, as in messages. The first line begins at the definition's column.
        let before = if line == first { indent + 1 } else { 1 };
        let row = line.checked_sub(first)?;
        let start: usize = self.text.split_inclusive('\n').take(row).map(str::len).sum();
        let (inside, _) = self.text[start..].char_indices().nth(column.checked_sub(before)?)?;
        let (name, text) = imports::without(&self.text, start + inside)?;
        let item = syn::parse_str::<Item>(&text).ok()?;
        Some((name, Self::new(&item, text, self.range.clone(), self.at)))
    }

    /// Resolves the files that it names relative to the notebook, with their present contents.
    ///
    /// # Errors
    /// A module's file that does not exist, by offset in the cell.
    pub(crate) fn place(&mut self, places: &FileFolders<'_>) -> Result<(), (usize, String)> {
        if self.files.is_empty() {
            return Ok(());
        }
        let (edits, contents) = places.edits(&self.files, true)?;
        let start = self.range.start;
        self.edits.extend(edits.into_iter().map(|edit| Edit { at: edit.at - start, ..edit }));
        self.edits.sort_by_key(|edit| edit.at);
        self.tokens.push_str(&contents);
        Ok(())
    }

    /// Makes its statics new ones.
    pub(crate) fn renew(&mut self) {
        self.statics.renew();
    }

    /// Writes it, with or without interrupt checks.
    pub(crate) fn emit(&self, ticks: bool, source: &mut Source) {
        let Statics { items, locals, .. } = &self.statics;
        if locals.is_empty() {
            let exports: Vec<(usize, String)> =
                items.iter().map(|(at, name)| (*at, self.statics.export(name, *at))).collect();
            let exports = exports.iter().map(|(at, text)| (*at, text.as_str()));
            let edits = self.edits.iter().filter(|edit| ticks || !edit.is_tick);
            let mut all: Vec<(usize, &str)> = exports.chain(edits.map(|edit| (edit.at, edit.text.as_str()))).collect();
            all.sort_by_key(|(at, _)| *at);
            edits::write(source, &self.text, self.at, all.into_iter());
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
}

const KINDS: &[&str] = &["struct", "enum", "union", "type", "trait", "mod", "fn", "const", "static"];

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
