//! Definitions that outlive their cell: functions, types, impls, macros, imports.

use std::collections::BTreeSet;
use std::ops::Range;

use quote::ToTokens;
use syn::Item;

use super::names::mentioned;

/// What a definition is found by. A later definition of the same key replaces it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Type(String),
    Value(String),
    Macro(String),
    /// An import, by its tokens.
    Use(String),
    /// An impl, by what stands before its braces; inherent impls also by the names they define.
    Impl(String, BTreeSet<String>),
}

/// One definition, as the user wrote it.
#[derive(Clone, Debug)]
pub(super) struct Definition {
    key: Key,
    /// The names of the type that an impl is for. The trait does not count: its methods are called without naming it.
    implements: BTreeSet<String>,
    mentions: BTreeSet<String>,
    pub(super) text: String,
    pub(super) range: Range<usize>,
    /// Cell, line (from 1) and column (from 0, in characters) of its first character.
    pub(super) at: (u32, usize, usize),
}

impl Definition {
    pub(super) fn new(item: &Item, text: String, range: Range<usize>, at: (u32, usize, usize)) -> Self {
        let key = key(item);
        let implements = match item {
            Item::Impl(item) => mentioned(&item.self_ty),
            _ => BTreeSet::new(),
        };
        Self { key, implements, mentions: mentioned(item), text, range, at }
    }

    /// The name it defines, if it defines one.
    pub(super) fn name(&self) -> Option<&str> {
        match &self.key {
            Key::Type(name) | Key::Value(name) | Key::Macro(name) => Some(name),
            Key::Use(_) | Key::Impl(..) => None,
        }
    }

    /// The names in it.
    pub(super) fn mentions(&self) -> &BTreeSet<String> {
        &self.mentions
    }

    /// Macros must stand before their uses.
    pub(super) fn is_macro(&self) -> bool {
        matches!(self.key, Key::Macro(_))
    }

    fn replaces(&self, other: &Self) -> bool {
        match (&self.key, &other.key) {
            (Key::Impl(head, names), Key::Impl(old, others)) => {
                head == old && (names.is_empty() || others.is_empty() || !names.is_disjoint(others))
            }
            (new, old) => new == old,
        }
    }
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
        Item::Macro(item) => Key::Macro(item.ident.as_ref().map(named).unwrap_or_default()),
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

/// The definitions in force.
#[derive(Clone, Debug, Default)]
pub(super) struct Items(Vec<Definition>);

impl Items {
    /// These definitions with a cell's own in place of those they replace.
    pub(super) fn with(&self, new: &[Definition]) -> Self {
        let kept = self.0.iter().filter(|old| !new.iter().any(|new| new.replaces(old)));
        Self(kept.chain(new).cloned().collect())
    }

    /// Types whose definition changes when `new` comes into force, those built from them included. Values of such
    /// types are not what the new definition says, so variables that hold them must go.
    pub(super) fn changed_types(&self, new: &[Definition]) -> BTreeSet<String> {
        let changes = |old: &&Definition| new.iter().any(|new| new.replaces(old) && new.text != old.text);
        let types = |definition: &&Definition| matches!(definition.key, Key::Type(_));
        let mut changed: BTreeSet<String> =
            self.0.iter().filter(types).filter(changes).filter_map(|old| old.name().map(str::to_owned)).collect();
        loop {
            let before = changed.len();
            let users = self.0.iter().filter(types).filter(|user| !user.mentions.is_disjoint(&changed));
            let users: Vec<String> = users.filter_map(|user| user.name().map(str::to_owned)).collect();
            changed.extend(users);
            if changed.len() == before {
                return changed;
            }
        }
    }

    /// The definitions that a piece of source can need: those it names, what those name, impls for those types and for
    /// foreign ones with their traits, and all imports, in the order they were given, macros first. Leaving out the rest keeps late cells as quick as early ones.
    pub(super) fn needed(&self, mentions: &BTreeSet<String>) -> Vec<&Definition> {
        let defined: BTreeSet<&str> = self.0.iter().filter_map(Definition::name).collect();
        let mut reached = mentions.clone();
        let mut taken = vec![false; self.0.len()];
        loop {
            let mut grew = false;
            for (item, taken) in self.0.iter().zip(&mut taken).filter(|(_, taken)| !**taken) {
                let needed = match &item.key {
                    Key::Use(_) => true,
                    Key::Impl(..) => {
                        item.implements.iter().all(|name| reached.contains(name) || !defined.contains(name.as_str()))
                    }
                    Key::Type(name) | Key::Value(name) | Key::Macro(name) => reached.contains(name),
                };
                if needed {
                    *taken = true;
                    grew = true;
                    reached.extend(item.mentions.iter().cloned());
                }
            }
            if !grew {
                break;
            }
        }
        let mut needed: Vec<&Definition> =
            self.0.iter().zip(taken).filter_map(|(item, taken)| taken.then_some(item)).collect();
        needed.sort_by_key(|item| !item.is_macro());
        needed
    }

    /// Whether a type of this name is defined in a cell.
    pub(super) fn has_type(&self, name: &str) -> bool {
        self.0.iter().any(|item| matches!(&item.key, Key::Type(defined) if defined == name))
    }

    /// All definitions, macros first.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        let part = |macros: bool| self.0.iter().filter(move |item| item.is_macro() == macros);
        part(true).chain(part(false)).map(|item| item.text.as_str())
    }

    /// The defined names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(Definition::name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::split::split;
    use super::*;

    fn items(cells: &[&str]) -> Items {
        cells.iter().enumerate().fold(Items::default(), |items, (at, code)| {
            items.with(&split(code, u32::try_from(at).unwrap()).unwrap().definitions)
        })
    }

    fn texts(items: &Items, names: &[&str]) -> Vec<String> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        items.needed(&names).into_iter().map(|item| item.text.clone()).collect()
    }

    #[test]
    fn redefinition_replaces() {
        let items = items(&["fn f() {}", "fn f() -> i32 { 1 }", "impl A { fn x() {} }", "impl A { fn y() {} }"]);
        assert_eq!(texts(&items, &["f", "A"]).len(), 3);
        let items = items.with(&split("impl A { fn x(&self) {} }", 9).unwrap().definitions);
        assert_eq!(texts(&items, &["A"]), ["impl A { fn y() {} }", "impl A { fn x(&self) {} }"]);
    }

    #[test]
    fn only_what_is_needed() {
        let items = items(&[
            "struct P; struct Q(P); fn q() -> Q { Q(P) } fn other() {}",
            "trait T {} impl T for P {} impl T for Vec<i32> {} macro_rules! m { () => {} } use std::fmt;",
        ]);
        // q, Q, P, use, both impls and their trait.
        assert_eq!(texts(&items, &["q"]).len(), 7);
        assert_eq!(texts(&items, &[]).len(), 3);
        assert!(texts(&items, &[]).contains(&"impl T for Vec<i32> {}".to_owned()));
        assert!(texts(&items, &["m", "other"])[0].starts_with("macro_rules"));
    }

    #[test]
    fn changed_types_spread() {
        let items = items(&["struct P; struct Q(P); fn f(_: P) {}"]);
        let changed = items.changed_types(&split("struct P(i32);", 2).unwrap().definitions);
        assert_eq!(changed.into_iter().collect::<Vec<_>>(), ["P", "Q"]);
        assert!(items.changed_types(&split("struct P;", 2).unwrap().definitions).is_empty());
    }
}
