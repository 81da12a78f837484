//! The headless runner: executes notebooks through the same [`Session`](crate::session::Session) as Jupyter, and saves
//! what they show.

mod ansi;
mod checking;
mod compare;
mod console;
mod error;
mod execution;
mod failure_report;
mod html;
mod junit;
mod language;
mod memory;
mod notebook;
mod options;
mod parameters;
mod recorder;
mod resume;
mod schedule;
mod signals;
mod transcript;
mod watchdog;

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use crate::engine::Engine;
use execution::{NotebookResult, Run, read};
use junit::Suite;
use serde_json::{Value, json};

pub use compare::{Images, RuleError, Rules, Tolerance};
pub use error::RunError;
pub use notebook::{FormatFault, NotebookError};
pub use options::Options;
pub use parameters::{ParameterError, ParameterFault};
pub use resume::ResumeError;
pub use signals::{StopRequest, StopSignal};
pub use watchdog::with_timeout;

/// Returns the sources of a notebook's code cells that run, in order.
///
/// # Errors
/// A file that is not a notebook.
pub fn sources(path: &Path) -> Result<Vec<String>, NotebookError> {
    let notebook = notebook::Notebook::read(path)?;
    let runs = |index: &usize| !notebook.has_tag(*index, "skip-execution");
    let sources = (0..notebook.len()).filter(runs).filter_map(|index| notebook.code(index));
    Ok(sources.filter(|source| !source.trim().is_empty()).collect())
}

/// Starts an engine for a notebook, whose cells run in its folder. Called from several threads at once.
pub type StartEngineFor<'a> = &'a (dyn Fn(&Path) -> Result<Box<dyn Engine>, StartError> + Sync);

/// Why an engine could not be started.
pub type StartError = Box<dyn std::error::Error + Send + Sync>;

/// Runs notebooks, each up to its first failing cell, or checks all cells without running them. Progress and the report of a
/// failure go to `report`, one line per cell. A report for programs goes to `data` if it is requested.
///
/// # Errors
/// [`RunError`]; outputs up to the failure have been saved.
pub fn run(
    options: &Options,
    start: StartEngineFor<'_>,
    report: &mut dyn Write,
    data: &mut dyn Write,
    stop: &StopRequest,
) -> Result<(), RunError> {
    let options::Plan { jobs, junit } = options.plan()?;
    // A refused parameter or a notebook of another kernel is reported before another notebook runs for hours.
    if !options.parameters.is_empty() {
        jobs.iter().try_for_each(|job| read(&job.path, options).map(drop))?;
    } else if !(options.keep_going || options.check || options.no_execute) {
        let others = jobs.iter().filter_map(|job| read(&job.path, options).err());
        others.filter(|error| matches!(error, RunError::OtherKernel { .. })).try_for_each(Err)?;
    }
    let deadline = options.total_timeout.map(|limit| Instant::now() + limit);
    let (ended, printed) = schedule::run(
        jobs.len(),
        options.jobs,
        options.keep_going || options.check,
        (report, options.live),
        &|index, over, teller| {
            let job = &jobs[index];
            let mut found = NotebookResult { suite: Suite::new(&job.given), comparison: None };
            if over || stop.signal().is_some() {
                if let Ok(notebook) = read(&job.path, options) {
                    found.suite.skip_rest(&notebook, 0, "an earlier notebook ended the run");
                }
                return (found, Ok(()));
            }
            if jobs.len() > 1 {
                teller.line(&format!("{}:", job.given.display()));
            }
            let run = Run { options, job, deadline, stop, teller };
            let ran = if options.check { run.check(start, &mut found.suite) } else { run.run(start, &mut found) };
            if let (Err(error), true) = (&ran, jobs.len() > 1) {
                teller.line(&format!("{error}\n"));
            }
            (found, ran)
        },
    );
    if options.json {
        let notebooks: Vec<Value> =
            ended.iter().zip(&jobs).map(|((found, ran), job)| summary(job, found, ran)).collect();
        writeln!(data, "{:#}", json!({"notebooks": notebooks}))?;
    }
    let (suites, results): (Vec<Suite>, Vec<_>) = ended.into_iter().map(|(found, ran)| (found.suite, ran)).unzip();
    // A failed run needs its report most; the failure takes precedence over a report that cannot be written.
    let written = junit.map_or(Ok(()), |file| Ok(file.write(junit::text(suites)?.as_bytes())?));
    sum(results).and(written).and(printed.map_err(RunError::from))
}

/// Returns a notebook's part of the report for programs.
fn summary(job: &options::Job, found: &NotebookResult, ran: &Result<(), RunError>) -> Value {
    json!({
        "notebook": job.given.display().to_string(),
        "passed": ran.is_ok(),
        "error": ran.as_ref().err().map(ToString::to_string),
        "golden": job.golden.as_ref().map(|path| path.display().to_string()),
        "comparison": found.comparison.as_ref().map(compare::Comparison::json),
    })
}

/// Returns the result of all notebooks: what ended the run, otherwise the only failure, otherwise how many failed.
fn sum(results: Vec<Result<(), RunError>>) -> Result<(), RunError> {
    let of = results.len();
    let mut errors: Vec<RunError> = results.into_iter().filter_map(Result::err).collect();
    let ends = |error: &RunError| matches!(error, RunError::Stopped { .. } | RunError::Late { .. });
    match errors.iter().position(ends) {
        Some(index) => Err(errors.swap_remove(index)),
        None if errors.len() > 1 => Err(RunError::Several { failed: errors.len(), of }),
        None => errors.pop().map_or(Ok(()), Err),
    }
}
