//! What the engine knows about the stored variables: how later cells can say their types.

use std::collections::{BTreeMap, BTreeSet};

use chandlery::cell::Variable;
use proc_macro2::TokenStream;

use super::names::mentioned;
use super::split::Split;
use super::types::Namer;

/// One variable.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) mutable: bool,
    /// As the running program calls its type.
    pub(super) type_name: String,
    /// The cell that made it.
    pub(super) cell: u32,
    how: How,
    mentions: BTreeSet<String>,
}

#[derive(Clone, Debug)]
enum How {
    /// The type can be written.
    Named(String),
    /// The statements that made it; the compiler infers the type from them.
    Witness(String),
}

impl Known {
    fn new(how: How, mutable: bool, type_name: &str, cell: u32) -> Self {
        let (How::Named(text) | How::Witness(text)) = &how;
        let mentions = text.parse::<TokenStream>().map(|tokens| mentioned(&tokens)).unwrap_or_default();
        Self { mutable, type_name: type_name.to_owned(), cell, how, mentions }
    }

    /// A variable whose type can be written.
    #[cfg(test)]
    pub(super) fn named(annotation: &str, mutable: bool) -> Self {
        Self::new(How::Named(annotation.to_owned()), mutable, annotation, 0)
    }

    /// The type, or `_` where only the compiler knows.
    pub(super) fn annotation(&self) -> &str {
        match &self.how {
            How::Named(annotation) => annotation,
            How::Witness(_) => "_",
        }
    }

    /// Statements that end with the variable in scope, if its type cannot be written.
    pub(super) fn witness(&self) -> Option<&str> {
        match &self.how {
            How::Named(_) => None,
            How::Witness(statements) => Some(statements),
        }
    }

    /// What its annotation or witness mentions.
    pub(super) fn mentions(&self) -> &BTreeSet<String> {
        &self.mentions
    }

    /// A `let` that brings a variable of this type into a witness.
    fn stand_in(&self, name: &str) -> String {
        match &self.how {
            How::Named(annotation) => format!("let mut {name}: {annotation} = ::chandlery::cell::any();"),
            How::Witness(statements) => format!("let mut {name} = {{ {statements}\n; {name} }};"),
        }
    }
}

/// The variables, and why some names are not variables any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    known: BTreeMap<String, Known>,
    gone: BTreeMap<String, String>,
}

/// What a cell changed.
pub(super) struct Change<'a> {
    pub(super) code: &'a str,
    pub(super) split: &'a Split,
    pub(super) made: &'a [(&'a str, bool)],
}

impl Variables {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Known)> {
        self.known.iter().map(|(name, known)| (name.as_str(), known))
    }

    #[cfg(test)]
    pub(super) fn insert(&mut self, name: &str, known: Known) {
        self.known.insert(name.to_owned(), known);
    }

    /// Why a name that was a variable is none now.
    pub(super) fn why_gone(&self, name: &str) -> Option<&str> {
        self.gone.get(name).map(String::as_str)
    }

    /// Notes that a variable is gone.
    pub(super) fn lose(&mut self, name: &str, why: String) {
        self.known.remove(name);
        self.gone.insert(name.to_owned(), why);
    }

    /// Forgets everything, with one reason for all.
    pub(super) fn clear(&mut self, why: Option<&str>) -> Vec<String> {
        let names: Vec<String> = std::mem::take(&mut self.known).into_keys().collect();
        if let Some(why) = why {
            self.gone.extend(names.iter().map(|name| (name.clone(), why.to_owned())));
        } else {
            self.gone.clear();
        }
        names
    }

    /// Takes over what the worker says is stored after a cell or a magic. Returns variables that no cell could use,
    /// because their type contains a closure: the worker should drop them.
    pub(super) fn update(
        &mut self,
        stored: &[Variable],
        change: Option<&Change<'_>>,
        cell: u32,
        namer: &Namer<'_>,
    ) -> Vec<String> {
        let before = std::mem::take(&mut self.known);
        let mut useless = Vec::new();
        for variable in stored {
            let name = &variable.name;
            let made = change.and_then(|change| change.made.iter().find(|(made, _)| made == name));
            if let (Some(old), None) = (before.get(name), made)
                && old.type_name == variable.type_name
            {
                self.known.insert(name.clone(), old.clone());
                continue;
            }
            let mutable = made.is_none_or(|(_, mutable)| *mutable);
            let how = match variable.type_path.clone().or_else(|| namer.annotation(&variable.type_name)) {
                Some(annotation) => How::Named(annotation),
                None if variable.type_name.contains("{{closure}}") => {
                    self.gone.insert(name.clone(), format!(
                        "`{name}` of cell {cell} is, or contains, a closure, and a closure has a new type in every cell: \
                         write it as a `fn`, or as `Box<dyn Fn(…)>`"
                    ));
                    useless.push(name.clone());
                    continue;
                }
                None => match change {
                    Some(change) => How::Witness(witness(name, change, &before)),
                    None => continue,
                },
            };
            self.gone.remove(name);
            self.known.insert(name.clone(), Known::new(how, mutable, &variable.type_name, cell));
        }
        useless
    }
}

