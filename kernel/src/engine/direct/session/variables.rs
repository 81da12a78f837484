//! What the engine knows about the stored variables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chandlery::cell::Variable;

use super::known::{CellLocalType, Known, TypeSource};
use super::literals::is_open;
use super::types::Namer;
use super::witness::{roots, witness};
use crate::engine::direct::read::names::written;
use crate::engine::direct::read::split::Split;
use crate::worker::ENTRY;

/// The variables, and why some names are no longer variables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables {
    known: BTreeMap<String, Known>,
    gone: BTreeMap<String, String>,
    /// Mutable variables that were moved: they may be assigned again.
    moved: BTreeMap<String, Known>,
}

/// What a cell changed.
pub(crate) struct Change<'a> {
    pub(crate) code: &'a str,
    pub(crate) split: &'a Split,
    pub(crate) made: &'a [(&'a str, bool)],
    /// The index of its body among the closures of its function, unless another cell's body has the same.
    pub(crate) place: Option<u32>,
    /// The generation of types that the cell was compiled with.
    pub(crate) generation: u32,
}

impl Variables {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Known)> {
        self.known.iter().map(|(name, known)| (name.as_str(), known))
    }

    #[cfg(test)]
    pub(crate) fn insert(&mut self, name: &str, known: Known) {
        self.known.insert(name.to_owned(), known);
    }

    /// Returns what is known about a variable.
    pub(crate) fn get(&self, name: &str) -> Option<&Known> {
        self.known.get(name)
    }

    /// Returns whether this cell made the variable of this name.
    pub(crate) fn made_by(&self, name: &str, cell: u32) -> bool {
        self.known.get(name).is_some_and(|known| known.cell == cell)
    }

    /// Returns whether there is a variable of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }

    /// Returns the variables that were moved and may be assigned again.
    pub(crate) fn moved(&self) -> impl Iterator<Item = (&str, &Known)> {
        self.moved.iter().map(|(name, known)| (name.as_str(), known))
    }

    /// Returns the variables that were moved, whole or in part, and are assigned in a cell.
    pub(crate) fn reassigned(&self, cell: &Split) -> Vec<(&str, &Known)> {
        let rest = self.iter().filter(|(_, known)| !known.moved.is_empty());
        self.moved().chain(rest).filter(|(name, _)| cell.assigns(name)).collect()
    }

    /// Notes that a variable was moved; a mutable one may be assigned again.
    pub(crate) fn give_away(&mut self, name: &str, known: Option<Known>, why: String) {
        self.lose(name, why);
        if let Some(known) = known.filter(|known| known.mutable) {
            self.moved.insert(name.to_owned(), known);
        }
    }

    /// Returns why a name is no longer a variable.
    pub(crate) fn why_gone(&self, name: &str) -> Option<&str> {
        self.gone.get(name).map(String::as_str)
    }

    /// Returns the indices of the bodies that made types that are still in use.
    pub(crate) fn places(&self) -> BTreeSet<u32> {
        let mut makers = BTreeMap::new();
        self.iter().for_each(|(name, known)| known.makers(name, &mut makers));
        makers.into_keys().collect()
    }

    /// Notes that a variable is gone.
    pub(crate) fn lose(&mut self, name: &str, why: String) {
        self.known.remove(name);
        self.moved.remove(name);
        self.gone.insert(name.to_owned(), why);
    }

    /// Notes why a name is not defined, unless it is a variable.
    pub(crate) fn explain(&mut self, name: &str, why: String) {
        if !self.known.contains_key(name) {
            self.gone.insert(name.to_owned(), why);
        }
    }

    /// Forgets everything, with one reason for all.
    pub(crate) fn clear(&mut self, why: Option<&str>) -> Vec<String> {
        let names: Vec<String> = std::mem::take(&mut self.known).into_keys().collect();
        self.moved.clear();
        if let Some(why) = why {
            self.gone.extend(names.iter().map(|name| (name.clone(), why.to_owned())));
        } else {
            self.gone.clear();
        }
        names
    }

    /// Records the variables that the worker has stored after a cell or a magic. Returns variables that no cell could use,
    /// because their type cannot be named: the worker should drop them.
    pub(crate) fn update(
        &mut self,
        stored: &[Variable],
        change: Option<&Change<'_>>,
        cell: u32,
        namer: &Namer<'_>,
    ) -> Vec<String> {
        let before = std::mem::take(&mut self.known);
        let mut useless = Vec::new();
        let mut body = None;
        let is_new = |variable: &&Variable| before.get(&variable.name).is_none_or(|old| old.serial != variable.serial);
        let hidden = stored.iter().filter(is_new).filter(|variable| variable.type_name.contains(ENTRY));
        let hidden: BTreeSet<&str> = hidden.map(|variable| variable.name.as_str()).collect();
        for variable in stored {
            let name = &variable.name;
            let made = change.and_then(|change| change.made.iter().find(|(made, _)| made == name));
            if let Some(old) = before.get(name)
                && old.serial == variable.serial
            {
                let moved = variable.moved.iter().cloned().collect();
                self.known.insert(name.clone(), Known { moved, ..old.clone() });
                continue;
            }
            let taken = before.get(name).filter(|_| change.is_some()).is_none_or(|old| old.mutable);
            let mutable = made.map_or(taken, |(_, mutable)| *mutable);
            let how = match variable.type_path.clone().or_else(|| namer.annotation(&variable.type_name)) {
                Some(annotation) => TypeSource::Named(annotation),
                None if variable.type_name.contains(ENTRY) => match change {
                    Some(change) if change.place.is_some() => TypeSource::CellLocal(Arc::clone(
                        body.get_or_insert_with(|| Arc::new(CellLocalType::of(change, &before, &hidden))),
                    )),
                    _ => {
                        let why = format!("`{name}` has a type that only the cell that made it can name");
                        self.gone.insert(name.clone(), why);
                        useless.push(name.clone());
                        continue;
                    }
                },
                None => match change {
                    Some(change) => {
                        TypeSource::Witness { text: witness(name, change, &before), later: change.split.awaits }
                    }
                    None => continue,
                },
            };
            self.gone.remove(name);
            self.moved.remove(name);
            let generation = change.map_or(0, |change| change.generation);
            let roots = match (&how, change) {
                (TypeSource::CellLocal(_), Some(change)) => roots(name, change, &before),
                _ => BTreeSet::new(),
            };
            let known = Known::new(how, mutable, &variable.type_name, cell);
            let moved = variable.moved.iter().cloned().collect();
            let is_open_number =
                change.is_some_and(|change| made.is_some() && is_open(change.code, change.split, name));
            let serial = variable.serial;
            self.known.insert(name.clone(), Known { serial, generation, roots, moved, is_open_number, ..known });
        }
        useless
    }
}

