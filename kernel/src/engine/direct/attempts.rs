//! A cell's way through the compiler: again without what stood in its way, as long as that is not the cell itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::codegen::{Generated, Purpose, Unit};
use super::compile::Compiled;
use super::diagnostics::{Diagnostics, Place};
use super::items::{At, Items};
use super::outcome::{self, error};
use super::rendered::Rendering;
use super::source::Kept;
use super::split::Split;
use super::variables::Variables;
use super::{DirectEngine, Ready};
use crate::engine::Outcome;

/// How often a cell is compiled.
const MAX_COMPILES: usize = 10;

/// A cell, and what it is compiled with.
pub(super) struct Attempt<'a> {
    pub(super) code: &'a str,
    pub(super) number: u32,
    pub(super) purpose: Purpose,
    pub(super) parsed: &'a mut Split,
    pub(super) lints: &'a [String],
    /// With the cell's own.
    pub(super) items: Items,
    pub(super) variables: Variables,
    /// The names that the cell defines in another way than before.
    pub(super) changed: BTreeSet<String>,
}

impl DirectEngine {
    /// Compiles a cell, if need be again without variables that it cannot store, and without earlier definitions that do
    /// not go together with what it defines. What is returned instead is the cell's outcome.
    pub(super) fn compile(&mut self, attempt: Attempt<'_>) -> Result<Ready, Outcome> {
        let Attempt { code, number, purpose, parsed, lints, mut items, mut variables, changed } = attempt;
        let mut dropped: BTreeSet<Kept> = BTreeSet::new();
        let mut reasons = BTreeMap::new();
        let mut notices = Vec::new();
        let mut removed: BTreeSet<At> = BTreeSet::new();
        let own: BTreeSet<At> = parsed.definitions.iter().map(|own| own.at).collect();
        let mut trimmed: BTreeSet<Place> = BTreeSet::new();
        let mut checked = BTreeSet::new();
        let mut undisplayed = None;
        if !changed.is_empty() {
            checked = items.dependents(&changed);
        }
        for attempt in 1.. {
            let last = attempt == MAX_COMPILES;
            let begun = Instant::now();
            let unit = Unit {
                code,
                cell: number,
                split: parsed,
                items: &items,
                variables: &variables,
                dropped: &dropped,
                checked: &checked,
                lints,
                purpose,
                unknown: &self.unknown,
            };
            let place = unit.place();
            let Generated { text, lines } = unit.generate();
            let level = match purpose {
                Purpose::Run(level) => level,
                Purpose::Check | Purpose::Type => None,
            };
            let compiler = self.compiler.as_mut().map_err(|problem| error("NoCompiler", problem, Vec::new()))?;
            self.spent.split += begun.elapsed();
            let compiled = compiler.compile(&text, level, &self.busy, &mut self.spent);
            let compiled =
                compiled.map_err(|problem| error("CompileError", &format!("rustc: {problem}"), Vec::new()))?;
            let sources = &self.sources;
            let written = |cell, line| sources.line(cell, line);
            let (messages, file) = match compiled {
                Compiled::Library(library, file, messages) => {
                    let mut warnings = String::new();
                    if !messages.is_empty() {
                        let at = Rendering { file: &file, cell: number, lines: &lines, text: &text, written: &written };
                        let tops: Vec<_> = parsed.statements.iter().filter_map(|s| s.pattern.clone()).collect();
                        warnings = Diagnostics::parse(&messages).warnings(&at, &tops);
                    }
                    self.sources.add_unit(&file, lines);
                    let dropped = reasons.into_iter().collect();
                    return Ok(Ready { library, unit: file, dropped, warnings, notices, items, place });
                }
                Compiled::Stopped => return Err(outcome::interrupted("while compiling; no variable was changed")),
                Compiled::Died(how) => {
                    compiler.warm();
                    let how = format!("{how}; no variable was changed");
                    return Err(error("CompilerDied", &how, Vec::new()));
                }
                Compiled::Errors(messages, file) => (messages, file),
            };
            compiler.clean(&file);
            let found = Diagnostics::parse(&messages);
            let at = Rendering { file: &file, cell: number, lines: &lines, text: &text, written: &written };

            // Earlier definitions that stand against the new ones, or depend on them and do not compile any more.
            let mut again = false;
            for (place, why) in found.in_earlier_cells(&at) {
                let Some(item) = items.at(place).filter(|item| !own.contains(&item.at)) else { continue };
                if !(why.is_none() || checked.contains(&item.at)) || trimmed.contains(&place) {
                    continue;
                }
                let part = items.without_import(place);
                if part.is_none() && !removed.insert(item.at) {
                    continue;
                }
                let (title, cell) = (item.title(), item.at.0);
                let what = match &part {
                    Some((_, name)) => format!("`{name}` of `{title}` of cell {cell}"),
                    None => format!("`{title}` of cell {cell}"),
                };
                let why = match why {
                    None => format!("{what} was dropped: cell {number} defines it anew"),
                    Some(why) => {
                        let (cell, line, column) = place;
                        let new = list(&changed);
                        format!(
                            "{what} was dropped: it does not compile with the new {new}: {why} (cell {cell}:{line}:{column})"
                        )
                    }
                };
                let mut names: Vec<String> = item.names().map(str::to_owned).collect();
                if let Some((rest, name)) = part {
                    trimmed.insert(place);
                    names.push(name);
                    items = rest;
                }
                notices.push((names, why));
                again = true;
            }
            if again && !last {
                items = items.without(&removed);
                checked.retain(|at| !removed.contains(at));
                continue;
            }
            // Variables whose type follows from code that does not compile any more.
            for (names, why) in found.in_witnesses(&lines) {
                for name in names {
                    let why = format!(
                        "`{name}` cannot be used any more: the code that tells its type does not compile now: {why}"
                    );
                    again |= variables.iter().any(|(known, _)| known == name);
                    variables.lose(&name, why);
                }
            }
            if again && !last {
                continue;
            }
            for (kept, moved) in found.not_storable(&lines).into_iter().flatten() {
                let name = &kept.name;
                let why = if moved {
                    format!("`{name}` was moved in cell {number}; clone it there to keep it")
                } else {
                    format!(
                        "`{name}` of cell {number} holds a reference, and references do not outlive their cell: clone what it refers to"
                    )
                };
                reasons.entry(name.clone()).or_insert(why);
                again |= dropped.insert(kept);
            }
            if again && !last {
                continue;
            }
            // An error that has no `Display` is shown by `Debug`; if it has neither, what the compiler said first is to the point.
            let places = found.undisplayed(&at);
            if !last && parsed.show_by_debug(code, &places) {
                undisplayed = Some(found.report(&at));
                continue;
            }
            compiler.warm();
            let (unknown, nothing_else) = found.unknown(&lines);
            if nothing_else && !unknown.is_empty() {
                self.blocked = unknown.iter().filter_map(|name| self.unknown.explain(name)).collect();
                return Err(Outcome::Ok);
            }
            let unknown = unknown.into_iter().filter_map(|name| self.unknown.explain(name));
            let report = undisplayed.filter(|_| found.lacks_debug()).unwrap_or_else(|| found.report(&at));
            let gone = found.unknown_names().filter_map(|name| {
                let lost = notices.iter().find(|(names, _)| names.iter().any(|lost| lost == name));
                lost.map(|(_, why)| why.as_str()).or_else(|| variables.why_gone(name)).map(str::to_owned)
            });
            let mut notes: Vec<String> = gone.chain(unknown).collect();
            notes.dedup();
            return Err(outcome::compile_error(report, notes));
        }
        Err(error("CompileError", "the cell moves variables in a way that is not understood", Vec::new()))
    }
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
