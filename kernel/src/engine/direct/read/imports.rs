//! Imports: the names that they bring, and an import without one of them.

use std::collections::BTreeSet;
use std::ops::Range;

use syn::spanned::Spanned;
use syn::{ItemUse, UseTree};

use super::names::plain;

/// Returns the names that an import brings, without those of globs.
pub(crate) fn names(import: &ItemUse) -> BTreeSet<String> {
    let mut names = Vec::new();
    leaves(&import.tree, &mut names);
    names.into_iter().filter(|name| name != "*").collect()
}

/// Returns the names that an import brings, each with its path; `*` for a glob.
pub(crate) fn named_paths(import: &ItemUse) -> Vec<(String, String)> {
    fn below(tree: &UseTree, path: &str, found: &mut Vec<(String, String)>) {
        match tree {
            UseTree::Path(part) => {
                let name = plain(&part.ident);
                // `crate::a` and `self::a` are `a`.
                let own = path.is_empty() && matches!(name.as_str(), "crate" | "self");
                below(&part.tree, &if own { String::new() } else { format!("{path}{name}::") }, found);
            }
            UseTree::Name(name) if name.ident == "self" => {
                let whole = path.trim_end_matches("::");
                let last = whole.rsplit("::").next().unwrap_or(whole);
                found.push((last.to_owned(), whole.to_owned()));
            }
            UseTree::Name(name) => found.push((plain(&name.ident), format!("{path}{}", plain(&name.ident)))),
            UseTree::Rename(name) => found.push((plain(&name.rename), format!("{path}{}", plain(&name.ident)))),
            UseTree::Glob(_) => found.push(("*".to_owned(), format!("{path}*"))),
            UseTree::Group(group) => group.items.iter().for_each(|item| below(item, path, found)),
        }
    }
    let mut found = Vec::new();
    below(&import.tree, if import.leading_colon.is_some() { "::" } else { "" }, &mut found);
    found
}

/// Returns an import without the name at an offset of its text, and that name. `None` if it does not bring another, or
/// none at that offset.
pub(crate) fn without(text: &str, offset: usize) -> Option<(String, String)> {
    let import = syn::parse_str::<ItemUse>(text).ok()?;
    let (mut all, mut dropped) = (Vec::new(), Vec::new());
    leaves(&import.tree, &mut all);
    let (element, range) = element(&import.tree, offset)?;
    leaves(element, &mut dropped);
    if dropped.len() == all.len() {
        return None;
    }
    // What follows keeps its line and column.
    let blank: String = text[range.clone()].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
    Some((dropped.pop()?, format!("{}{blank}{}", &text[..range.start], &text[range.end..])))
}

/// Returns an import without the names that others bring from the same path; `None` if none is left.
pub(crate) fn unless(text: &str, others: &[String]) -> Option<String> {
    let brought: Vec<(String, String)> = others
        .iter()
        .filter_map(|other| syn::parse_str::<ItemUse>(other).ok())
        .flat_map(|other| paths(&other.tree, ""))
        .map(|(name, path, _)| (name, path))
        .collect();
    let mut text = text.to_owned();
    loop {
        let Ok(import) = syn::parse_str::<ItemUse>(&text) else { return Some(text) };
        let all = paths(&import.tree, "");
        let same = all.iter().find(|(name, path, _)| brought.iter().any(|other| (&other.0, &other.1) == (name, path)));
        let Some((_, _, at)) = same else { return Some(text) };
        (_, text) = without(&text, *at)?;
    }
}

/// Returns the names below a branch, with their paths and offsets, without globs.
fn paths(tree: &UseTree, before: &str) -> Vec<(String, String, usize)> {
    let full = |leaf: &syn::Ident| match leaf.to_string().as_str() {
        // `a::{self}` is `a`.
        "self" => before.trim_end_matches("::").to_owned(),
        leaf => format!("{before}{leaf}"),
    };
    match tree {
        UseTree::Path(path) => paths(&path.tree, &format!("{before}{}::", path.ident)),
        UseTree::Name(leaf) => {
            let path = full(&leaf.ident);
            let name = path.rsplit("::").next().unwrap_or_default().to_owned();
            vec![(name, path, leaf.ident.span().byte_range().start)]
        }
        UseTree::Rename(leaf) => {
            vec![(leaf.rename.to_string(), full(&leaf.ident), leaf.ident.span().byte_range().start)]
        }
        UseTree::Glob(_) => Vec::new(),
        UseTree::Group(group) => group.items.iter().flat_map(|item| paths(item, before)).collect(),
    }
}

