//! `%dep`: builds, shows and loads dependencies.

use std::cell::Cell;
use std::path::Path;

use chandlery::cell::Ending;
use chandlery::display::{Align, Html, Mark, MimeBundle, TableView};

use super::{Directive, Step};
use crate::engine::direct::DirectEngine;
use crate::engine::direct::dependencies::{BuildContext, Failure};
use crate::engine::direct::explain::outcome::{error, interrupted, misused};
use crate::engine::direct::run::process::{Served, Watch};
use crate::engine::{Event, Outcome, Output, Stream};
use crate::worker::frame::WorkerRequest;

impl DirectEngine {
    /// Builds and loads all dependencies that a cell names. A failure changes nothing.
    pub(in crate::engine::direct) fn depend(
        &mut self,
        steps: &[Step],
        number: u32,
        output: &mut dyn Output,
    ) -> Outcome {
        let lines = steps.iter().filter_map(|step| match &step.directive {
            Directive::Dep(line) => Some((step.line, line.as_str())),
            _ => None,
        });
        let (places, lines): (Vec<usize>, Vec<&str>) = lines.unzip();
        let first = places.first().copied().unwrap_or(1);
        let toolkit = match &self.compiler {
            Ok(compiler) => compiler.toolkit().clone(),
            Err(problem) => return problem.outcome(),
        };
        // Paths are relative to the folder that cells are in, which they may have changed.
        let folder =
            self.worker.as_ref().and_then(|worker| std::fs::read_link(format!("/proc/{}/cwd", worker.id())).ok());
        let folder = folder.unwrap_or_else(|| std::env::current_dir().unwrap_or_default());
        let id = format!("dep-{}-{number}-{first}", std::process::id());
        let begun = std::time::Instant::now();
        let shown = Cell::new(false);
        let show = |text: String, output: &mut dyn Output| {
            let (data, id) = (quiet(&text), id.clone());
            output.event(if shown.replace(true) {
                Event::Update { data, id }
            } else {
                Event::Display { data, id: Some(id) }
            });
        };
        let around = BuildContext { folder: &folder, toolkit: &toolkit, program: &self.program, busy: &self.busy };
        let prepared = self.dependencies.prepare(&lines, &around, &mut |step| {
            show(format!("dependencies · {step} · {} s", begun.elapsed().as_secs()), output);
        });
        let loaded = match prepared {
            Ok(ready) => self.load_library(&ready.built.library, number, output).map(|()| ready),
            Err(Failure::Stopped) => Err(interrupted("while building dependencies; nothing was changed")),
            Err(Failure::Usage(line, problem)) => {
                let line = places.get(line).copied().unwrap_or(first);
                Err(misused(&problem, self.sources.place_of(number, line)))
            }
            Err(Failure::Cargo(words)) => Err(failed(&words, self.sources.place_of(number, first))),
        };
        let ready = match loaded {
            Ok(ready) => ready,
            Err(outcome) => {
                if shown.get() {
                    show("dependencies · not built".to_owned(), output);
                }
                return outcome;
            }
        };
        show(ready.summary.clone(), output);
        for note in &ready.notes {
            output.event(Event::Text { stream: Stream::Stderr, text: format!("{note}\n") });
        }
        self.dependencies.adopt(ready);
        if let (Some(built), Ok(compiler)) = (&self.dependencies.built, &mut self.compiler) {
            compiler.depend(built);
            self.sources.tokio = Some(built.tokio);
            if let Some(language) = self.names.language() {
                language.depend_on(&built.library, || self.dependencies.crates());
            }
        }
        Outcome::Ok
    }

    /// Loads the dependencies into a worker that was started again.
    pub(in crate::engine::direct) fn load_dependencies(&mut self, number: u32, output: &mut dyn Output) -> Outcome {
        let Some(library) = self.dependencies.built.as_ref().map(|built| built.library.clone()) else {
            return Outcome::Ok;
        };
        match self.load_library(&library, number, output) {
            Ok(()) => Outcome::Ok,
            Err(outcome) => outcome,
        }
    }

    fn load_library(&mut self, library: &Path, number: u32, output: &mut dyn Output) -> Result<(), Outcome> {
        let Some(worker) = &mut self.worker else { return Ok(()) };
        let request = WorkerRequest::Library { library: library.to_owned() };
        match worker.serve(&request, output, &Watch::NONE) {
            Served::Done { ending: Ending::Refused { reasons }, .. } => {
                let why = format!("{}; what was loaded before stays", reasons.join("; "));
                Err(error("DependencyError", &why, Vec::new()))
            }
            Served::Done { ending, .. } => match self.sources.outcome(ending, (number, 0)) {
                Outcome::Ok => Ok(()),
                failed => Err(failed),
            },
            Served::Died(how) => Err(self.buried(&format!("{how}, while loading dependencies"), number)),
        }
    }

    /// Returns the table of `%deps`.
    pub(super) fn dependency_table(&self) -> MimeBundle {
        let mut table = TableView::new(
            "dependencies",
            &[("crate", Align::Left), ("asked for", Align::Left), ("version", Align::Left)],
        );
        let mut empty = true;
        for (name, asked, version) in self.dependencies.list() {
            table.row(Mark::None, [name.into(), asked.into(), version.into()]);
            empty = false;
        }
        if empty {
            table.note("none; :dep name = \"1\" adds one");
        }
        table.bundle()
    }
}

/// Returns cargo's errors as an outcome, the first of them as the message.
fn failed(words: &str, mut traceback: Vec<String>) -> Outcome {
    let errors = words.lines().filter_map(|line| line.strip_prefix("error").map(|rest| rest.trim_start_matches(':')));
    let first = errors.map(str::trim).find(|line| !line.is_empty()).unwrap_or("cargo failed");
    // `error[E0308]: …` of the compiler.
    let first = first.split_once("]: ").filter(|_| first.starts_with('[')).map_or(first, |(_, text)| text);
    // The package that needs it is that of the whole set, which the user does not know.
    let first = first.split(" as a dependency of package `chandlery_deps").next().unwrap_or(first);
    if words.contains("No space left on device") || words.contains("os error 122") {
        traceback
            .push("free some space, as with `chandlery kernel clean`, or name another place in XDG_CACHE_HOME".into());
    }
    // Cargo's report gives the reasons in the lines that follow, the root cause last.
    let causes = words.lines().zip(words.lines().skip(1)).filter(|(line, _)| line.trim() == "Caused by:");
    let cause = causes.last().map(|(_, cause)| cause.trim());
    let message = cause.map_or_else(|| first.to_owned(), |cause| format!("{first}: {cause}"));
    let lines: Vec<&str> = words.lines().filter(|line| !line.trim().is_empty()).collect();
    let hidden = lines.len().saturating_sub(60);
    if hidden > 0 {
        traceback.push(format!("… {hidden} lines"));
    }
    traceback.extend(lines[hidden..].iter().map(|line| (*line).to_owned()));
    error("DependencyError", &message, traceback)
}

fn quiet(text: &str) -> MimeBundle {
    let mut html = Html::new();
    html.raw("<div style=\"opacity:0.75;font-variant-numeric:tabular-nums\">").text(text).raw("</div>");
    MimeBundle::text(text).with_html(html.finish())
}
