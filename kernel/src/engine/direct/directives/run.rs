//! Runs directives.

use chandlery::display::MimeBundle;

use super::{Directive, Parsed, Spent, Step, UsageError, tables};
use crate::engine::direct::DirectEngine;
use crate::engine::direct::explain::outcome::{error, misused};
use crate::engine::direct::generate::codegen::Purpose;
use crate::engine::{Cell, Event, Outcome, Output};
use crate::toolkit;
use crate::worker::frame::WorkerRequest;

/// The settings that directives change for the cells that follow.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::engine::direct) struct Settings {
    timing: bool,
    /// The opt-level, if it is not 0.
    level: Option<char>,
}

impl DirectEngine {
    /// Runs a cell's directives, then its Rust code.
    pub(in crate::engine::direct) fn perform(&mut self, cell: &Cell, output: &mut dyn Output) -> Outcome {
        self.spent = Spent::default();
        let Parsed { steps, time, release, rust } = match super::parse(&cell.code) {
            Ok(parsed) => parsed,
            Err(UsageError { line, problem }) => {
                return misused(&problem, self.sources.place_of(cell.number, line));
            }
        };
        let timing = self.settings.timing;
        let mut depends = false;
        for step in &steps {
            if let Directive::Dep(_) = step.directive {
                // The dependencies of a cell are built together.
                if std::mem::replace(&mut depends, true) {
                    continue;
                }
                let outcome = self.depend(&steps, cell.number, output);
                if outcome != Outcome::Ok {
                    return outcome;
                }
                continue;
            }
            let outcome = self.directive(step, cell, output);
            if outcome != Outcome::Ok {
                return outcome;
            }
        }
        let mut outcome = Outcome::Ok;
        let level = if release { Some('3') } else { self.settings.level };
        let mut tests = steps.iter().filter(|step| matches!(step.directive, Directive::Test(_))).peekable();
        if !rust.lines().all(|line| line.trim().is_empty()) {
            let before = self.tests_before(&rust);
            outcome = self.rust(&rust, cell.number, Purpose::Run(level), output);
            super::advise(&mut outcome, &rust);
            if outcome == Outcome::Ok && tests.peek().is_none() {
                self.tell_of_tests(&rust, cell.number, &before, output);
            }
        }
        for step in tests {
            if let (Directive::Test(words), Outcome::Ok) = (&step.directive, &outcome) {
                outcome = self.test(words, (cell, step.line), Purpose::Run(level), output);
            }
        }
        if time {
            show(output, self.spent.halves());
        } else if timing && let Some(steps) = self.spent.steps() {
            show(output, steps);
        }
        outcome
    }

    fn directive(&mut self, step: &Step, cell: &Cell, output: &mut dyn Output) -> Outcome {
        let at = (cell.number, step.line);
        match &step.directive {
            Directive::Help => show(output, tables::help()),
            Directive::Verb(line) => {
                return self.request(&WorkerRequest::Magic { line: line.clone() }, None, at, output);
            }
            Directive::Vars => {
                let cells = self.variables.iter().map(|(name, known)| (name.to_owned(), known.cell)).collect();
                return self.request(&WorkerRequest::List { cells }, None, at, output);
            }
            Directive::Reset => {
                let outcome = self.request(&WorkerRequest::Reset, None, at, output);
                // Even if dropping one failed, the variables are gone.
                if !outcome.is_interrupt() {
                    self.forget_everything();
                }
                return outcome;
            }
            Directive::Shell(shell, script) => {
                let request = WorkerRequest::Shell { shell: shell.clone(), script: script.clone() };
                return self.request(&request, None, at, output);
            }
            // Handled by `perform`.
            Directive::Dep(_) | Directive::Test(_) => {}
            Directive::Deps => show(output, self.dependency_table()),
            Directive::Offline(on) => {
                let offline = &mut self.dependencies.offline;
                *offline = on.unwrap_or(!*offline);
                let how = if *offline { "without the network" } else { "with the network" };
                show(output, MimeBundle::text(format!(":dep works {how}")));
            }
            Directive::Time(statement) => return self.time(statement, at, cell, output),
            Directive::Timing(on) => {
                self.settings.timing = on.unwrap_or(!self.settings.timing);
                let now = if self.settings.timing { "on" } else { "off" };
                show(output, MimeBundle::text(format!("timing is {now}")));
            }
            Directive::Opt(level) => {
                let level = level.unwrap_or(if self.settings.level.is_some() { '0' } else { '2' });
                self.settings.level = (level != '0').then_some(level);
                show(output, MimeBundle::text(format!("cells are compiled at opt-level {level}")));
            }
            Directive::Type(expression) => {
                let rust = in_place(expression, step.line, &cell.code);
                return self.rust(&rust, cell.number, Purpose::Type, output);
            }
            Directive::Explain(code) => return self.explain(code, at, output),
            Directive::Version => {
                let versions = concat!("chandlery ", env!("CARGO_PKG_VERSION"));
                show(output, MimeBundle::text(format!("{versions}\n{}", toolkit::BUILT_WITH)));
            }
            Directive::Needless(name, why) => {
                show(output, MimeBundle::text(format!("{name} has no effect here: {why}")));
            }
        }
        Outcome::Ok
    }

    /// Runs one statement of a cell and shows how long it took.
    fn time(&mut self, statement: &str, at: (u32, usize), cell: &Cell, output: &mut dyn Output) -> Outcome {
        let rust = in_place(statement, at.1, &cell.code);
        let outcome = self.rust(&rust, at.0, Purpose::Run(self.settings.level), output);
        show(output, std::mem::take(&mut self.spent).halves());
        outcome
    }

    fn explain(&mut self, code: &str, at: (u32, usize), output: &mut dyn Output) -> Outcome {
        let compiler = match &self.compiler {
            Ok(compiler) => compiler,
            Err(problem) => return problem.outcome(),
        };
        let code = match (code, &self.last_error) {
            ("", Some(last)) => last.clone(),
            ("", None) => return error("UsageError", "no cell failed with an error that has a code", Vec::new()),
            (code, _) => code.to_owned(),
        };
        match compiler.explain(&code) {
            Ok(text) => show(output, MimeBundle::text(text)),
            Err(problem) => return error("UsageError", &problem.to_string(), self.sources.place_of(at.0, at.1)),
        }
        Outcome::Ok
    }
}

/// Returns the Rust part of a directive's line at its position in the cell, so that errors name its line and column.
pub(in crate::engine::direct) fn in_place(rust: &str, line: usize, code: &str) -> String {
    let written = code.lines().nth(line - 1).unwrap_or_default();
    let before = written.strip_suffix(written.trim_start()).unwrap_or_default().len();
    let column = written.find(rust).unwrap_or(before);
    "\n".repeat(line - 1) + &" ".repeat(written[..column].chars().count()) + rust
}

fn show(output: &mut dyn Output, data: MimeBundle) {
    output.event(Event::Display { data, id: None });
}
