//! The dependencies of a type's meaning: every definition that its layout, or the code that makes its values, can reach.
//!
//! A stored value keeps the meaning that its type had then. When a later cell redefines something in reach, the
//! value no longer fits the type, although its name is the same.

use std::collections::{BTreeMap, BTreeSet};

use super::items::Items;
use super::known::{Known, TypeSource};
use crate::engine::direct::read::definition::Definition;
use crate::engine::direct::read::key::DefinitionKey;

/// Names that need no definition.
const STANDARD: &[&str] = &[
    "bool",
    "char",
    "str",
    "u8",
    "u16",
    "u32",
    "u64",
    "u128",
    "usize",
    "i8",
    "i16",
    "i32",
    "i64",
    "i128",
    "isize",
    "f32",
    "f64",
    "Option",
    "Some",
    "None",
    "Result",
    "Ok",
    "Err",
    "Vec",
    "String",
    "Box",
    "Self",
    "self",
    "super",
    "crate",
    "std",
    "core",
    "alloc",
    "derive",
    "Debug",
    "Clone",
    "Copy",
    "PartialEq",
    "Eq",
    "Default",
    "Hash",
    "PartialOrd",
    "Ord",
    "pub",
    "struct",
    "enum",
    "fn",
    "impl",
    "for",
    "let",
    "mut",
    "where",
    "const",
    "type",
    "use",
    "mod",
    "trait",
    "dyn",
    "ref",
];

/// The definitions that the type of a value comes from.
#[derive(Debug)]
pub(crate) struct Roots {
    names: BTreeSet<String>,
    /// Whether it is made by the body of a function or of a cell, so that any impl in its reach counts, not only the constants and
    /// types in it.
    by_code: bool,
}

impl Roots {
    /// Returns the roots of a variable's type.
    pub(crate) fn of(known: &Known, items: &Items) -> Self {
        if let TypeSource::CellLocal(_) = known.how {
            return Self { names: known.roots().clone(), by_code: true };
        }
        let names = in_type_name(&known.type_name);
        let by_code = known.type_name.contains("{{") || names.iter().any(|name| items.is_function(name));
        Self { names, by_code }
    }

    /// Returns the roots of a definition.
    fn of_definition(item: &Definition) -> Self {
        Self { names: item.names().map(str::to_owned).collect(), by_code: item.is_function() }
    }

    fn are_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// Returns the names in a type's name that cells defined: `P` in `alloc::vec::Vec<cell::P>`.
fn in_type_name(type_name: &str) -> BTreeSet<String> {
    let words = type_name.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | ':' | '#')));
    let paths = words.filter_map(|word| word.strip_prefix("cell::"));
    paths.filter_map(|path| path.split("::").next()).map(|name| name.trim_start_matches("r#").to_owned()).collect()
}

/// A definition, or one name of an import, and the names that it refers to.
struct Node<'a> {
    item: &'a Definition,
    /// Its content, independent of layout.
    meaning: String,
    leads: Vec<usize>,
}

/// The definitions in force, with the names that each refers to.
pub(crate) struct Reach<'a> {
    nodes: Vec<Node<'a>>,
    /// The definitions and imports of each name.
    defining: BTreeMap<&'a str, Vec<usize>>,
}

