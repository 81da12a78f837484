//! A stored variable, and how later cells can name its type.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proc_macro2::TokenStream;

use crate::engine::direct::read::depth::with_room;
use crate::engine::direct::read::names::{mentioned, written};

/// One variable.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) mutable: bool,
    /// The name of its type in the running program.
    pub(crate) type_name: String,
    /// The cell that made it.
    pub(crate) cell: u32,
    /// The serial number of its value among all values ever stored.
    pub(crate) serial: u64,
    /// The generation of types it was stored with; in a later one its type has another identity for the compiler.
    pub(crate) generation: u32,
    pub(crate) how: TypeSource,
    /// Fields that were moved out of it.
    pub(crate) moved: BTreeSet<String>,
    /// Whether it is a number whose cell leaves its type open.
    pub(crate) is_open_number: bool,
    pub(super) mentions: BTreeSet<String>,
    /// For a type that a cell's body made: the names in the statements that determine it.
    pub(super) roots: BTreeSet<String>,
}

/// How a cell names the type of a variable.
#[derive(Clone, Debug)]
pub(crate) enum TypeSource {
    /// The type can be written.
    Named(String),
    /// The compiler infers it from the statements that made the variable.
    Witness {
        text: String,
        /// Whether they await something.
        later: bool,
    },
    /// It is, or contains, a type that a cell's body made.
    CellLocal(Arc<CellLocalType>),
}

/// A cell whose body made types: closures, asynchronous blocks, types defined in a block.
///
/// The compiler identifies such a type by the index of the closure around it among the closures of its function. A later
/// cell repeats the statements in a closure at the same index, so that the type is the same.
#[derive(Debug)]
pub(crate) struct CellLocalType {
    /// The index of the body among the closures of the cell's function.
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

    /// Creates a variable whose type can be written.
    #[cfg(test)]
    pub(crate) fn named(annotation: &str, mutable: bool) -> Self {
        Self::new(TypeSource::Named(annotation.to_owned()), mutable, annotation, 0)
    }

    /// Returns the names in its annotation or witness.
    pub(crate) fn mentions(&self) -> &BTreeSet<String> {
        &self.mentions
    }

    /// For a type that a cell's body made: the names in the statements that determine it.
    pub(crate) fn roots(&self) -> &BTreeSet<String> {
        &self.roots
    }

    /// Returns a `let` that declares a variable of this type in a witness.
    pub(crate) fn stand_in(&self, name: &str) -> String {
        match &self.how {
            TypeSource::CellLocal(made) => format!("let mut {} = {}.any();", written(name), made.like(name)),
            _ => self.bring(name, true),
        }
    }

    /// Returns a `let` that declares the variable, for analyzing source.
    pub(crate) fn declaration(&self, name: &str) -> String {
        self.bring(name, self.mutable)
    }

    fn bring(&self, name: &str, mutable: bool) -> String {
        let mutable = if mutable { "mut " } else { "" };
        let name = written(name);
        match &self.how {
            TypeSource::Named(annotation) => format!("let {mutable}{name}: {annotation} = ::chandlery::cell::any();"),
            TypeSource::Witness { text, .. } => format!("let {mutable}{name} = {{ {text}\n; {name} }};"),
            // Its type does not have a name, and the cells that made it are not available.
            TypeSource::CellLocal(_) => format!("let {mutable}{name} = ::chandlery::cell::any();"),
        }
    }

    /// Collects the cells whose bodies made its type, after those of the variables that they took.
    pub(crate) fn makers(&self, name: &str, found: &mut BTreeMap<u32, (Arc<CellLocalType>, BTreeSet<String>)>) {
        let TypeSource::CellLocal(made) = &self.how else { return };
        for (name, known) in &made.outside {
            known.makers(name, found);
        }
        found.entry(made.place).or_insert_with(|| (Arc::clone(made), BTreeSet::new())).1.insert(name.to_owned());
    }
}

impl CellLocalType {
    /// Returns the name that holds the type of a variable in a generated cell.
    pub(crate) fn like(&self, name: &str) -> String {
        format!("__like_{}_{name}", self.place)
    }
}
