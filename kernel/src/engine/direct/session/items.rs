//! The definitions in force: which are replaced, which change with others, and which a piece of source needs.

use std::collections::BTreeSet;

use super::reach::Reach;
use crate::engine::direct::read::definition::Definition;
use crate::engine::direct::read::key::DefinitionKey;

/// Cell, line (from 1) and column (from 0, in characters) of a definition's first character.
pub(crate) type At = (u32, usize, usize);

/// The definitions in force.
#[derive(Clone, Debug, Default)]
pub(crate) struct Items(Vec<Definition>);

impl Items {
    /// Returns these definitions with a cell's own in place of those they replace.
    pub(crate) fn with(&self, new: &[Definition]) -> Self {
        let kept = self.0.iter().filter(|old| !new.iter().any(|new| new.replaces(old)));
        let kept = kept.filter_map(|old| old.unless_imported(new));
        let mut items = Self(kept.chain(new.iter().cloned()).collect());
        if items.0.iter().any(Definition::has_statics) {
            // A static whose type was redefined is a new static.
            let changed = self.changed_types(&items);
            let statics = items.0.iter_mut().filter(|item| !item.mentions().is_disjoint(&changed));
            statics.for_each(Definition::renew);
        }
        items
    }

    /// Returns all definitions, macros first.
    pub(crate) fn all(&self) -> Vec<&Definition> {
        let mut all: Vec<&Definition> = self.0.iter().collect();
        all.sort_by_key(|item| !item.is_macro());
        all
    }

    /// Returns whether a function of this name is defined.
    pub(crate) fn is_function(&self, name: &str) -> bool {
        self.0.iter().any(|item| item.is_function() && item.names().any(|own| own == name))
    }

    /// Returns these definitions without some.
    pub(crate) fn without(&self, dropped: &BTreeSet<At>) -> Self {
        Self(self.0.iter().filter(|item| !dropped.contains(&item.at)).cloned().collect())
    }

    /// Returns the names that `new` defines differently.
    pub(crate) fn changed(&self, new: &[Definition]) -> BTreeSet<String> {
        self.differ(new).flat_map(Definition::names).map(str::to_owned).collect()
    }

    fn differ<'a>(&'a self, new: &'a [Definition]) -> impl Iterator<Item = &'a Definition> {
        self.0.iter().filter(|old| new.iter().any(|new| new.replaces(old) && new.tokens != old.tokens))
    }

    /// Returns types that have another meaning in other definitions, so that stored values do not fit them.
    pub(crate) fn changed_types(&self, other: &Self) -> BTreeSet<String> {
        Reach::of(self).changed_types(&Reach::of(other))
    }

    /// Returns the definitions that depend on these names, also indirectly.
    pub(crate) fn dependents(&self, names: &BTreeSet<String>) -> BTreeSet<At> {
        let spread = self.spread(names.clone());
        self.0.iter().filter(|item| !item.mentions().is_disjoint(&spread)).map(|item| item.at).collect()
    }

    /// Adds the names of definitions that mention one of the names.
    fn spread(&self, mut names: BTreeSet<String>) -> BTreeSet<String> {
        loop {
            let before = names.len();
            let users = self.0.iter().filter(|item| !item.mentions().is_disjoint(&names));
            let users: Vec<String> = users.flat_map(Definition::names).map(str::to_owned).collect();
            names.extend(users);
            if names.len() == before {
                return names;
            }
        }
    }

    /// Returns these definitions with the name at a position removed from its import, and that name; `None` if there
    /// is no such import or it does not bring another name.
    pub(crate) fn without_import(&self, place: (u32, usize, usize)) -> Option<(Self, String)> {
        let item = self.at(place).filter(|item| matches!(item.key, DefinitionKey::Use(_)))?;
        let (name, rest) = item.without_import(place)?;
        let at = item.at;
        let items = self.0.iter().map(|item| if item.at == at { rest.clone() } else { item.clone() });
        Some((Self(items.collect()), name))
    }

    /// Returns the definitions of these names.
    pub(crate) fn defining(&self, names: &BTreeSet<String>) -> BTreeSet<At> {
        let defining = self.0.iter().filter(|item| item.names().any(|name| names.contains(name)));
        defining.map(|item| item.at).collect()
    }

    /// Returns the definition at a position of a cell; line and column from 1.
    pub(crate) fn at(&self, (cell, line, column): (u32, usize, usize)) -> Option<&Definition> {
        let inside = |item: &&Definition| item.at.0 == cell && (item.at.1, item.at.2 + 1) <= (line, column);
        self.0.iter().filter(inside).max_by_key(|item| item.at)
    }

