//! Runs a notebook: its cells in order through a [`Session`], and their output into the file.

use std::path::Path;
use std::time::{Duration, Instant};

use chandlery::checkpoint::OutputFile;
use serde_json::Value;

use super::compare::{self, Comparison};
use super::console::Teller;
use super::error::RunError;
use super::failure_report::{Failure, first_line};
use super::junit::Suite;
use super::notebook::Notebook;
use super::options::{Job, Options};
use super::recorder::Recorder;
use super::signals::StopRequest;
use super::transcript;
use super::watchdog::with_timeout;
use super::{StartEngineFor, ansi, html, memory, parameters, resume};
use crate::engine::{Interrupter, Outcome};
use crate::session::{CellRequest, Session};

/// Long runs are saved in between, but not after every quick cell.
const SAVE_EVERY: Duration = Duration::from_secs(10);

/// How long dropping the variables may take when all cells ran, and when the run was stopped.
const END: Duration = Duration::from_secs(10);
const END_IN_A_HURRY: Duration = Duration::from_secs(1);

/// The run of one notebook.
pub(super) struct Run<'a> {
    pub(super) options: &'a Options,
    pub(super) job: &'a Job,
    /// When the whole run must be over.
    pub(super) deadline: Option<Instant>,
    pub(super) stop: &'a StopRequest,
    pub(super) teller: &'a Teller,
}

/// The results of a notebook's run, for the reports.
pub(super) struct NotebookResult {
    pub(super) suite: Suite,
    pub(super) comparison: Option<Comparison>,
}

/// A cell that ran.
struct ExecutedCell {
    number: u32,
    outcome: Outcome,
    seconds: f64,
    peak: Option<u64>,
    /// Whether the whole run took too long.
    late: bool,
    /// The rows of its test tables.
    tests: Vec<Value>,
}

/// Reads a notebook and sets its parameters.
pub(super) fn read(path: &Path, options: &Options) -> Result<Notebook, RunError> {
    let mut notebook = Notebook::read(path)?;
    if let Some((kernel, language)) = notebook.other_kernel() {
        let language = language.filter(|language| !language.eq_ignore_ascii_case(kernel));
        let language = language.map(|language| format!(", a kernel of {language}")).unwrap_or_default();
        return Err(RunError::OtherKernel { path: path.to_owned(), kernel: kernel.to_owned(), language });
    }
    parameters::inject(&mut notebook, &options.parameters)
        .map_err(|source| RunError::Parameters { path: path.to_owned(), source })?;
    Ok(notebook)
}

