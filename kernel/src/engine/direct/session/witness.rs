//! The statements of a cell that later cells repeat, so that the compiler infers the types of its variables again.

use std::collections::{BTreeMap, BTreeSet};

use super::known::{CellLocalType, Known};
use super::variables::Change;
use crate::engine::direct::read::names::written;
use crate::engine::direct::read::split::Statement;

impl CellLocalType {
    /// Returns what later cells repeat for these variables: the statements that determine them, and all that contain closures,
    /// because closures are numbered.
    pub(super) fn of(change: &Change<'_>, before: &BTreeMap<String, Known>, names: &BTreeSet<&str>) -> Self {
        let statements = &change.split.statements;
        let counted = |statement: &&Statement| {
            let text = &change.code[statement.range.clone()];
            ["|", "async", "struct ", "enum ", "!"].iter().any(|word| text.contains(word))
        };
        let mut needed: BTreeSet<&str> =
            statements.iter().filter(counted).flat_map(|s| &s.uses).map(String::as_str).collect();
        needed.extend(names);
        let mut taken = vec![false; statements.len()];
        for (statement, taken) in statements.iter().zip(&mut taken).rev() {
            let binds = statement.binds.iter().any(|binding| needed.contains(binding.name.as_str()));
            let settles =
                statement.binds.is_empty() && statement.mentions.iter().any(|name| needed.contains(name.as_str()));
            if counted(&statement) || binds || settles {
                *taken = true;
                needed.extend(statement.uses.iter().map(String::as_str));
            }
        }
        let repeated = statements.iter().zip(&taken).filter(|(_, taken)| **taken).map(|(statement, _)| statement);
        let text: Vec<String> = repeated.clone().map(|statement| change.split.text(change.code, statement)).collect();
        let used: BTreeSet<&String> = repeated.flat_map(|statement| &statement.mentions).collect();
        let outside = before.iter().filter(|(name, _)| used.contains(name));
        Self {
            place: change.place.unwrap_or_default(),
            text: text.join("\n"),
            later: change.split.awaits,
            outside: outside.map(|(name, known)| (name.clone(), known.clone())).collect(),
        }
    }
}

/// Returns the statements of a cell that the type of one of its variables depends on.
pub(super) fn witness(name: &str, change: &Change<'_>, before: &BTreeMap<String, Known>) -> String {
    let statements = &change.split.statements;
    let declares = |statement: &&Statement| statement.binds.iter().any(|binding| binding.name == name);
    if let Some(declared) = statements.iter().rev().find(declares).and_then(|statement| statement.declared.as_ref()) {
        return format!("let {}: {declared} = ::chandlery::cell::any();", written(name));
    }
    let (taken, needed) = slice(name, change);
    let outside = before.iter().filter(|(name, _)| needed.contains(name.as_str()));
    let mut text: Vec<String> = outside.map(|(name, known)| known.stand_in(name)).collect();
    for (statement, _) in statements.iter().zip(taken).filter(|(_, taken)| *taken) {
        text.push(change.split.text(change.code, statement));
    }
    text.join("\n")
}

/// Returns the statements of a cell that determine one of its variables, and the names in them.
fn slice<'a>(name: &'a str, change: &'a Change<'_>) -> (Vec<bool>, BTreeSet<&'a str>) {
    let statements = &change.split.statements;
    let mut needed = BTreeSet::from([name]);
    let mut taken = vec![false; statements.len()];
    // Later statements may determine a type that a `let` leaves open, as `push` does for `Vec::new()`.
    for (statement, taken) in statements.iter().zip(&mut taken).rev() {
        let binds = statement.binds.iter().any(|binding| needed.contains(binding.name.as_str()));
        let settles = statement.binds.is_empty() && statement.mentions.contains(name);
        if binds || settles {
            *taken = true;
            needed.extend(statement.uses.iter().map(String::as_str));
        }
    }
    (taken, needed)
}

/// Returns what a type that a cell's body made depends on: the names in the statements that determine its variable, and in the
/// types of the variables that those use.
pub(super) fn roots(name: &str, change: &Change<'_>, before: &BTreeMap<String, Known>) -> BTreeSet<String> {
    let (taken, needed) = slice(name, change);
    let own = change.split.statements.iter().zip(taken).filter(|(_, taken)| *taken);
    let mut roots: BTreeSet<String> = own.flat_map(|(statement, _)| &statement.mentions).cloned().collect();
    for (_, known) in before.iter().filter(|(name, _)| needed.contains(name.as_str())) {
        roots.extend(known.roots.iter().chain(&known.mentions).cloned());
    }
    roots
}
