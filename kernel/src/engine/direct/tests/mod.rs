//! `%test`: compiles the tests that cells define again, with what they need and `--cfg test`, and runs them in the worker.

mod filter;
mod found;
mod report;

use super::directives::in_place;
use crate::engine::direct::DirectEngine;
use crate::engine::direct::explain::outcome::misused;
use crate::engine::direct::generate::codegen::Purpose;
use crate::engine::direct::run::serving;
use crate::engine::direct::session::items::Items;
use crate::engine::{Cell, Event, Outcome, Output};
use chandlery::display::MimeBundle;
use filter::{Filter, FilterError};
use found::Test;
use report::{Results, TestOutput};

/// Returns the function that runs the selected tests, and its call.
const RUNNER: &str = "__chandlery_tests";

/// Returns all tests in force, with the definitions rewritten so that they can be called.
fn all_tests(items: &Items) -> (Vec<Test>, Items) {
    let mut all = Vec::new();
    let callable = items.replaced(|definition| {
        let (tests, callable) = found::tests(definition)?;
        all.extend(tests);
        Some(callable)
    });
    all.sort_by_key(|test| test.cell);
    (all, callable)
}

/// Returns the code that runs some tests, by number.
fn runner(tests: &[(usize, &Test)]) -> String {
    let call = |(number, test): &(usize, &Test)| {
        format!("{}({number}, || ::chandlery::cell::testing::failure({}())), ", test.conditions, test.name)
    };
    let calls: String = tests.iter().map(call).collect();
    format!(
        "fn {RUNNER}() -> ::core::result::Result<(), ::chandlery::interrupt::Interrupted> \
         {{ ::chandlery::cell::testing::run(&[{calls}]) }} {RUNNER}()?;"
    )
}

impl DirectEngine {
    /// Runs the tests that the words of a line select, and shows them as a table.
    pub(super) fn test(
        &mut self,
        words: &str,
        (cell, line): (&Cell, usize),
        purpose: Purpose,
        output: &mut dyn Output,
    ) -> Outcome {
        let usage = |this: &Self, problem: FilterError| misused(&problem, this.sources.place_of(cell.number, line));
        let filter = match Filter::parse(words) {
            Ok(filter) => filter,
            Err(problem) => return usage(self, problem),
        };
        let (all, callable) = all_tests(&self.items);
        let chosen: Vec<&Test> = all.iter().filter(|test| filter.chooses(test) && filter.lists(test)).collect();
        if all.is_empty() {
            return usage(self, FilterError::NoTests);
        }
        if chosen.is_empty() {
            let (words, defined) = (words.to_owned(), all.iter().map(|test| test.name.clone()).collect());
            return usage(self, FilterError::NothingSelected { words, defined });
        }
        let runs = |test: &Test| filter.runs(test) && test.problem.is_none();
        let run: Vec<(usize, &Test)> = chosen.iter().copied().enumerate().filter(|(_, test)| runs(test)).collect();
        let mut told = TestOutput::new(output);
        let outcome = match run.is_empty() {
            true => Outcome::Ok,
            false => {
                self.run_tests(&in_place(&runner(&run), line, &cell.code), cell.number, callable, purpose, &mut told)
            }
        };
        let told = told.finish();
        if purpose == Purpose::Check || (outcome != Outcome::Ok && told.is_empty()) {
            return outcome; // they did not run, or do not compile
        }
        let results = Results::new(&chosen, &filter, told, &|place| self.sources.placed(place));
        output.event(Event::Display { data: results.table(), id: None });
        results.outcome(outcome)
    }

    /// Compiles and runs the code that calls tests. The definitions in force do not change.
    fn run_tests(
        &mut self,
        code: &str,
        number: u32,
        callable: Items,
        purpose: Purpose,
        output: &mut dyn Output,
    ) -> Outcome {
        let items = std::mem::replace(&mut self.items, callable);
        if let Ok(compiler) = &mut self.compiler {
            compiler.compile_tests(true);
        }
        let outcome = self.rust(code, number, purpose, output);
        if let Ok(compiler) = &mut self.compiler {
            compiler.compile_tests(false);
        }
        self.items = items;
        outcome
    }

    /// Returns the tests in modules before a cell, to find those it replaces; `None` if the cell does not have tests.
    pub(super) fn tests_before(&self, code: &str) -> Vec<Test> {
        if code.contains("test") { all_tests(&self.items).0 } else { Vec::new() }
    }

    /// Shows which tests a cell defined, and which are gone because it defined another module of the same name.
    pub(super) fn tell_of_tests(&mut self, code: &str, number: u32, before: &[Test], output: &mut dyn Output) {
        if !code.contains("test") {
            return;
        }
        let (all, _) = all_tests(&self.items);
        let gone = before.iter().filter(|old| old.name.contains("::") && !all.iter().any(|test| test.name == old.name));
        let gone: Vec<String> = gone.map(|test| format!("`{}` of cell {}", test.name, test.cell)).collect();
        if !gone.is_empty() {
            let gone = gone.join(", ");
            serving::say(output, &format!("removed with the module that cell {number} redefines: {gone}"));
        }
        let data = match all.iter().filter(|test| test.cell == number).count() {
            0 => return,
            1 => MimeBundle::text("1 test defined; %test runs it"),
            count => MimeBundle::text(format!("{count} tests defined; %test runs them")),
        };
        output.event(Event::Display { data, id: None });
    }
}