/// The statements of a cell that the type of one of its variables depends on.
fn witness(name: &str, change: &Change<'_>, before: &BTreeMap<String, Known>) -> String {
    let statements = &change.split.statements;
    let declares = |statement: &&super::split::Statement| statement.binds.iter().any(|binding| binding.name == name);
    if let Some(declared) = statements.iter().rev().find(declares).and_then(|statement| statement.declared.as_ref()) {
        return format!("let {name}: {declared} = ::chandlery::cell::any();");
    }
    let mut needed = BTreeSet::from([name]);
    let mut taken = vec![false; statements.len()];
    // Later statements may settle a type that a `let` leaves open, as `push` does for `Vec::new()`.
    for (statement, taken) in statements.iter().zip(&mut taken).rev() {
        let binds = statement.binds.iter().any(|binding| needed.contains(binding.name.as_str()));
        let settles = statement.binds.is_empty() && statement.mentions.contains(name);
        if binds || settles {
            *taken = true;
            needed.extend(statement.uses.iter().map(String::as_str));
        }
    }
    let outside = before.iter().filter(|(name, _)| needed.contains(name.as_str()));
    let mut text: Vec<String> = outside.map(|(name, known)| known.stand_in(name)).collect();
    for (statement, _) in statements.iter().zip(taken).filter(|(_, taken)| *taken) {
        let is_tail = change.split.tail.as_ref() == Some(&statement.range);
        let end = if is_tail { ";" } else { "" };
        text.push(format!("{}{end}", &change.code[statement.range.clone()]));
    }
    text.join("\n")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::items::Items;
    use super::super::split::split;
    use super::*;

    #[test]
    fn a_witness_is_a_slice() {
        let code = "let a = f(x);\nlet unrelated = 1;\nlet mut v = Vec::new();\nv.push(a);\nprintln!(\"hi\");";
        let split = split(code, 1).unwrap();
        let before = BTreeMap::from([("x".to_owned(), Known::named("u8", false))]);
        let change = Change { code, split: &split, made: &[("v", true)] };
        let text = witness("v", &change, &before);
        assert_eq!(
            text,
            "let mut x: u8 = ::chandlery::cell::any();\nlet a = f(x);\nlet mut v = Vec::new();\nv.push(a);"
        );
    }

    #[test]
    fn closures_are_refused_with_a_reason() {
        let (items, toolkit) = (Items::default(), HashMap::new());
        let namer = Namer { toolkit: &toolkit, items: &items };
        let stored =
            Variable { name: "f".into(), type_name: "cell::chandlery_cell::{{closure}}".into(), type_path: None };
        let mut variables = Variables::default();
        assert_eq!(variables.update(&[stored], None, 1, &namer), ["f"]);
        assert!(variables.why_gone("f").unwrap().contains("closure"));
    }
}
