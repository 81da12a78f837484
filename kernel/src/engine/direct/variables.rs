//! What the engine knows about the stored variables: how later cells can say their types.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chandlery::cell::Variable;
use proc_macro2::TokenStream;

use super::names::mentioned;
use super::split::Split;
use super::types::Namer;
use crate::worker::ENTRY;

/// One variable.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) mutable: bool,
    /// As the running program calls its type.
    pub(super) type_name: String,
    /// The cell that made it.
    pub(super) cell: u32,
    pub(super) how: How,
    mentions: BTreeSet<String>,
}

/// How a cell says the type of a variable.
#[derive(Clone, Debug)]
pub(super) enum How {
    /// The type can be written.
    Named(String),
    /// The compiler infers it from the statements that made the variable.
    Witness {
        text: String,
        /// They await something.
        later: bool,
    },
    /// It is, or contains, a type that a cell's body made.
    Made(Arc<Made>),
}

/// A cell whose body made types: closures, asynchronous blocks, types defined in a block.
///
/// The compiler identifies such a type by the place of the closure around it among the closures of its function. A later
/// cell repeats the statements in a closure at the same place, and the type is the same.
#[derive(Debug)]
pub(super) struct Made {
    /// Which closure of the cell's function the body is.
    pub(super) place: u32,
    pub(super) text: String,
    pub(super) later: bool,
    /// The variables that the cell took.
    pub(super) outside: Vec<(String, Known)>,
}

impl Known {
    fn new(how: How, mutable: bool, type_name: &str, cell: u32) -> Self {
        let (text, outside) = match &how {
            How::Named(text) | How::Witness { text, .. } => (text, [].as_slice()),
            How::Made(made) => (&made.text, made.outside.as_slice()),
        };
        let mut mentions = text.parse::<TokenStream>().map(|tokens| mentioned(&tokens)).unwrap_or_default();
        mentions.extend(outside.iter().flat_map(|(_, known)| known.mentions.iter().cloned()));
        Self { mutable, type_name: type_name.to_owned(), cell, how, mentions }
    }

    /// A variable whose type can be written.
    #[cfg(test)]
    pub(super) fn named(annotation: &str, mutable: bool) -> Self {
        Self::new(How::Named(annotation.to_owned()), mutable, annotation, 0)
    }

    /// What its annotation or witness mentions.
    pub(super) fn mentions(&self) -> &BTreeSet<String> {
        &self.mentions
    }

    /// Whether the compiler infers its type.
    pub(super) fn is_inferred(&self) -> bool {
        !matches!(self.how, How::Named(_))
    }

    /// A `let` that brings a variable of this type into a witness.
    pub(super) fn stand_in(&self, name: &str) -> String {
        match &self.how {
            How::Made(made) => format!("let mut {name} = {}.any();", made.like(name)),
            _ => self.bring(name, true),
        }
    }

    /// A `let` that declares the variable, for readers of source text.
    pub(super) fn declaration(&self, name: &str) -> String {
        self.bring(name, self.mutable)
    }

    fn bring(&self, name: &str, mutable: bool) -> String {
        let mutable = if mutable { "mut " } else { "" };
        match &self.how {
            How::Named(annotation) => format!("let {mutable}{name}: {annotation} = ::chandlery::cell::any();"),
            How::Witness { text, .. } => format!("let {mutable}{name} = {{ {text}\n; {name} }};"),
            // Its type has no name, and its makers are not at hand.
            How::Made(_) => format!("let {mutable}{name} = ::chandlery::cell::any();"),
        }
    }

    /// The cells whose bodies made its type, those of the variables they took first.
    pub(super) fn makers(&self, name: &str, found: &mut BTreeMap<u32, (Arc<Made>, BTreeSet<String>)>) {
        let How::Made(made) = &self.how else { return };
        for (name, known) in &made.outside {
            known.makers(name, found);
        }
        found.entry(made.place).or_insert_with(|| (Arc::clone(made), BTreeSet::new())).1.insert(name.to_owned());
    }
}