/// Returns the names below a branch; a glob does not have a name.
fn leaves(tree: &UseTree, names: &mut Vec<String>) {
    match tree {
        UseTree::Path(path) => {
            let before = names.len();
            leaves(&path.tree, names);
            // `a::{self}` brings `a`.
            names[before..].iter_mut().filter(|name| *name == "self").for_each(|name| *name = plain(&path.ident));
        }
        UseTree::Name(name) => names.push(plain(&name.ident)),
        UseTree::Rename(name) => names.push(plain(&name.rename)),
        UseTree::Glob(_) => names.push("*".to_owned()),
        UseTree::Group(group) => group.items.iter().for_each(|item| leaves(item, names)),
    }
}

/// Returns the innermost element of a group at an offset, with its comma.
fn element(tree: &UseTree, offset: usize) -> Option<(&UseTree, Range<usize>)> {
    match tree {
        UseTree::Path(path) => element(&path.tree, offset),
        UseTree::Group(group) => {
            let mut pairs = group.items.pairs();
            let pair = pairs.find(|pair| pair.value().span().byte_range().contains(&offset))?;
            let own = pair.value().span().byte_range();
            let end = pair.punct().map_or(own.end, |comma| comma.span().byte_range().end);
            let item = *pair.value();
            element(item, offset).or(Some((item, own.start..end)))
        }
        UseTree::Name(_) | UseTree::Rename(_) | UseTree::Glob(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMPORT: &str = "use a::{\n    b, c::{d, e as f},\n    g::*, h::{self},\n};";

    #[test]
    fn an_import_lists_the_names_it_brings() {
        let import = syn::parse_str(IMPORT).unwrap();
        assert_eq!(names(&import).into_iter().collect::<Vec<_>>(), ["b", "d", "f", "h"]);
        let all: Vec<String> = named_paths(&import).into_iter().map(|(name, path)| format!("{name}={path}")).collect();
        assert_eq!(all, ["b=a::b", "d=a::c::d", "f=a::c::e", "*=a::g::*", "h=a::h"]);
    }

    #[test]
    fn one_name_is_dropped_and_the_others_stay_where_they_are() {
        let without = |at: &str| super::without(IMPORT, IMPORT.find(at).unwrap());
        let rest = |at: &str| without(at).map(|(name, text)| (name, text.split_whitespace().collect::<String>()));
        assert_eq!(rest("b,"), Some(("b".into(), "usea::{c::{d,easf},g::*,h::{self},};".into())));
        assert_eq!(rest("e as"), Some(("f".into(), "usea::{b,c::{d,},g::*,h::{self},};".into())));
        assert_eq!(without("d,").unwrap().1.find("e as f"), IMPORT.find("e as f"));
        assert_eq!(super::without("use a::b;", 4), None);
        assert_eq!(super::without("use a::{b};", 8), None);
    }

    #[test]
    fn names_that_are_imported_again_are_removed() {
        let unless = |others: &[&str]| {
            let others: Vec<String> = others.iter().map(|&other| other.to_owned()).collect();
            super::unless(IMPORT, &others).map(|text| text.split_whitespace().collect::<String>())
        };
        let whole = Some("usea::{b,c::{d,easf},g::*,h::{self},};".to_owned());
        assert_eq!(unless(&["use x::b;", "use a::c::e;", "use a::c;", "fn b() {}"]), whole);
        assert_eq!(unless(&["pub use a::{b, h};"]), Some("usea::{c::{d,easf},g::*,h::{},};".to_owned()));
        assert_eq!(
            unless(&["use a::c::e as f;", "use a::c::{d};"]),
            Some("usea::{b,c::{},g::*,h::{self},};".to_owned())
        );
        let unless = |text, other: &str| super::unless(text, &[other.to_owned()]);
        assert_eq!(unless("use a::b;", "use a::{c, b};"), None);
        assert_eq!(unless("use a::{b, c};", "use a::{c, b, d};"), None);
        assert_eq!(unless("use a::b as c;", "use a::b;").as_deref(), Some("use a::b as c;"));
    }
}