impl<'a> Reach<'a> {
    /// Reads the definitions.
    pub(crate) fn of(items: &'a Items) -> Self {
        let mut nodes = Vec::new();
        let mut defining: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut heads: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        // Glob imports, with the first part of their path.
        let mut globs: Vec<(usize, &str)> = Vec::new();
        for item in items.all() {
            for (name, path) in item.import_paths() {
                let index = nodes.len();
                match name.as_str() {
                    "*" => globs.push((index, path.split("::").next().unwrap_or(""))),
                    name => defining.entry(name).or_default().push(index),
                }
                nodes.push(Node { item, meaning: format!("use {path} as {name}"), leads: Vec::new() });
            }
            if item.import_paths().is_empty() {
                let index = nodes.len();
                item.names().for_each(|name| defining.entry(name).or_default().push(index));
                item.head().for_each(|name| heads.entry(name).or_default().push(index));
                nodes.push(Node { item, meaning: item.tokens.clone(), leads: Vec::new() });
            }
        }
        let offered = |glob: &str, mentions: &BTreeSet<String>| {
            let of = defining.get(glob).into_iter().flatten();
            of.flat_map(|index| nodes[*index].item.offers()).any(|name| mentions.contains(name))
        };
        let lead = |node: &Node<'_>| {
            let item = node.item;
            // An import refers to the first part of its path.
            let first: BTreeSet<String> = match node.meaning.strip_prefix("use ") {
                Some(path) if !item.import_paths().is_empty() => {
                    path.split("::").next().map(str::to_owned).into_iter().collect()
                }
                _ => BTreeSet::new(),
            };
            let mentions = if item.import_paths().is_empty() { item.mentions() } else { &first };
            let mut found: BTreeSet<usize> =
                mentions.iter().filter_map(|name| defining.get(name.as_str())).flatten().copied().collect();
            found.extend(item.names().filter_map(|name| heads.get(name)).flatten());
            found.extend(globs.iter().filter(|(_, glob)| offered(glob, mentions)).map(|(index, _)| *index));
            let open = |name: &&String| !defining.contains_key(name.as_str()) && !STANDARD.contains(&name.as_str());
            let unresolved: Vec<&String> = mentions.iter().filter(open).collect();
            let calls = nodes.iter().enumerate().filter(|(_, other)| matches!(other.item.key, DefinitionKey::Call(_)));
            let named = calls.filter(|(_, other)| unresolved.iter().any(|name| other.item.mentions().contains(*name)));
            found.extend(named.map(|(index, _)| index));
            found.into_iter().collect()
        };
        let leads: Vec<Vec<usize>> = nodes.iter().map(lead).collect();
        nodes.iter_mut().zip(leads).for_each(|(node, leads)| node.leads = leads);
        Self { nodes, defining }
    }

    /// Returns the content of all definitions that a type with these roots depends on.
    fn meaning(&self, roots: &Roots) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        // A type with an unknown name may come from any macro call.
        let calls =
            || (0..self.nodes.len()).filter(|index| matches!(self.nodes[*index].item.key, DefinitionKey::Call(_)));
        let mut next: Vec<usize> = Vec::new();
        for name in &roots.names {
            match self.defining.get(name.as_str()) {
                Some(indices) => next.extend(indices),
                None if !STANDARD.contains(&name.as_str()) => next.extend(calls()),
                None => {}
            }
        }
        let mut seen = vec![false; self.nodes.len()];
        while let Some(index) = next.pop() {
            let node = &self.nodes[index];
            if std::mem::replace(&mut seen[index], true) || !(roots.by_code || node.item.shapes_types()) {
                continue;
            }
            found.insert(node.meaning.as_str());
            next.extend(&node.leads);
        }
        found
    }

    /// Returns the title of the definition that changes a type with these roots under other definitions, if one does.
    pub(crate) fn change(&self, roots: &Roots, other: &Reach<'_>) -> Option<String> {
        if roots.are_empty() {
            return None;
        }
        let (ours, theirs) = (self.meaning(roots), other.meaning(roots));
        let title = |reach: &Reach<'_>, meaning: &str| {
            reach.nodes.iter().find(|node| node.meaning == meaning).map(|node| node.item.title())
        };
        let new = theirs.difference(&ours).find_map(|meaning| title(other, meaning));
        new.or_else(|| ours.difference(&theirs).find_map(|meaning| title(self, meaning)))
    }

    /// Returns the types that have another meaning under other definitions.
    pub(crate) fn changed_types(&self, other: &Reach<'_>) -> BTreeSet<String> {
        let changed =
            self.nodes.iter().map(|node| node.item).filter(|item| item.is_type() && self.changes(item, other));
        changed.flat_map(Definition::names).map(str::to_owned).collect()
    }

    /// Returns whether other definitions make other types of the same names, which the compiler has to distinguish from then on.
    pub(crate) fn makes_other_types(&self, other: &Reach<'_>) -> bool {
        let mut items = self.nodes.iter().map(|node| node.item);
        items.any(|item| (item.is_type() || item.makes_types()) && self.changes(item, other))
    }

    fn changes(&self, item: &Definition, other: &Reach<'_>) -> bool {
        self.change(&Roots::of_definition(item), other).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::direct::read::split::split;

    /// Returns whether a type has another meaning after one more cell.
    fn changes(before: &str, name: &str, after: &str) -> bool {
        let definitions = |code: &str, cell| {
            let mut parsed = split(code, cell).unwrap();
            parsed.define(code, cell, &|_| true);
            parsed.definitions
        };
        let items = Items::default().with(&definitions(before, 1));
        let new = items.with(&definitions(after, 2));
        let names: BTreeSet<String> = [name.to_owned()].into();
        let by_code = items.is_function(name);
        Reach::of(&items).change(&Roots { names, by_code }, &Reach::of(&new)).is_some()
    }

    #[test]
    fn every_dependency_of_a_layout_counts() {
        let constant = "struct A; impl A { const N: usize = 3; } struct P([u8; A::N]);";
        assert!(changes(constant, "P", "impl A { const N: usize = 4; }"));
        assert!(!changes(constant, "P", "impl A { fn other(&self) {} } fn a() {} struct Q;"));
        let associated = "trait Tr { type Out; } struct A; impl Tr for A { type Out = u8; } struct H<T: Tr>(T::Out);";
        assert!(changes(associated, "A", "impl Tr for A { type Out = String; }"));
        assert!(changes(
            "mod m { pub const N: usize = 3; } struct P([u8; m::N]);",
            "P",
            "mod m { pub const N: usize = 4; }"
        ));
        assert!(changes("macro_rules! t { () => { u8 } } struct P(t!());", "P", "macro_rules! t { () => { u16 } }"));
        assert!(changes("const fn n() -> usize { 3 } struct P([u8; n()]);", "P", "const fn n() -> usize { 4 }"));
        assert!(!changes("fn n() -> usize { 3 } struct P { n: u8 }", "P", "fn n() -> usize { 4 }"));
        assert!(changes("type T = u8; struct Q(T); struct P(Vec<Q>);", "P", "type T = u16;"));
        assert!(changes("struct P(Vec<u8>);", "P", "struct Vec<T>(T);"));
        assert!(changes("use std::rc::Rc as R; struct P(R<u8>);", "P", "use std::sync::Arc as R;"));
        assert!(!changes("use std::rc::Rc; struct P(Rc<u8>);", "P", "use std::{rc::Rc, fmt};"));
        assert!(!changes("use std::{fmt, rc::Rc}; struct P(Rc<u8>);", "P", "use std::fmt;"));
        assert!(changes("struct P(T);", "P", "mod m { pub type T = u8; } use m::*;"));
        assert!(changes("trait Tr { fn a(&self); }", "Tr", "trait Tr { fn b(&self); fn a(&self); }"));
        assert!(changes("m!(P, u8);", "P", "m!(P, u16);"));
    }

    #[test]
    fn a_function_that_makes_a_type_depends_on_all_it_calls() {
        let make = "fn make() -> impl Fn() { let x = inner(); move || drop(x) } fn inner() -> Inner { Inner(1) } struct Inner(u8);";
        assert!(changes(make, "make", "fn inner() -> u64 { 1 }"));
        assert!(changes(make, "make", "impl Inner { fn get(&self) -> u8 { 0 } }"));
        assert!(changes("async fn f() { g().await } async fn g() {}", "f", "async fn g() { h() }"));
        assert!(!changes(make, "make", "fn other() -> u64 { 1 }"));
    }

    #[test]
    fn names_of_types_of_cells() {
        let names = |text: &str| in_type_name(text).into_iter().collect::<Vec<_>>().join(" ");
        assert_eq!(names("alloc::vec::Vec<(cell::P, cell::m::Q<u8>, &dyn cell::T)>"), "P T m");
        assert_eq!(names("cell::make::{{closure}}"), "make");
        assert_eq!(names("other_cell::P"), "");
    }
}
