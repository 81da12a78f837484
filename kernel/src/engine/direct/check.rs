//! Checks cells without running them.

use std::collections::BTreeSet;

use super::directives::{self, Directive, Parsed, Step, UsageError, in_place};
use crate::engine::direct::DirectEngine;
use crate::engine::direct::explain::outcome::misused;
use crate::engine::direct::generate::codegen::Purpose;
use crate::engine::direct::run::serving;
use crate::engine::direct::session::items::Items;
use crate::engine::direct::session::unknown;
use crate::engine::{Cell, Outcome, Output};
use crate::worker::frame::WorkerRequest;

/// The errors of a cell: the first as the outcome, all in its traceback.
struct Findings(Outcome);

impl Findings {
    fn add(&mut self, outcome: Outcome) {
        match (&mut self.0, outcome) {
            (Outcome::Error { traceback, .. }, Outcome::Error { traceback: more, .. }) => traceback.extend(more),
            (first @ Outcome::Ok, outcome) => *first = outcome,
            (Outcome::Error { .. }, Outcome::Ok) => {}
        }
    }
}

impl DirectEngine {
    /// Finds what is wrong in a cell and keeps what it would define, without running it. Dependencies are built.
    pub(super) fn check_cell(&mut self, cell: &Cell, may_fail: bool, output: &mut dyn Output) -> Outcome {
        let started = self.ready(cell, output);
        if started != Outcome::Ok {
            return started;
        }
        self.blocked.clear();
        let mut defined = BTreeSet::new();
        let before = self.unknown.clone();
        let Findings(outcome) = match directives::parse(&cell.code) {
            Ok(parsed) => self.check_parts(&parsed, cell, &mut defined, output),
            Err(UsageError { line, problem }) => {
                defined = unknown::defined(&cell.code);
                Findings(misused(&problem, self.sources.place_of(cell.number, line)))
            }
        };
        if outcome == Outcome::Ok && self.blocked.is_empty() {
            self.unknown.remove(&defined);
        } else if outcome != Outcome::Ok && may_fail {
            self.unknown = before;
        } else {
            self.lose_track(&defined, cell.number);
        }
        for why in &self.blocked {
            serving::say(output, &format!("not checked completely: {why}"));
        }
        outcome
    }

    fn check_parts(
        &mut self,
        parsed: &Parsed,
        cell: &Cell,
        defined: &mut BTreeSet<String>,
        output: &mut dyn Output,
    ) -> Findings {
        let mut found = Findings(Outcome::Ok);
        let depends = |step: &Step| matches!(step.directive, Directive::Dep(_));
        if parsed.steps.iter().any(depends) {
            // Code that uses a crate cannot be checked without it.
            let outcome = self.depend(&parsed.steps, cell.number, output);
            if outcome != Outcome::Ok {
                let names = parsed.steps.iter().filter_map(|step| match &step.directive {
                    Directive::Dep(line) => line.split(|c: char| c == '=' || c.is_whitespace()).next(),
                    _ => None,
                });
                let names = names.map(|name| name.trim_matches('"').replace('-', "_")).collect();
                self.unknown.add(&names, cell.number);
                defined.extend(names);
            }
            found.add(outcome);
        }
        for step in &parsed.steps {
            found.add(self.check_step(step, cell, defined, output));
        }
        if !parsed.rust.lines().all(|line| line.trim().is_empty()) {
            defined.extend(unknown::defined(&parsed.rust));
            let mut outcome = self.rust(&parsed.rust, cell.number, Purpose::Check, output);
            directives::advise(&mut outcome, &parsed.rust);
            found.add(outcome);
        }
        for step in &parsed.steps {
            if let Directive::Test(words) = &step.directive {
                found.add(self.test(words, (cell, step.line), Purpose::Check, output));
            }
        }
        found
    }

    fn check_step(
        &mut self,
        step: &Step,
        cell: &Cell,
        defined: &mut BTreeSet<String>,
        output: &mut dyn Output,
    ) -> Outcome {
        let at = (cell.number, step.line);
        match &step.directive {
            Directive::Verb(line) => {
                let outcome = self.request(&WorkerRequest::Check { line: line.clone() }, None, at, output);
                let mut words = line.split_whitespace().skip_while(|word| !word.starts_with("--as"));
                let name = words.next().and_then(|word| word.strip_prefix("--as=").or_else(|| words.next()));
                defined.extend(name.map(str::to_owned));
                outcome
            }
            Directive::Time(statement) | Directive::Type(statement) => {
                let purpose = match step.directive {
                    Directive::Type(_) => Purpose::Type,
                    _ => Purpose::Check,
                };
                let rust = in_place(statement, step.line, &cell.code);
                defined.extend(unknown::defined(&rust));
                self.rust(&rust, cell.number, purpose, output)
            }
            Directive::Reset => {
                self.unknown.clear();
                self.items = Items::default();
                self.variables.clear(None);
                self.request(&WorkerRequest::Reset, None, at, output)
            }
            Directive::Offline(on) => {
                let offline = &mut self.dependencies.offline;
                *offline = on.unwrap_or(!*offline);
                Outcome::Ok
            }
            // Handled by `check_parts`, after the cell's own code.
            Directive::Test(_) => Outcome::Ok,
            // Dependencies were built before, together. Scripts do not run. The others do not change anything that a check reads.
            Directive::Dep(_)
            | Directive::Shell(..)
            | Directive::Help
            | Directive::Vars
            | Directive::Deps
            | Directive::Timing(_)
            | Directive::Opt(_)
            | Directive::Explain(_)
            | Directive::Version
            | Directive::Needless(..) => Outcome::Ok,
        }
    }

    /// Makes these names unknown, because a cell that would define them does not compile.
    fn lose_track(&mut self, names: &BTreeSet<String>, cell: u32) {
        let stale = self.items.defining(names);
        self.items = self.items.without(&stale);
        for name in names {
            self.variables.lose(name, format!("cell {cell}, which would define `{name}`, is not known to compile"));
        }
        self.unknown.add(names, cell);
    }
}
