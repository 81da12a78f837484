//! The report of tests: collected from the worker while they run, then a table and an outcome.

use chandlery::cell::testing::FORM;
use chandlery::display::{Align, Cell, Mark, MimeBundle, TableView};
use serde::Deserialize;

use super::filter::Filter;
use super::found::Test;
use crate::engine::direct::explain::outcome::error;
use crate::engine::{Event, Outcome, Output};

/// How much of a test's output is kept.
const MOST_TEXT: usize = 1 << 16;

/// The worker's report of a test: that it begins, or how it ended.
#[derive(Debug, Default, Deserialize)]
struct TestEvent {
    test: usize,
    seconds: Option<f64>,
    failed: Option<String>,
    panicked: Option<String>,
    place: Option<String>,
}

/// A test that began, and its output.
#[derive(Debug, Default)]
pub(super) struct TestRun {
    line: TestEvent,
    printed: String,
}

/// The output of tests: what they print is kept for the report, everything else is shown.
pub(super) struct TestOutput<'a> {
    output: &'a mut dyn Output,
    ran: Vec<TestRun>,
}

impl<'a> TestOutput<'a> {
    pub(super) fn new(output: &'a mut dyn Output) -> Self {
        Self { output, ran: Vec::new() }
    }

    /// Every test that began.
    pub(super) fn finish(self) -> Vec<TestRun> {
        self.ran
    }
}

impl Output for TestOutput<'_> {
    fn event(&mut self, event: Event) {
        let running = self.ran.last_mut().filter(|ran| ran.line.seconds.is_none());
        match (event, running) {
            (Event::Text { text, .. }, Some(ran)) => {
                if ran.printed.len() < MOST_TEXT {
                    ran.printed.push_str(&text);
                }
            }
            (Event::Display { data, id }, running) => {
                let line = data.get(FORM).and_then(|form| serde_json::from_value::<TestEvent>(form.clone()).ok());
                match (line, running) {
                    (None, _) => self.output.event(Event::Display { data, id }),
                    (Some(line), Some(ran)) if ran.line.test == line.test => ran.line = line,
                    (Some(line), _) => self.ran.push(TestRun { line, printed: String::new() }),
                }
            }
            (event, _) => self.output.event(event),
        }
    }

    fn input(&mut self, prompt: &str, password: bool) -> Option<String> {
        self.output.input(prompt, password)
    }
}

/// A test's result.
struct TestRow {
    name: String,
    /// Why it failed, if it did.
    failed: Option<String>,
    /// Why it is ignored, if it is.
    ignored: Option<String>,
    seconds: Option<f64>,
    place: Option<String>,
    printed: String,
}

/// Returns the results of the selected tests.
pub(super) struct Results(Vec<TestRow>);

impl Results {
    /// `placed` replaces positions in generated source by cell and line.
    pub(super) fn new(chosen: &[&Test], filter: &Filter, ran: Vec<TestRun>, placed: &dyn Fn(String) -> String) -> Self {
        let mut ran: Vec<Option<TestRun>> = ran.into_iter().map(Some).collect();
        let mut rows = Vec::new();
        for (number, test) in chosen.iter().enumerate() {
            let own = ran.iter_mut().find(|ran| ran.as_ref().is_some_and(|ran| ran.line.test == number));
            let own = own.and_then(Option::take);
            let mut row = TestRow {
                name: test.name.clone(),
                failed: test.problem.map(str::to_owned),
                ignored: test.ignored.clone().filter(|_| !filter.runs(test)),
                seconds: None,
                place: None,
                printed: String::new(),
            };
            if let Some(TestRun { line, printed }) = own {
                row.seconds = line.seconds;
                row.failed = failure(test, &line);
                row.place = line.place.filter(|_| row.failed.is_some()).map(placed);
                row.printed = printed;
            } else if row.failed.is_none() && row.ignored.is_none() {
                // It is excluded by its `cfg`, or the tests ended before it.
                continue;
            }
            rows.push(row);
        }
        Self(rows)
    }

    /// Returns a table with name, result, time and message of each test.
    pub(super) fn table(&self) -> MimeBundle {
        let columns =
            [("test", Align::Left), ("result", Align::Left), ("seconds", Align::Right), ("message", Align::Left)];
        let mut table = TableView::new(self.title(), &columns);
        for row in &self.0 {
            let (mark, result) = match (&row.failed, &row.ignored) {
                (Some(_), _) => (Mark::Bad, "FAILED"),
                (None, Some(_)) => (Mark::Muted, "ignored"),
                (None, None) => (Mark::Good, "ok"),
            };
            let seconds = row.seconds.map_or_else(Cell::default, |s| Cell::from(format!("{s:.3}")).valued(s));
            let message = row.failed.as_ref().or(row.ignored.as_ref()).map(|text| one_line(text)).unwrap_or_default();
            let place = row.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
            table.row(mark, [row.name.as_str().into(), result.into(), seconds, (message + &place).into()]);
        }
        table.typed_bundle("tests")
    }

    fn title(&self) -> String {
        let count = |of: &dyn Fn(&TestRow) -> bool| self.0.iter().filter(|row| of(row)).count();
        let (failed, ignored) =
            (count(&|row| row.failed.is_some()), count(&|row| row.failed.is_none() && row.ignored.is_some()));
        let all = self.0.len();
        let mut title = format!(
            "{all} test{}: {} passed, {failed} failed",
            if all == 1 { "" } else { "s" },
            all - failed - ignored
        );
        if ignored > 0 {
            title.push_str(&format!(", {ignored} ignored"));
        }
        title
    }

    /// Returns the outcome of the cell: `outcome`, unless all tests ran and one failed.
    pub(super) fn outcome(&self, outcome: Outcome) -> Outcome {
        let failed: Vec<&TestRow> = self.0.iter().filter(|row| row.failed.is_some()).collect();
        let mut told = Vec::new();
        for row in &failed {
            let place = row.place.as_ref().map(|place| format!(" at {place}")).unwrap_or_default();
            told.push(format!("{}{place}: {}", row.name, row.failed.as_deref().unwrap_or_default()));
            if !row.printed.is_empty() {
                told.push(format!("it printed:\n{}", row.printed.trim_end()));
            }
        }
        match outcome {
            Outcome::Error { name, value, mut traceback, diagnostic, interrupted } => {
                traceback.extend(told);
                Outcome::Error { name, value, traceback, diagnostic, interrupted }
            }
            Outcome::Ok if failed.is_empty() => Outcome::Ok,
            Outcome::Ok => {
                let names: Vec<&str> = failed.iter().map(|row| row.name.as_str()).collect();
                let value = format!("{} of {} tests failed: {}", failed.len(), self.0.len(), names.join(", "));
                error("TestFailed", &value, told)
            }
        }
    }
}

/// Returns why a test that began failed, if it did.
fn failure(test: &Test, line: &TestEvent) -> Option<String> {
    if line.seconds.is_none() {
        return Some("did not finish".to_owned());
    }
    match (&test.should_panic, &line.panicked) {
        (None, Some(message)) => Some(message.clone()),
        (None, None) => line.failed.clone(),
        (Some(_), None) => Some("did not panic as expected".to_owned()),
        (Some(expected), Some(message)) => (!message.contains(expected.as_str()))
            .then(|| format!("panicked with `{message}`, which does not contain the expected `{expected}`")),
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
