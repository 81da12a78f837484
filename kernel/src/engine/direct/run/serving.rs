//! Requests to the worker, what becomes of the variables, and the end of a worker.

use std::collections::BTreeSet;

use chandlery::cell::Ending;

use super::process::{Served, Watch};
use crate::engine::direct::compile::rustc::Compiler;
use crate::engine::direct::explain::outcome::{self, error};
use crate::engine::direct::generate::codegen::Loss;
use crate::engine::direct::read::split::Split;
use crate::engine::direct::session::types::Namer;
use crate::engine::direct::session::variables::Change;
use crate::engine::direct::{CompiledCell, DirectEngine};
use crate::engine::{Event, Outcome, Output, Stream};
use crate::worker::frame::WorkerRequest;

/// Output in which positions in generated source are replaced by cell and line, as in the messages of panics.
struct Placed<'a> {
    output: &'a mut dyn Output,
    sources: &'a outcome::Sources,
}

impl Output for Placed<'_> {
    fn event(&mut self, event: Event) {
        self.output.event(match event {
            Event::Text { stream: Stream::Stderr, text } => {
                Event::Text { stream: Stream::Stderr, text: self.sources.placed(text) }
            }
            other => other,
        });
    }

    fn input(&mut self, prompt: &str, password: bool) -> Option<String> {
        self.output.input(prompt, password)
    }
}

impl DirectEngine {
    /// Runs a compiled cell. Returns `None` if it did not run because it would store closures.
    pub(crate) fn run(
        &mut self,
        code: &str,
        number: u32,
        parsed: &Split,
        CompiledCell { library, dropped, place, .. }: CompiledCell,
        output: &mut dyn Output,
    ) -> Option<Outcome> {
        let mut made = parsed.made();
        made.extend(self.variables.reassigned(parsed).into_iter().map(|(name, known)| (name, known.mutable)));
        let made: Vec<(String, bool)> = made.into_iter().map(|(name, mutable)| (name.to_owned(), mutable)).collect();
        let made: Vec<(&str, bool)> = made.iter().map(|(name, mutable)| (name.as_str(), *mutable)).collect();
        let generation = self.compiler.as_ref().map_or(0, Compiler::generation);
        let change = Change { code, split: parsed, made: &made, place, generation };
        let before = self.variables.clone();
        let other = before.iter().filter(|(_, known)| known.generation != generation);
        let vouched = other.map(|(name, _)| name.to_owned()).collect();
        let at = (number, 0);
        let mut outcome = match self.ending(&WorkerRequest::Cell { library, vouched }, Some(&change), at, output) {
            Ok(Ending::HoldsClosures) => return None,
            Ok(ending) => self.sources.outcome(ending, at),
            Err(outcome) => outcome,
        };
        let stored: BTreeSet<String> = self.variables.iter().map(|(name, _)| name.to_owned()).collect();
        if let Outcome::Error { traceback, .. } = &mut outcome {
            let completed = made.iter().map(|(name, _)| *name).filter(|name| self.variables.made_by(name, number));
            let completed: Vec<String> = completed.map(|name| format!("`{name}`")).collect();
            if !completed.is_empty() {
                traceback.push(format!("kept, as completed before that: {}", completed.join(", ")));
            }
        }
        for (name, loss, why) in dropped {
            if !stored.contains(&name) {
                let known = match loss {
                    Loss::Borrows | Loss::Guards => None,
                    Loss::Moved => before.get(&name).cloned().or_else(|| change.unstored(&name, &before, number)),
                };
                self.variables.give_away(&name, known, why);
            }
        }
        if outcome != Outcome::Ok {
            for (name, _) in made.iter().filter(|(name, _)| !stored.contains(*name)) {
                let why = format!("`{name}` was not stored: cell {number} did not run to completion");
                if before.has(name) || self.variables.why_gone(name).is_none() {
                    self.variables.lose(name, why);
                }
            }
        }
        Some(outcome)
    }

    /// Drops variables, and notes why.
    pub(crate) fn forget(&mut self, gone: Vec<(String, String)>, output: &mut dyn Output) {
        if gone.is_empty() {
            return;
        }
        let names = gone.iter().map(|(name, _)| name.clone()).collect();
        for (name, why) in gone {
            say(output, &why);
            self.variables.lose(&name, why);
        }
        let dropped =
            self.worker.as_mut().map(|worker| worker.serve(&WorkerRequest::Forget { names }, output, &Watch::NONE));
        if let Some(Served::Done { ending: Ending::Panicked { message, .. }, .. }) = dropped {
            say(output, &message);
        }
    }

