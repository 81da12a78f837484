//! One stored variable, and how later cells can say its type.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proc_macro2::TokenStream;

use crate::engine::direct::read::depth::with_room;
use crate::engine::direct::read::names::{mentioned, written};

/// One variable.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) mutable: bool,
    /// As the running program calls its type.
    pub(crate) type_name: String,
    /// The cell that made it.
    pub(crate) cell: u32,
    /// Which of all values ever stored it is.
    pub(crate) serial: u64,
    /// The generation of types it was stored with; in a later one its type has another identity for the compiler.
    pub(crate) generation: u32,
    pub(crate) how: TypeSource,
    /// Fields that were moved away from it, and are not there.
    pub(crate) moved: BTreeSet<String>,
    /// A number of which its cell leaves open what type it has.
    pub(crate) is_open_number: bool,
    pub(super) mentions: BTreeSet<String>,
    /// For a type that a cell's body made: what the statements mention that it follows from.
    pub(super) roots: BTreeSet<String>,
}

/// How a cell says the type of a variable.
#[derive(Clone, Debug)]
pub(crate) enum TypeSource {
    /// The type can be written.
    Named(String),
    /// The compiler infers it from the statements that made the variable.
    Witness {
        text: String,
        /// They await something.
        later: bool,
    },
    /// It is, or contains, a type that a cell's body made.
    CellLocal(Arc<CellLocalType>),
}

/// A cell whose body made types: closures, asynchronous blocks, types defined in a block.
///
/// The compiler identifies such a type by the place of the closure around it among the closures of its function. A later
/// cell repeats the statements in a closure at the same place, and the type is the same.
#[derive(Debug)]
pub(crate) struct CellLocalType {
    /// Which closure of the cell's function the body is.
    pub(crate) place: u32,
    pub(crate) text: String,
    pub(crate) later: bool,
    /// The variables that the cell took.
    pub(crate) outside: Vec<(String, Known)>,
}

impl Known {
    pub(super) fn new(how: TypeSource, mutable: bool, type_name: &str, cell: u32) -> Self {
        let (text, outside) = match &how {
            TypeSource::Named(text) | TypeSource::Witness { text, .. } => (text, [].as_slice()),
            TypeSource::CellLocal(made) => (&made.text, made.outside.as_slice()),
        };
        let read = || text.parse::<TokenStream>().map(|tokens| mentioned(&tokens)).unwrap_or_default();
        let mut mentions = with_room(text, read).unwrap_or_default();
        mentions.extend(outside.iter().flat_map(|(_, known)| known.mentions.iter().cloned()));
        Self {
            mutable,
            type_name: type_name.to_owned(),
            cell,
            serial: 0,
            generation: 0,
            how,
            moved: BTreeSet::new(),
            is_open_number: false,
            mentions,
            roots: BTreeSet::new(),
        }
    }

    /// A variable whose type can be written.
    #[cfg(test)]
    pub(crate) fn named(annotation: &str, mutable: bool) -> Self {
        Self::new(TypeSource::Named(annotation.to_owned()), mutable, annotation, 0)
    }

    /// What its annotation or witness mentions.
    pub(crate) fn mentions(&self) -> &BTreeSet<String> {
        &self.mentions
    }

    /// For a type that a cell's body made: what the statements mention that it follows from.
    pub(crate) fn roots(&self) -> &BTreeSet<String> {
        &self.roots
    }

    /// A `let` that brings a variable of this type into a witness.
    pub(crate) fn stand_in(&self, name: &str) -> String {
        match &self.how {
            TypeSource::CellLocal(made) => format!("let mut {} = {}.any();", written(name), made.like(name)),
            _ => self.bring(name, true),
        }
    }

    /// A `let` that declares the variable, for readers of source text.
    pub(crate) fn declaration(&self, name: &str) -> String {
        self.bring(name, self.mutable)
    }

    fn bring(&self, name: &str, mutable: bool) -> String {
        let mutable = if mutable { "mut " } else { "" };
        let name = written(name);
        match &self.how {
            TypeSource::Named(annotation) => format!("let {mutable}{name}: {annotation} = ::chandlery::cell::any();"),
            TypeSource::Witness { text, .. } => format!("let {mutable}{name} = {{ {text}\n; {name} }};"),
            // Its type has no name, and its makers are not at hand.
            TypeSource::CellLocal(_) => format!("let {mutable}{name} = ::chandlery::cell::any();"),
        }
    }

    /// The cells whose bodies made its type, those of the variables they took first.
    pub(crate) fn makers(&self, name: &str, found: &mut BTreeMap<u32, (Arc<CellLocalType>, BTreeSet<String>)>) {
        let TypeSource::CellLocal(made) = &self.how else { return };
        for (name, known) in &made.outside {
            known.makers(name, found);
        }
        found.entry(made.place).or_insert_with(|| (Arc::clone(made), BTreeSet::new())).1.insert(name.to_owned());
    }
}

impl CellLocalType {
    /// The name that holds the type of a variable in a generated cell.
    pub(crate) fn like(&self, name: &str) -> String {
        format!("__like_{}_{name}", self.place)
    }
}
