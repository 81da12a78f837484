//! The engine's side of the worker: requests, what became of the variables, and a worker's end.

use std::collections::BTreeSet;

use super::outcome::{self, error};
use super::process::{Served, Watch};
use super::split::Split;
use super::types::Namer;
use super::variables::Change;
use super::{DirectEngine, Ready};
use crate::engine::{Event, Outcome, Output, Stream};
use crate::worker::frame::Request;

/// Output with the places in generated sources as cell and line, as in the messages of panics.
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
    /// Runs a compiled cell.
    pub(super) fn run(
        &mut self,
        code: &str,
        number: u32,
        parsed: &Split,
        Ready { library, dropped, place, .. }: Ready,
        output: &mut dyn Output,
    ) -> Outcome {
        let made = parsed.made();
        let change = Change { code, split: parsed, made: &made, place };
        let outcome = self.request(&Request::Cell { library }, Some(&change), (number, 0), output);
        let stored: BTreeSet<&str> = self.variables.iter().map(|(name, _)| name).collect();
        let early = made.iter().filter(|_| outcome != Outcome::Ok).map(|(name, _)| {
            ((*name).to_owned(), format!("`{name}` was not stored: cell {number} did not run to its end"))
        });
        let gone = dropped.into_iter().chain(early).filter(|(name, _)| !stored.contains(name.as_str()));
        for (name, why) in gone.collect::<Vec<_>>() {
            self.variables.lose(&name, why);
        }
        outcome
    }

    /// Drops variables, and says why.
    pub(super) fn forget(&mut self, gone: Vec<(String, String)>, output: &mut dyn Output) {
        if gone.is_empty() {
            return;
        }
        let names = gone.iter().map(|(name, _)| name.clone()).collect();
        for (name, why) in gone {
            say(output, &why);
            self.variables.lose(&name, why);
        }
        self.tell(&Request::Forget { names }, output);
    }

    /// A request whose outcome does not matter to the cell.
    pub(super) fn tell(&mut self, request: &Request, output: &mut dyn Output) {
        if let Some(worker) = &mut self.worker {
            let _ = worker.serve(request, output, &Watch::NONE);
        }
    }

    /// Sends a request to the worker and takes over what it changed.
    pub(super) fn request(
        &mut self,
        request: &Request,
        change: Option<&Change<'_>>,
        at: (u32, usize),
        output: &mut dyn Output,
    ) -> Outcome {
        let Some(worker) = &mut self.worker else {
            return error("WorkerDied", "the worker is not running", Vec::new());
        };
        if self.busy.running(worker.id()).is_err() {
            self.busy.rested();
            return outcome::interrupted("before it ran; no variable was changed");
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
            Served::Died(how) => return self.buried(&how, at.0),
        };
        self.names.set_values(&stored);
        let namer = Namer { toolkit: &self.toolkit_types, items: &self.items };
        let useless = self.variables.update(&stored, change, at.0, &namer);
        if !useless.is_empty() {
            self.tell(&Request::Forget { names: useless }, output);
        }
        self.sources.outcome(ending, at)
    }

    /// Forwards what threads of earlier cells wrote since.
    pub(super) fn overhear(&mut self, output: &mut dyn Output) {
        if let Some(worker) = &mut self.worker {
            worker.overhear(&mut Placed { output, sources: &self.sources });
        }
    }

    /// A worker that died between two cells, as of a thread that a cell left behind, is no fault of the next cell.
    pub(super) fn bury_between(&mut self, number: u32, output: &mut dyn Output) {
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

    /// The worker died: its variables are lost, definitions stay, and the next cell gets a new worker.
    pub(super) fn buried(&mut self, how: &str, number: u32) -> Outcome {
        let lost = self.lose_worker(&format!("this variable was lost when the worker ended in cell {number}"));
        if self.busy.asked() > 1 {
            return outcome::interrupted(&format!("by force: the worker was ended; {lost}"));
        }
        let value = format!("{how}; {lost}");
        error("WorkerDied", &value, vec![format!("the worker ended in cell {number}: {how}"), lost])
    }
}

/// What a user is told whose interrupt changed nothing.
fn still_runs<'a>(variables: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = variables.map(|name| format!("`{name}`")).collect();
    let loses = match names.as_slice() {
        [] => "there are no variables to lose".to_owned(),
        names => format!("these variables are lost then: {}", names.join(", ")),
    };
    format!(
        "this cell was asked to stop and still runs. It can stop at `chandlery::interrupt::check()?`, in progress bars, at `.await` and when it reads standard input. A second interrupt ends its process; {loses}\n"
    )
}

/// Tells the user something about the cell that is no error.
pub(super) fn say(output: &mut dyn Output, text: &str) {
    output.event(Event::Text { stream: Stream::Stderr, text: format!("{text}\n") });
}
