//! The run as a JUnit report, which build servers read: one suite a notebook, one case a code cell.

use std::path::Path;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::ansi;
use super::notebook::{Notebook, NotebookError, write_atomically};

/// The cases of one notebook, in the order of its cells.
pub(super) struct Suite(TestSuite);

impl Suite {
    pub(super) fn new(notebook: &Path) -> Self {
        Self(TestSuite::new(notebook.display().to_string()))
    }

    pub(super) fn passed(&mut self, cell: usize, seconds: f64) {
        self.add(cell, seconds, TestCaseStatus::success());
    }

    pub(super) fn skipped(&mut self, cell: usize, why: &str) {
        let mut status = TestCaseStatus::skipped();
        status.set_message(why);
        self.add(cell, 0.0, status);
    }

    pub(super) fn failed(&mut self, cell: usize, seconds: f64, (name, value): (&str, &str), traceback: &[String]) {
        let plain: Vec<String> = traceback.iter().map(|line| ansi::strip(line)).collect();
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_type(name).set_message(ansi::strip(value)).set_description(plain.join("\n"));
        self.add(cell, seconds, status);
    }

    /// The code cells from an index on, which did not run.
    pub(super) fn skip_rest(&mut self, notebook: &Notebook, from: usize, why: &str) {
        for later in (from..notebook.len()).filter(|&later| notebook.kind(later) == "code") {
            self.skipped(later + 1, why);
        }
    }

    fn add(&mut self, cell: usize, seconds: f64, status: TestCaseStatus) {
        let mut case = TestCase::new(format!("cell {cell}"), status);
        case.set_classname(self.0.name.clone()).set_time(Duration::from_secs_f64(seconds));
        self.0.time = Some(self.0.time.unwrap_or_default() + Duration::from_secs_f64(seconds));
        self.0.add_test_case(case);
    }
}

/// Writes the suites as one report.
pub(super) fn write(path: &Path, suites: Vec<Suite>) -> Result<(), NotebookError> {
    let mut report = Report::new("chandlery run");
    report.add_test_suites(suites.into_iter().map(|suite| suite.0));
    let text = report
        .to_string()
        .map_err(|error| NotebookError::Unwritable { path: path.to_owned(), source: std::io::Error::other(error) })?;
    write_atomically(path, text.as_bytes())
}