impl Run<'_> {
    /// Runs the notebook, saves it even if a cell failed, and compares it if a golden notebook is given.
    pub(super) fn run(&self, start: StartEngineFor<'_>, found: &mut NotebookResult) -> Result<(), RunError> {
        // Read before anything runs, because it may be the file that this run saves.
        let golden = match &self.job.golden {
            Some(path) if path.exists() => Some(Notebook::read(path)?),
            Some(path) if !self.options.accept => return Err(RunError::NoGolden { path: path.clone() }),
            _ => None,
        };
        let notebook = if self.options.no_execute {
            Notebook::read(&self.job.path)?
        } else {
            self.execute(start, &mut found.suite)?
        };
        match &self.job.golden {
            Some(path) => self.hold_against(path, golden.as_ref(), &notebook, found),
            None => Ok(()),
        }
    }

    fn hold_against(
        &self,
        path: &Path,
        golden: Option<&Notebook>,
        notebook: &Notebook,
        found: &mut NotebookResult,
    ) -> Result<(), RunError> {
        let mut different = 0;
        if let Some(golden) = golden {
            let comparison = compare::compare(golden, notebook, &self.options.rules);
            let comparison = comparison.map_err(|source| RunError::Rules { path: path.to_owned(), source })?;
            different = comparison.different();
            let of = comparison.cells.len();
            if different > 0 {
                self.teller.line(&format!("\ncompared with {}:\n\n{}", path.display(), comparison.report()));
            } else {
                self.teller.line(&format!("{of} cells show the same as in {}", path.display()));
            }
            if !self.options.accept {
                comparison.cells.iter().for_each(|cell| found.suite.compared(cell));
            }
            found.comparison = Some(comparison);
            if different > 0 && !self.options.accept {
                let (golden, path) = (path.to_owned(), self.job.path.clone());
                return Err(RunError::Different { path, golden, different, of });
            }
        }
        if self.options.accept && (golden.is_none() || different > 0) {
            if let Some(accepted) = &self.job.accepted {
                accepted.write(&notebook.text())?;
            }
            self.teller.line(&format!("accepted as {}", path.display()));
        }
        Ok(())
    }

    fn execute(&self, start: StartEngineFor<'_>, suite: &mut Suite) -> Result<Notebook, RunError> {
        let mut notebook = read(&self.job.path, self.options)?;
        let from = self.options.from.as_deref().map(|cell| resume::find(&notebook, cell)).transpose();
        let from = from.map_err(|source| RunError::Resume { path: self.job.path.clone(), source })?.unwrap_or(0);
        if let Some(before) = self.job.output.as_ref().filter(|output| from > 0 && output.is_file()) {
            // The user resumes what the last run saved; without it, the notebook's own outputs stay.
            if let Ok(before) = Notebook::read(before.path()) {
                notebook.take_outputs(&before, from);
            }
        }
        let engine =
            start(&self.job.path).map_err(|source| RunError::Engine { path: self.job.path.clone(), source })?;
        let mut session = Session::new(engine);
        let _guard = self.stop.attach(session.interrupter());

        notebook.clear_outputs(from);
        let mut recorder = Recorder::new(notebook.len(), self.options.max_output.unwrap_or(transcript::LIMIT));
        let ran = self.cells(&mut session, &mut notebook, from, &mut recorder, suite);
        if self.stop.signal().is_some() {
            // After a stopped run there may be no time to drop the variables.
            recorder.write_to(&mut notebook, from);
            let _ = self.save(&notebook, false);
        }
        let ended = self.end(&mut session, &mut recorder, suite);
        recorder.write_to(&mut notebook, from);
        self.save(&notebook, true)?;
        ran.and(ended).map(|()| notebook)
    }

    /// Drops the variables, as a program does at its end. Output belongs to the last cell that ran.
    fn end(&self, session: &mut Session, recorder: &mut Recorder, suite: &mut Suite) -> Result<(), RunError> {
        let began = Instant::now();
        let left = self.deadline.map_or(END, |end| end.saturating_duration_since(began));
        let limit = match self.stop.signal() {
            Some(_) if self.stop.is_urgent() => Duration::ZERO,
            Some(_) => END_IN_A_HURRY,
            None => left.clamp(END_IN_A_HURRY, END),
        };
        let path = self.job.path.clone();
        match (session.end(limit, recorder), self.stop.signal()) {
            (Outcome::Ok, _) => Ok(()),
            (Outcome::Error { .. }, Some(signal)) => Err(RunError::Stopped { path, signal }),
            (Outcome::Error { name, value, traceback, .. }, None) => {
                suite.end_failed(began.elapsed().as_secs_f64(), (&name, &value), &traceback);
                let lines: Vec<String> = traceback.iter().map(|line| ansi::strip(line)).collect();
                self.teller.line(&format!("\n{}: the end\n{}\n", path.display(), lines.join("\n")));
                Err(RunError::End { path, name, value })
            }
        }
    }

    fn cells(
        &self,
        session: &mut Session,
        notebook: &mut Notebook,
        from: usize,
        recorder: &mut Recorder,
        suite: &mut Suite,
    ) -> Result<(), RunError> {
        let interrupter = session.interrupter();
        let mut saved = Instant::now();
        let mut counted = 0;
        for index in 0..notebook.len() {
            let Some(code) = notebook.code(index) else { continue };
            let place = format!("[{}/{}]", index + 1, notebook.len());
            if notebook.has_tag(index, "skip-execution") || code.trim().is_empty() {
                suite.skipped(index + 1, "tagged `skip-execution`, or empty");
                self.teller.line(&format!("{place} skipped  {}", first_line(&code)));
                continue;
            }
            if let Some(signal) = self.stop.signal() {
                suite.skip_rest(notebook, index, &format!("the run was stopped by {signal}"));
                return Err(RunError::Stopped { path: self.job.path.clone(), signal });
            }
            counted += 1;
            if index < from && !resume::prepares(notebook, index) {
                suite.skipped(index + 1, "before the cell given by `--from`");
                self.teller.line(&format!("{place} kept     {}", first_line(&code)));
                continue;
            }
            self.teller.running(format!("{place} {}", first_line(&code)));
            session.count_from(counted);
            let ran = self.cell(session, &interrupter, index, &code, recorder);
            if index >= from {
                notebook.set_execution_count(index, ran.number);
                if self.options.timings {
                    notebook.set_timing(index, ran.seconds, ran.peak);
                }
            }
            self.judge(&ran, notebook, from, index, &code, suite)?;
            if saved.elapsed() > SAVE_EVERY {
                recorder.write_to(notebook, from);
                self.save(notebook, false)?;
                saved = Instant::now();
            }
        }
        Ok(())
    }

    fn cell(
        &self,
        session: &mut Session,
        interrupter: &Interrupter,
        index: usize,
        code: &str,
        recorder: &mut Recorder,
    ) -> ExecutedCell {
        recorder.start_cell(index);
        let began = Instant::now();
        let left = self.deadline.map(|end| end.saturating_duration_since(began));
        let limit = self.options.timeout.into_iter().chain(left).min();
        let late = left.is_some_and(|left| limit == Some(left));
        if self.options.timings
            && let Some(process) = session.process()
        {
            memory::begin_peak(process);
        }
        let request = CellRequest::new(code);
        let (execution, timed_out) = with_timeout(limit, interrupter, || session.execute(&request, recorder));
        let seconds = began.elapsed().as_secs_f64();
        let peak = session.process().filter(|_| self.options.timings).and_then(memory::peak);
        let late = late && timed_out && execution.outcome != Outcome::Ok;
        let outcome = if timed_out { over(execution.outcome, late, limit) } else { execution.outcome };
        if let (Outcome::Error { name, value, .. }, true) = (&outcome, timed_out) {
            recorder.rename_error(name, value);
        }
        ExecutedCell { number: execution.number, outcome, seconds, peak, late, tests: recorder.tests() }
    }

    /// Reports a cell, and ends the run if it failed.
    fn judge(
        &self,
        ran: &ExecutedCell,
        notebook: &Notebook,
        from: usize,
        index: usize,
        code: &str,
        suite: &mut Suite,
    ) -> Result<(), RunError> {
        let stopped = self.stop.signal();
        let tolerated = stopped.is_none()
            && !ran.late
            && (self.options.allow_errors || notebook.has_tag(index, "raises-exception"));
        let mut line = format!("[{}/{}] {:6.2} s  {}", index + 1, notebook.len(), ran.seconds, first_line(code));
        let failed = match &ran.outcome {
            Outcome::Error { name, value, traceback, .. } if !tolerated => {
                suite.failed(index + 1, ran.seconds, (name, value), traceback);
                Some((name, value, traceback))
            }
            Outcome::Error { name, value, .. } => {
                line.push_str(&format!("  ({name}: {value}; allowed)"));
                suite.passed(index + 1, ran.seconds);
                None
            }
            Outcome::Ok => {
                suite.passed(index + 1, ran.seconds);
                None
            }
        };
        suite.tests(index + 1, &ran.tests, tolerated);
        let (path, cell, of) = (self.job.path.clone(), index + 1, notebook.len());
        match failed {
            Some(_) => self.teller.line(&format!("{line}  FAILED")),
            None => self.teller.line(&line),
        }
        if let Some((_, _, traceback)) = failed {
            let failure = Failure { path: &path, notebook, index, number: ran.number, code, traceback };
            self.teller.line(&failure.tell());
            if from > 0 && stopped.is_none() {
                self.teller.line(
                    "cells before `--from` did not run, so their variables are missing; tag the cells that make them `setup`\n",
                );
            }
        }
        let limit = self.options.total_timeout.unwrap_or_default();
        let ends = match (failed, stopped) {
            (_, Some(signal)) => RunError::Stopped { path, signal },
            (Some(_), None) if ran.late => RunError::Late { path, cell, of, limit },
            (Some((name, value, _)), None) => {
                RunError::Cell { path, cell, of, name: name.clone(), value: value.clone() }
            }
            (None, None) if self.deadline.is_some_and(|end| Instant::now() >= end) && index + 1 < of => {
                RunError::Late { path, cell: cell + 1, of, limit }
            }
            (None, None) => return Ok(()),
        };
        let why = match &ends {
            RunError::Stopped { signal, .. } => format!("the run was stopped by {signal}"),
            RunError::Late { .. } => "the whole run took too long".to_owned(),
            _ => "an earlier cell failed".to_owned(),
        };
        suite.skip_rest(notebook, index + 1, &why);
        Err(ends)
    }

    /// Writes the notebook and its page, at the end, or in between if they are regular files.
    fn save(&self, notebook: &Notebook, last: bool) -> Result<(), RunError> {
        let written = |file: &&OutputFile| last || file.is_file();
        let output = self.job.output.as_ref().filter(written).map_or(Ok(()), |file| file.write(&notebook.text()));
        let page = self
            .job
            .html
            .as_ref()
            .filter(written)
            .map_or(Ok(()), |file| file.write(html::page(notebook, &title(&self.job.path)).as_bytes()));
        // If one cannot be written, the other is written anyway.
        output.and(page)?;
        let saved = self.job.output.iter().chain(&self.job.html).filter(|file| last && !file.is_stdout());
        saved.for_each(|file| self.teller.line(&format!("saved {}", file.path().display())));
        Ok(())
    }
}

/// Returns the failure of a cell that was stopped by a timeout, with that as the reason.
pub(super) fn over(outcome: Outcome, late: bool, limit: Option<Duration>) -> Outcome {
    let Outcome::Error { mut traceback, .. } = outcome else { return outcome };
    let (name, value) = if late {
        ("RunTimeout", "the whole run took too long (--total-timeout)".to_owned())
    } else {
        let seconds = limit.unwrap_or_default().as_secs_f64();
        ("CellTimeout", format!("the cell was stopped after {seconds} s (--timeout)"))
    };
    traceback.push(format!("{name}: {value}"));
    Outcome::Error { name: name.to_owned(), value, traceback, diagnostic: None, interrupted: false }
}

fn title(path: &Path) -> String {
    path.file_stem().map_or_else(|| "notebook".to_owned(), |stem| stem.to_string_lossy().into_owned())
}
