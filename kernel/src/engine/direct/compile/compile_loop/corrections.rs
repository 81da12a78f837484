//! What is changed about a cell after the compiler has refused it.

use std::collections::BTreeSet;

use chandlery::cell::short_type_name;

use super::Progress;
use crate::engine::direct::explain::diagnostics::Diagnostics;
use crate::engine::direct::explain::rendered::Rendering;
use crate::engine::direct::generate::codegen::{Loss, PRELUDE};
use crate::engine::direct::generate::source::{Lines, StoredVariable};
use crate::engine::direct::session::items::Items;
use crate::engine::direct::session::reach::{Reach, Roots};

impl Progress<'_> {
    /// Drops the variables whose type has another meaning under the new definitions.
    pub(super) fn outdate(&mut self, before: &Items) -> Outdated {
        if !std::mem::take(&mut self.redefined) {
            return Outdated::default();
        }
        let (old, new) = (Reach::of(before), Reach::of(&self.attempt.items));
        let variables = self.attempt.variables.iter();
        let changed: Vec<(String, String)> = variables
            .filter_map(|(name, known)| {
                let what = old.change(&Roots::of(known, before), &new)?;
                let kind = short_type_name(&known.type_name);
                let number = self.attempt.number;
                Some((
                    name.to_owned(),
                    format!("`{name}` was dropped: its type `{kind}` was redefined: cell {number} changes `{what}`"),
                ))
            })
            .collect();
        let outdated = Outdated { any: !changed.is_empty(), is_other: old.makes_other_types(&new) };
        for (name, why) in &changed {
            self.attempt.variables.lose(name, why.clone());
        }
        self.outdated.extend(changed);
        outdated
    }

    /// Drops earlier definitions that conflict with the new ones, or that depend on them and no longer compile.
    pub(super) fn without_earlier_definitions(&mut self, found: &Diagnostics, at: &Rendering<'_>) -> bool {
        let mut again = false;
        let number = self.attempt.number;
        for (place, why) in found.in_earlier_cells(at) {
            let items = &self.attempt.items;
            let Some(item) = items.at(place).filter(|item| !self.own.contains(&item.at)) else { continue };
            if !(why.is_none() || self.choice.checked.contains(&item.at)) || self.trimmed.contains(&place) {
                continue;
            }
            let part = items.without_import(place);
            if part.is_none() && !self.removed.insert(item.at) {
                continue;
            }
            let (title, cell) = (item.title(), item.at.0);
            let what = match &part {
                Some((_, name)) => format!("`{name}` of `{title}` of cell {cell}"),
                None => format!("`{title}` of cell {cell}"),
            };
            let why = match why {
                None => format!("{what} was dropped: cell {number} redefines it"),
                Some(why) => {
                    let (cell, line, column) = place;
                    let new = list(&self.attempt.changed);
                    format!(
                        "{what} was dropped: it does not compile with the new {new}: {why} (cell {cell}:{line}:{column})"
                    )
                }
            };
            let mut names: Vec<String> = item.names().map(str::to_owned).collect();
            if let Some((rest, name)) = part {
                self.trimmed.insert(place);
                names.push(name);
                self.attempt.items = rest;
            }
            self.notices.push((names, why));
            again = true;
        }
        if again {
            self.attempt.items = self.attempt.items.without(&self.removed);
            self.choice.checked.retain(|at| !self.removed.contains(at));
            self.redefined = true;
        }
        again
    }

    /// Drops variables whose type is inferred from code that no longer compiles.
    pub(super) fn without_inferred(&mut self, found: &Diagnostics, lines: &Lines) -> bool {
        let mut again = false;
        let variables = &mut self.attempt.variables;
        for (names, why) in found.in_witnesses(lines) {
            for name in names {
                let why = format!(
                    "`{name}` can no longer be used: the code that determines its type does not compile anymore: {why}"
                );
                again |= variables.has(&name) || variables.moved().any(|(moved, _)| moved == name);
                variables.lose(&name, why);
            }
        }
        again
    }

    /// Leaves out the variables of statements that borrow from others, in a cell that runs statement by statement.
    pub(super) fn without_borrowers(&mut self, found: &Diagnostics, at: &Rendering<'_>) -> bool {
        if !self.choice.staged {
            return false;
        }
        let mut again = false;
        let statements = &self.attempt.parsed.statements;
        let ends = (0..statements.len()).map(Some).chain([None]);
        for place in found.borrowed_too_long(at) {
            let offset = self.offset(place);
            let own = statements.iter().find(|statement| statement.range.contains(&offset));
            for name in own.iter().flat_map(|statement| &statement.binds).map(|binding| &binding.name) {
                for failed in ends.clone() {
                    again |= self.dropped.insert(StoredVariable::made(name).when(failed), Loss::Borrows).is_none();
                }
                let why = borrows(name, self.attempt.number);
                self.reasons.entry(name.clone()).or_insert((Loss::Borrows, why));
            }
        }
        again
    }

    /// Drops variables that keep others borrowed before those are stored.
    pub(super) fn without_guards(&mut self, found: &Diagnostics) -> bool {
        let mut again = false;
        for name in found.guards() {
            let own = self
                .dropped
                .iter_mut()
                .filter(|(kept, loss)| kept.made && kept.name == name && **loss == Loss::Borrows);
            for (_, loss) in own {
                *loss = Loss::Guards;
                again = true;
            }
        }
        again
    }

    /// Stores variables without the fields that were moved out of them.
    pub(super) fn without_moved_fields(&mut self, found: &Diagnostics, lines: &Lines) -> bool {
        let mut again = false;
        for (kept, field) in found.moved_fields(lines) {
            again |= self.fields.entry(kept).or_default().insert(field);
        }
        again
    }

    /// Leaves out variables that were moved or that borrow.
    pub(super) fn without_unstorable(&mut self, found: &Diagnostics, lines: &Lines) -> bool {
        let mut again = false;
        let number = self.attempt.number;
        for (kept, moved) in found.not_storable(lines, !self.choice.staged).into_iter().flatten() {
            let name = &kept.name;
            // The closure of a statement moves a variable into itself to assign to it, and the variable stays there.
            if self.choice.staged && moved && self.attempt.parsed.assigns_part(name) {
                self.run_whole();
                return true;
            }
            let (loss, why) = if moved {
                (Loss::Moved, format!("`{name}` was moved in cell {number}; clone it there to keep it"))
            } else {
                (Loss::Borrows, borrows(name, number))
            };
            self.reasons.entry(name.clone()).or_insert((loss, why));
            again |= self.dropped.insert(kept, loss).is_none();
        }
        again
    }

    /// Hides names of the prelude that the user's own imports bring as well.
    pub(super) fn without_ambiguous(&mut self, found: &Diagnostics) -> bool {
        let known = self.choice.hidden.len();
        let ambiguous = found.ambiguous().into_iter().filter(|name| PRELUDE.contains(&name.as_str()));
        self.choice.hidden.extend(ambiguous);
        self.choice.hidden.len() > known
    }

    /// Reads macro calls in another way, if there is one left. Returns whether there was.
    pub(super) fn other_calls(&mut self, found: &Diagnostics, at: &Rendering<'_>) -> bool {
        if self.attempt.calls.are_empty() {
            return false;
        }
        let names = found.unknown_names().map(str::to_owned).collect();
        let offsets: Vec<usize> = found.own_places(at).into_iter().map(|place| self.offset(place)).collect();
        self.attempt.calls.unbind(&names) || self.attempt.calls.reconsider(&offsets)
    }
}

/// The effect of redefinitions on stored values.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outdated {
    /// Some variables were dropped.
    pub(super) any: bool,
    /// Types of earlier cells have another identity from now on.
    pub(super) is_other: bool,
}

fn borrows(name: &str, cell: u32) -> String {
    format!(
        "`{name}` of cell {cell} holds a reference, and references do not outlive their cell: clone what it refers to"
    )
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