impl Change<'_> {
    /// Returns what is known about a variable that the cell made and moved, so that it was never stored.
    pub(crate) fn unstored(&self, name: &str, before: &Variables, cell: u32) -> Option<Known> {
        let (_, mutable) = self.made.iter().find(|(made, _)| *made == name)?;
        // A statement after its `let` moves it, so its type is taken before that.
        let statements = &self.split.statements;
        let made =
            statements.iter().rposition(|statement| statement.binds.iter().any(|binding| binding.name == name))?;
        let outside =
            before.iter().filter(|(known, _)| statements.iter().any(|statement| statement.mentions.contains(*known)));
        let mut text: Vec<String> = outside.map(|(name, known)| known.stand_in(name)).collect();
        text.push("let __of = ::chandlery::cell::Like::open();".to_owned());
        for (index, statement) in statements.iter().enumerate() {
            text.push(self.split.text(self.code, statement));
            if index == made {
                text.push(format!("__of.settle(&{});", written(name)));
            }
        }
        text.push(format!("let {} = __of.any();", written(name)));
        let how = TypeSource::Witness { text: text.join("\n"), later: self.split.awaits };
        Some(Known::new(how, *mutable, "", cell))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::items::Items;
    use super::*;
    use crate::engine::direct::read::split::split;

    #[test]
    fn a_witness_is_a_slice() {
        let code = "let a = f(x);\nlet unrelated = 1;\nlet mut v = Vec::new();\nv.push(a);\nprintln!(\"hi\");";
        let split = split(code, 1).unwrap();
        let before = BTreeMap::from([("x".to_owned(), Known::named("u8", false))]);
        let change = Change { code, split: &split, made: &[("v", true)], place: None, generation: 0 };
        let text = witness("v", &change, &before);
        assert_eq!(
            text,
            "let mut x: u8 = ::chandlery::cell::any();\nlet a = f(x);\nlet mut v = Vec::new();\nv.push(a);"
        );
    }

    #[test]
    fn closures_keep_the_index_of_their_cell() {
        let (items, toolkit) = (Items::default(), HashMap::new());
        let namer = Namer { toolkit: &toolkit, items: &items };
        let type_name = format!("cell::{ENTRY}::{{{{closure}}}}::{{{{closure}}}}");
        let stored = Variable {
            name: "f".into(),
            type_name,
            type_path: None,
            summary: String::new(),
            serial: 1,
            moved: Vec::new(),
        };
        let code = "let f = |x: i32| x + 1; return; f(1)";
        let split = split(code, 1).unwrap();
        let change = |place| Change { code, split: &split, made: &[("f", false)], place, generation: 0 };
        let mut variables = Variables::default();
        assert!(variables.update(std::slice::from_ref(&stored), Some(&change(Some(3))), 1, &namer).is_empty());
        assert_eq!(variables.places().into_iter().collect::<Vec<_>>(), [3]);
        let (_, known) = variables.iter().next().unwrap();
        let TypeSource::CellLocal(made) = &known.how else { panic!("{known:?}") };
        assert_eq!(made.text, "let f = |x: i32| x + 1;\nf(1);");
        variables.clear(None);
        assert_eq!(variables.update(&[stored], Some(&change(None)), 1, &namer), ["f"]);
        assert!(variables.why_gone("f").is_some());
    }
}
