//! Checks a notebook: compiles all cells, runs none, and reports the errors of each.

use std::time::Instant;

use super::StartEngineFor;
use super::ansi;
use super::error::RunError;
use super::execution::{Run, over, read};
use super::failure_report::{Failure, first_line};
use super::junit::Suite;
use super::watchdog::with_timeout;
use crate::engine::{Event, Outcome};
use crate::session::{Front, Publication, Session};

/// The output of a check besides errors: warnings, and what it could not check.
#[derive(Default)]
struct Remarks(String);

impl Front for Remarks {
    fn publish(&mut self, publication: Publication) {
        if let Publication::Shown { event: Event::Text { text, .. }, .. } = publication {
            self.0.push_str(&text);
        }
    }

    fn input(&mut self, _prompt: &str, _password: bool) -> Option<String> {
        None
    }
}

impl Run<'_> {
    /// Checks every code cell, also those after one that does not compile.
    pub(super) fn check(&self, start: StartEngineFor<'_>, suite: &mut Suite) -> Result<(), RunError> {
        let path = &self.job.path;
        let notebook = read(path, self.options)?;
        let engine = start(path);
        let engine = engine.map_err(|source| RunError::Engine { path: path.clone(), source })?;
        let mut session = Session::new(engine);
        let interrupter = session.interrupter();
        let _guard = self.stop.attach(session.interrupter());

        let (mut checked, mut failed, of) = (0, 0, notebook.len());
        for index in 0..of {
            let Some(code) = notebook.code(index) else { continue };
            let (cell, first) = (index + 1, first_line(&code));
            let place = format!("[{cell}/{of}]");
            if notebook.has_tag(index, "skip-execution") || code.trim().is_empty() {
                suite.skipped(cell, "tagged `skip-execution`, or empty");
                self.teller.line(&format!("{place} skipped  {first}"));
                continue;
            }
            self.teller.running(format!("{place} {first}"));
            let may_fail = notebook.has_tag(index, "raises-exception");
            let began = Instant::now();
            let left = self.deadline.map(|end| end.saturating_duration_since(began));
            let limit = self.options.timeout.into_iter().chain(left).min();
            let mut remarks = Remarks::default();
            let (execution, timed_out) =
                with_timeout(limit, &interrupter, || session.check(&code, may_fail, &mut remarks));
            let seconds = began.elapsed().as_secs_f64();
            checked += 1;

            let ends = if let Some(signal) = self.stop.signal() {
                Some((RunError::Stopped { path: path.clone(), signal }, format!("the run was stopped by {signal}")))
            } else if self.deadline.is_some_and(|end| Instant::now() >= end) && (timed_out || cell < of) {
                let limit = self.options.total_timeout.unwrap_or_default();
                Some((RunError::Late { path: path.clone(), cell, of, limit }, "the whole run took too long".to_owned()))
            } else {
                None
            };
            let late = ends.is_some();
            let outcome = if timed_out { over(execution.outcome, late, limit) } else { execution.outcome };
            let mut line = format!("{place} {seconds:6.2} s  {first}");
            match &outcome {
                Outcome::Ok => {
                    suite.passed(cell, seconds);
                    self.teller.line(&line);
                }
                Outcome::Error { name, value, .. } if may_fail && !late && !timed_out => {
                    suite.passed(cell, seconds);
                    line.push_str(&format!("  ({name}: {value}; allowed)"));
                    self.teller.line(&line);
                }
                Outcome::Error { name, value, traceback, .. } => {
                    failed += 1;
                    suite.failed(cell, seconds, (name, value), traceback);
                    self.teller.line(&format!("{line}  FAILED"));
                    let number = execution.number;
                    let failure = Failure { path, notebook: &notebook, index, number, code: &code, traceback };
                    self.teller.line(&failure.tell());
                }
            }
            for remark in ansi::strip(&remarks.0).lines() {
                self.teller.line(&format!("    {remark}"));
            }
            if let Some((ends, why)) = ends {
                suite.skip_rest(&notebook, cell, &why);
                session.shutdown();
                return Err(ends);
            }
        }
        session.shutdown();
        match failed {
            0 => {
                self.teller.line(&format!("{checked} cells compile"));
                Ok(())
            }
            _ => Err(RunError::Check { path: path.clone(), failed, of: checked }),
        }
    }
}
