//! `%dep`: what is built, shown and loaded.

use std::cell::Cell;

use chandlery::display::{Align, Html, Mark, MimeBundle, TableView};

use super::{Directive, Step};
use crate::engine::direct::DirectEngine;
use crate::engine::direct::dependencies::{Failure, Told};
use crate::engine::direct::outcome::{error, interrupted};
use crate::engine::direct::process::{Served, Watch};
use crate::engine::{Event, Outcome, Output, Stream};
use crate::worker::frame::Request;

impl DirectEngine {
    /// Builds and loads all dependencies that a cell names.
    pub(in crate::engine::direct) fn depend(
        &mut self,
        steps: &[Step],
        at: (u32, usize),
        output: &mut dyn Output,
    ) -> Outcome {
        let lines = steps.iter().filter_map(|step| match &step.directive {
            Directive::Dep(line) => Some(line.as_str()),
            _ => None,
        });
        let lines: Vec<&str> = lines.collect();
        let compiler = match &mut self.compiler {
            Ok(compiler) => compiler,
            Err(problem) => return error("NoCompiler", problem, Vec::new()),
        };
        // Paths are relative to the folder that cells are in, which they may have changed.
        let folder =
            self.worker.as_ref().and_then(|worker| std::fs::read_link(format!("/proc/{}/cwd", worker.id())).ok());
        let folder = folder.unwrap_or_else(|| std::env::current_dir().unwrap_or_default());
        let id = format!("dep-{}-{}-{}", std::process::id(), at.0, at.1);
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
        let toolkit = compiler.toolkit().clone();
        let added = self.dependencies.add(&lines, &folder, &toolkit, &self.busy, &mut |step| {
            show(format!("dependencies · {step} · {} s", begun.elapsed().as_secs()), output);
        });
        let place = self.sources.place_of(at.0, at.1);
        if shown.get() && added.is_err() {
            show("dependencies · not built".to_owned(), output);
        }
        let Told { summary, notes } = match added {
            Ok(told) => told,
            Err(Failure::Stopped) => return interrupted("while building dependencies; no variable was changed"),
            Err(Failure::Usage(problem)) => return error("UsageError", &problem, place),
            Err(Failure::Cargo(words)) => return failed(&words, place),
        };
        if let Some(built) = &self.dependencies.built {
            compiler.depend(built);
            if let Some(language) = self.names.language() {
                language.depend_on(&built.library, || self.dependencies.crates());
            }
        }
        let outcome = self.load_dependencies(output);
        if outcome == Outcome::Ok {
            show(summary, output);
            for note in notes {
                output.event(Event::Text { stream: Stream::Stderr, text: note + "\n" });
            }
        }
        outcome
    }

    /// Loads what was built into the worker.
    pub(in crate::engine::direct) fn load_dependencies(&mut self, output: &mut dyn Output) -> Outcome {
        let (Some(worker), Some(built)) = (&mut self.worker, &self.dependencies.built) else { return Outcome::Ok };
        let request = Request::Library { library: built.library.clone() };
        match worker.serve(&request, output, &Watch::NONE) {
            Served::Done { ending, .. } => self.sources.outcome(ending, (0, 0)),
            Served::Died(how) => error("WorkerDied", &format!("{how}, while loading dependencies"), Vec::new()),
        }
    }

    /// The table of `%deps`.
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

/// Cargo's errors, the first of them as the message.
fn failed(words: &str, mut traceback: Vec<String>) -> Outcome {
    let errors = words.lines().filter_map(|line| line.strip_prefix("error").map(|rest| rest.trim_start_matches(':')));
    let first = errors.map(str::trim).find(|line| !line.is_empty()).unwrap_or("cargo failed");
    // `error[E0308]: …` of the compiler.
    let first = first.split_once("]: ").filter(|_| first.starts_with('[')).map_or(first, |(_, text)| text);
    // Which package needs it is ours to know: it is the one of the whole set.
    let first = first.split(" as a dependency of package `chandlery_deps").next().unwrap_or(first);
    // Cargo's own report says why in the lines that follow, the reason of all at the end.
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
