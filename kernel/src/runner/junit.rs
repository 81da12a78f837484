//! The run as a JUnit report, which build servers read: one suite per notebook, one case per code cell.

use std::path::Path;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::Value;

use super::ansi;
use super::compare::ComparedCell;
use super::notebook::Notebook;

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

    pub(super) fn failed(&mut self, cell: usize, seconds: f64, error: (&str, &str), traceback: &[String]) {
        self.add(cell, seconds, failure(error, traceback));
    }

    /// Adds the tests that a cell ran, as rows of its test table. Failures may be `tolerated`.
    pub(super) fn tests(&mut self, cell: usize, rows: &[Value], tolerated: bool) {
        for row in rows {
            let word = |name: &str| row[name].as_str().unwrap_or_default();
            let status = match word("result") {
                "ignored" => {
                    let mut status = TestCaseStatus::skipped();
                    status.set_message(word("message"));
                    status
                }
                "FAILED" if !tolerated => failure(("TestFailed", word("message")), &[word("message").to_owned()]),
                _ => TestCaseStatus::success(),
            };
            let seconds = row["seconds"].as_f64().unwrap_or_default();
            self.case(format!("cell {cell}: {}", word("test")), seconds, status);
        }
    }

    /// Adds the end of the run, at which dropping the variables failed.
    pub(super) fn end_failed(&mut self, seconds: f64, error: (&str, &str), traceback: &[String]) {
        self.case("the end of the notebook".to_owned(), seconds, failure(error, traceback));
    }

    /// Adds a cell that was compared with the golden notebook's.
    pub(super) fn compared(&mut self, cell: &ComparedCell) {
        let status = if cell.is_equal() {
            TestCaseStatus::success()
        } else {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            let message = "differs from the golden notebook";
            status.set_type("Different").set_message(message).set_description(cell.report());
            status
        };
        self.case(format!("cell {} compared", cell.number), 0.0, status);
    }

    /// Adds the code cells from an index on, which did not run.
    pub(super) fn skip_rest(&mut self, notebook: &Notebook, from: usize, why: &str) {
        for later in (from..notebook.len()).filter(|&later| notebook.kind(later) == "code") {
            self.skipped(later + 1, why);
        }
    }

    fn add(&mut self, cell: usize, seconds: f64, status: TestCaseStatus) {
        self.case(format!("cell {cell}"), seconds, status);
    }

    fn case(&mut self, name: String, seconds: f64, status: TestCaseStatus) {
        let mut case = TestCase::new(name, status);
        case.set_classname(self.0.name.clone()).set_time(Duration::from_secs_f64(seconds));
        self.0.time = Some(self.0.time.unwrap_or_default() + Duration::from_secs_f64(seconds));
        self.0.add_test_case(case);
    }
}

fn failure((name, value): (&str, &str), traceback: &[String]) -> TestCaseStatus {
    let plain: Vec<String> = traceback.iter().map(|line| ansi::strip(line)).collect();
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status.set_type(name).set_message(ansi::strip(value)).set_description(plain.join("\n"));
    status
}

/// Returns the suites as one report.
///
/// # Errors
/// Text that XML cannot contain.
pub(super) fn text(suites: Vec<Suite>) -> std::io::Result<String> {
    let mut report = Report::new("chandlery run");
    report.add_test_suites(suites.into_iter().map(|suite| suite.0));
    report.to_string().map_err(std::io::Error::other)
}