impl Made {
    /// The name that holds the type of a variable in a generated cell.
    pub(super) fn like(&self, name: &str) -> String {
        format!("__like_{}_{name}", self.place)
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
    /// Which closure of the cell's function its body is, if that is no other cell's.
    pub(super) place: Option<u32>,
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

    /// The places of the bodies that made types still in use.
    pub(super) fn places(&self) -> BTreeSet<u32> {
        let mut makers = BTreeMap::new();
        self.iter().for_each(|(name, known)| known.makers(name, &mut makers));
        makers.into_keys().collect()
    }

    /// Notes that a variable is gone.
    pub(super) fn lose(&mut self, name: &str, why: String) {
        self.known.remove(name);
        self.gone.insert(name.to_owned(), why);
    }

    /// Notes why there is nothing of this name, unless it is a variable.
    pub(super) fn explain(&mut self, name: &str, why: String) {
        if !self.known.contains_key(name) {
            self.gone.insert(name.to_owned(), why);
        }
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
    /// because nothing can name their type: the worker should drop them.
    pub(super) fn update(
        &mut self,
        stored: &[Variable],
        change: Option<&Change<'_>>,
        cell: u32,
        namer: &Namer<'_>,
    ) -> Vec<String> {
        let before = std::mem::take(&mut self.known);
        let mut useless = Vec::new();
        let mut body = None;
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
                None if variable.type_name.contains(ENTRY) => match change {
                    Some(change) if change.place.is_some() => {
                        How::Made(Arc::clone(body.get_or_insert_with(|| Arc::new(Made::of(change, &before)))))
                    }
                    _ => {
                        let why = format!("`{name}` has a type that only the cell that made it can name");
                        self.gone.insert(name.clone(), why);
                        useless.push(name.clone());
                        continue;
                    }
                },
                None => match change {
                    Some(change) => How::Witness { text: witness(name, change, &before), later: change.split.awaits },
                    None => continue,
                },
            };
            self.gone.remove(name);
            self.known.insert(name.clone(), Known::new(how, mutable, &variable.type_name, cell));
        }
        useless
    }
}

impl Made {
    fn of(change: &Change<'_>, before: &BTreeMap<String, Known>) -> Self {
        let statements = &change.split.statements;
        let text: Vec<String> = statements.iter().map(|statement| change.split.text(change.code, statement)).collect();
        let used: BTreeSet<&String> = statements.iter().flat_map(|statement| &statement.mentions).collect();
        let outside = before.iter().filter(|(name, _)| used.contains(name));
        Self {
            place: change.place.unwrap_or_default(),
            text: text.join("\n"),
            later: change.split.awaits,
            outside: outside.map(|(name, known)| (name.clone(), known.clone())).collect(),
        }
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
        text.push(change.split.text(change.code, statement));
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
        let change = Change { code, split: &split, made: &[("v", true)], place: None };
        let text = witness("v", &change, &before);
        assert_eq!(
            text,
            "let mut x: u8 = ::chandlery::cell::any();\nlet a = f(x);\nlet mut v = Vec::new();\nv.push(a);"
        );
    }

    #[test]
    fn closures_keep_the_place_of_their_cell() {
        let (items, toolkit) = (Items::default(), HashMap::new());
        let namer = Namer { toolkit: &toolkit, items: &items };
        let type_name = format!("cell::{ENTRY}::{{{{closure}}}}::{{{{closure}}}}");
        let stored = Variable { name: "f".into(), type_name, type_path: None, summary: String::new() };
        let code = "let f = |x: i32| x + 1; return; f(1)";
        let split = split(code, 1).unwrap();
        let change = |place| Change { code, split: &split, made: &[("f", false)], place };
        let mut variables = Variables::default();
        assert!(variables.update(std::slice::from_ref(&stored), Some(&change(Some(3))), 1, &namer).is_empty());
        assert_eq!(variables.places().into_iter().collect::<Vec<_>>(), [3]);
        let (_, known) = variables.iter().next().unwrap();
        let How::Made(made) = &known.how else { panic!("{known:?}") };
        assert_eq!(made.text, "let f = |x: i32| x + 1;\nreturn Ok(());\nf(1);");
        variables.clear(None);
        assert_eq!(variables.update(&[stored], Some(&change(None)), 1, &namer), ["f"]);
        assert!(variables.why_gone("f").is_some());
    }
}