    /// A request whose outcome does not matter to the cell.
    pub(crate) fn tell(&mut self, request: &WorkerRequest, output: &mut dyn Output) {
        if let Some(worker) = &mut self.worker {
            let _ = worker.serve(request, output, &Watch::NONE);
        }
    }

    /// Sends a request to the worker and records what it changed.
    pub(crate) fn request(
        &mut self,
        request: &WorkerRequest,
        change: Option<&Change<'_>>,
        at: (u32, usize),
        output: &mut dyn Output,
    ) -> Outcome {
        match self.ending(request, change, at, output) {
            Ok(ending) => self.sources.outcome(ending, at),
            Err(outcome) => outcome,
        }
    }

    /// The same, but returns how it ended in the worker, or the outcome if it did not get that far.
    fn ending(
        &mut self,
        request: &WorkerRequest,
        change: Option<&Change<'_>>,
        at: (u32, usize),
        output: &mut dyn Output,
    ) -> Result<Ending, Outcome> {
        let Some(worker) = &mut self.worker else {
            return Err(error("WorkerDied", "the worker is not running", Vec::new()));
        };
        if self.busy.running(worker.id()).is_err() {
            self.busy.rested();
            return Err(outcome::interrupted("before it ran; no variable was changed"));
        }
        let mut placed = Placed { output, sources: &self.sources };
        let overdue = || self.busy.is_overdue().then(|| still_runs(self.variables.iter().map(|(name, _)| name)));
        let watch = Watch { before_wait: &|| self.busy.rested(), overdue: &overdue };
        let served = worker.serve(request, &mut placed, &watch);
        self.busy.rested();
        let (ending, stored) = match served {
            Served::Done { ending, variables, load, run } => {
                self.spent.load += load;
                self.spent.run += run;
                (ending, variables)
            }
            Served::Died(how) => return Err(self.buried(&how, at.0)),
        };
        self.names.set_values(&stored);
        let namer = Namer { toolkit: &self.toolkit_types, items: &self.items };
        let useless = self.variables.update(&stored, change, at.0, &namer);
        if !useless.is_empty() {
            self.tell(&WorkerRequest::Forget { names: useless }, output);
        }
        Ok(ending)
    }

    /// Forwards what threads of earlier cells have written since.
    pub(crate) fn drain_background_output(&mut self, output: &mut dyn Output) {
        if let Some(worker) = &mut self.worker {
            worker.drain_background_output(&mut Placed { output, sources: &self.sources });
        }
    }

    /// A worker that died between two cells, for example because of a thread that a cell left behind, is not an error of the next cell.
    pub(crate) fn reap_worker(&mut self, number: u32, output: &mut dyn Output) {
        let mut placed = Placed { output, sources: &self.sources };
        let Some(how) = self.worker.as_mut().and_then(|worker| worker.dead(&mut placed)) else { return };
        let lost = self.lose_worker("this variable was lost when the worker ended between two cells");
        say(output, &format!("the worker ended before cell {number}: {how}; {lost}"));
    }

    fn lose_worker(&mut self, why: &str) -> String {
        self.worker = None;
        let lost = self.variables.clear(Some(why));
        match lost.is_empty() {
            true => "no variables were lost".to_owned(),
            false => format!("variables lost: {}", lost.join(", ")),
        }
    }

    /// Handles the death of the worker: its variables are lost, definitions stay, and the next cell gets a new worker.
    pub(crate) fn buried(&mut self, how: &str, number: u32) -> Outcome {
        let lost = self.lose_worker(&format!("this variable was lost when the worker ended in cell {number}"));
        if self.busy.asked() > 1 {
            return outcome::interrupted(&format!("by force: the worker was ended; {lost}"));
        }
        let value = format!("{how}; {lost}");
        error("WorkerDied", &value, vec![format!("the worker ended in cell {number}: {how}"), lost])
    }
}

/// The message for a user whose interrupt had no effect.
fn still_runs<'a>(variables: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = variables.map(|name| format!("`{name}`")).collect();
    let loses = match names.as_slice() {
        [] => "there are no variables to lose".to_owned(),
        names => format!("that loses these variables: {}", names.join(", ")),
    };
    format!(
        "this cell was asked to stop and is still running. It can stop at `chandlery::interrupt::check()?`, in progress bars, at `.await` and when it reads standard input. A second interrupt ends its process; {loses}\n"
    )
}

/// Shows the user a notice about the cell that is not an error.
pub(crate) fn say(output: &mut dyn Output, text: &str) {
    output.event(Event::Text { stream: Stream::Stderr, text: format!("{text}\n") });
}