    /// Returns the definitions that a piece of source can need: those it names, what those name, impls for those types and for
    /// foreign ones with their traits, and all imports, in the order of definition, macros first. Leaving out the rest
    /// keeps late cells as fast as early ones. Those in `also` are always included.
    pub(crate) fn needed(&self, mentions: &BTreeSet<String>, also: &BTreeSet<At>) -> Vec<&Definition> {
        let defined: BTreeSet<&str> = self.0.iter().flat_map(Definition::names).collect();
        let mut reached = mentions.clone();
        let mut taken = vec![false; self.0.len()];
        loop {
            let mut grew = false;
            for (item, taken) in self.0.iter().zip(&mut taken).filter(|(_, taken)| !**taken) {
                let needed = also.contains(&item.at)
                    || match &item.key {
                        DefinitionKey::Use(_) => true,
                        DefinitionKey::Impl(..) => {
                            let mut types = item.implements().iter();
                            types.all(|name| reached.contains(name) || !defined.contains(name.as_str()))
                        }
                        DefinitionKey::Call(names) if names.is_empty() => true,
                        _ => item.names().any(|name| reached.contains(name)),
                    };
                if needed {
                    *taken = true;
                    grew = true;
                    reached.extend(item.mentions().iter().cloned());
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

    /// Returns these definitions with some replaced by another form.
    pub(crate) fn replaced(&self, mut form: impl FnMut(&Definition) -> Option<Definition>) -> Self {
        Self(self.0.iter().map(|item| form(item).unwrap_or_else(|| item.clone())).collect())
    }

    /// Returns whether a type of this name is defined in a cell.
    pub(crate) fn has_type(&self, name: &str) -> bool {
        self.0.iter().any(|item| matches!(&item.key, DefinitionKey::Type(defined) if defined == name))
    }

    /// Returns whether a macro of this name is defined in a cell and expands to items.
    pub(crate) fn makes_items(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|item| item.makes_items && matches!(&item.key, DefinitionKey::Macro(defined) if defined == name))
    }

    /// Returns the macro of this name.
    pub(crate) fn macro_named(&self, name: &str) -> Option<&Definition> {
        self.0.iter().find(|item| matches!(&item.key, DefinitionKey::Macro(defined) if defined == name))
    }

    /// Returns whether this name is a function, a constant, an import or another value.
    pub(crate) fn has_value(&self, name: &str) -> bool {
        self.0.iter().any(|item| {
            let own = !matches!(item.key, DefinitionKey::Macro(_)) && item.names().any(|own| own == name);
            own || item.imports().any(|own| own == name)
        })
    }

    /// Returns all definitions, macros first.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        let part = |macros: bool| self.0.iter().filter(move |item| item.is_macro() == macros);
        part(true).chain(part(false)).map(|item| item.text.as_str())
    }

    /// Returns the defined names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(Definition::names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::direct::read::split::split;

    fn items(cells: &[&str]) -> Items {
        cells.iter().enumerate().fold(Items::default(), |items, (at, code)| {
            items.with(&split(code, u32::try_from(at).unwrap()).unwrap().definitions)
        })
    }

    fn texts(items: &Items, names: &[&str]) -> Vec<String> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        items.needed(&names, &BTreeSet::new()).into_iter().map(|item| item.text.clone()).collect()
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
        let after = |code: &str| items.with(&split(code, 2).unwrap().definitions);
        let changed = items.changed_types(&after("struct P(i32);"));
        assert_eq!(changed.into_iter().collect::<Vec<_>>(), ["P", "Q"]);
        assert!(items.changed_types(&after("struct P;")).is_empty());
    }

    #[test]
    fn what_a_type_is_made_of_changes_it() {
        let items = items(&["const N: usize = 3; struct P { a: [f32; N] } fn f() -> usize { N } fn g() { f(); }"]);
        let after = |code: &str| items.with(&split(code, 2).unwrap().definitions);
        let new = split("const N: usize = 4;", 2).unwrap().definitions;
        assert_eq!(items.changed_types(&after("const N: usize = 4;")).into_iter().collect::<Vec<_>>(), ["P"]);
        // The constant itself, what uses it, and what uses that.
        assert_eq!(items.dependents(&items.changed(&new)).len(), 4);
        assert!(items.changed_types(&after("const N: usize = 3; // the same")).is_empty());
        assert!(items.changed_types(&after("fn f() -> usize { 5 }")).is_empty());
    }
}
